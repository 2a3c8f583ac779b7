"""The lock holds: any one value of any service changed, removed or added is reported."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from tests.infra.compose import resolved
from tests.infra.compose.resolved_plan import differences, planned

Path = tuple[str | int, ...]
PARTS = ("services", "networks", "volumes", "secrets")


@cache
def content(tier: str) -> dict[str, Any]:
    return resolved.read(tier)


@cache
def plan(tier: str) -> dict[str, Any]:
    return planned(tier)


def only(whole: dict[str, Any], name: str) -> dict[str, Any]:
    """A file, or a plan, with one of its services."""
    return {**whole, "services": {name: whole["services"][name]} if name else {}}


def services() -> list[tuple[str, str]]:
    return [(tier, name) for tier in ("dev", "prod") for name in content(tier)["services"]]


def nodes(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value below, the containers too."""
    yield path, value
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from nodes(entry, (*path, key))


def at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def other(value: Any) -> Any:
    """Another value of the same kind: the next number, the other truth, a longer word."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if not isinstance(value, str):
        return "something"
    return (
        re.sub(r"\d+(?!.*\d)", lambda match: str(int(match[0]) + 1), value) if re.search(r"\d", value) else f"{value}x"
    )


def silent(tier: str, name: str, changes: list[tuple[Path, Callable[[Any], None]]]) -> list[str]:
    """The changes that the comparison did not report; unchanged it has nothing to say."""
    file, wanted = only(content(tier), name), only(plan(tier), name)
    assert differences(resolved.form(file), wanted) == []
    missed = []
    for path, change in changes:
        mutant = copy.deepcopy(file)
        change(mutant)
        if not reported(mutant, wanted):
            missed.append(".".join(map(str, path)))
    return missed


def reported(mutant: dict[str, Any], wanted: dict[str, Any]) -> bool:
    try:
        return differences(resolved.form(mutant), wanted) != []
    except (KeyError, TypeError, AttributeError):
        return True  # no longer a Compose file; Compose itself refuses it


def setting(path: Path, value: Any) -> Callable[[Any], None]:
    def change(mutant: Any) -> None:
        at(mutant, path[:-1])[path[-1]] = value

    return change


def removing(path: Path) -> Callable[[Any], None]:
    def change(mutant: Any) -> None:
        del at(mutant, path[:-1])[path[-1]]

    return change


def adding(path: Path) -> Callable[[Any], None]:
    def change(mutant: Any) -> None:
        place = at(mutant, path)
        if isinstance(place, list):
            place.append("extra")
        else:
            place["extra"] = "1"

    return change


@pytest.mark.parametrize(("tier", "name"), services())
def test_every_value_of_a_service_is_held(tier: str, name: str) -> None:
    below = list(nodes(content(tier)["services"][name], ("services", name)))
    leaves = [(path, value) for path, value in below if not isinstance(value, dict | list)]
    assert len(leaves) > 15
    assert silent(tier, name, [(path, setting(path, other(value))) for path, value in leaves]) == []


@pytest.mark.parametrize(("tier", "name"), services())
def test_nothing_can_be_taken_from_a_service_or_put_into_it(tier: str, name: str) -> None:
    below = list(nodes(content(tier)["services"][name], ("services", name)))
    taken = [(path, removing(path)) for path, _ in below]
    put = [(path, adding(path)) for path, value in below if isinstance(value, dict | list)]
    assert silent(tier, name, taken + put) == []


@pytest.mark.parametrize("tier", ["dev", "prod"])
def test_networks_volumes_and_secrets_are_held(tier: str) -> None:
    changes: list[tuple[Path, Callable[[Any], None]]] = [(("name",), setting(("name",), "other"))]
    for part in (part for part in PARTS if part in content(tier)):
        below = [
            (path, value) for path, value in nodes(content(tier)[part], (part,)) if len(path) > 1 and part != "services"
        ]
        changes += [(path, removing(path)) for path, _ in below] + [((part, "extra"), setting((part, "extra"), {}))]
        changes += [(path, setting(path, other(value))) for path, value in below if not isinstance(value, dict | list)]
    assert silent(tier, "", changes) == []
