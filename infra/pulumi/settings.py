"""A stack's configuration as a deployment: topology, plan and secrets, or every reason why not."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pulumi
from pulumi.runtime.config import CONFIG, get_config, get_config_env, is_config_secret
from pydantic import BaseModel, ValidationError

from infra.pulumi import credentials
from infra.topology import Plan, Refused, Topology, plan_of, topology_of
from infra.topology.load import find, names, parse, refuse
from infra.topology.rules import Finding

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "relier"
OBJECTS = ("overrides", "docker", "kubernetes")
KNOWN = ("topology", *OBJECTS, *credentials.KEYS.values())
FRACTION = re.compile(r"\d+\.\d+")
TEXTS = ("env", "labels")
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Deployment:
    """Everything that a tier needs to know. `secrets` go by the plan's names and are Pulumi secrets."""

    stack: str
    topology: Topology
    plan: Plan
    secrets: Mapping[str, pulumi.Output[str]] = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def project(self) -> str:
        """The prefix of what a Docker engine holds, as Compose names it."""
        return f"{self.topology.name}-{self.topology.tier}"


def load(stack: str) -> Deployment:
    """The deployment that the configuration of a stack means."""
    if findings := [*_unknown_keys(), *_bared_objects(), *credentials.bared(_key)]:
        raise Refused(findings)
    topology = topology_of(data_of(stack))
    if topology.tier == "bare":
        raise refuse("tier", "tier is bare, which is Ansible's (infra/ansible); a Pulumi stack takes dev, prod or k8s.")
    plan = plan_of(topology)
    options = objects("kubernetes" if topology.tier == "k8s" else "docker")
    return Deployment(stack, topology, plan, credentials.collect(topology, plan, _value), options)


def data_of(stack: str) -> Any:
    """The topology as plain data: its file, and what the configuration lays over it."""
    return merged(_stack_data(stack), objects("overrides"))


def _key(name: str) -> str:
    return f"{NAMESPACE}:{name}"


def _value(name: str) -> str | None:
    value = get_config(_key(name))
    return None if value is None else str(value)


def _unknown_keys() -> Iterator[Finding]:
    """A misspelt key would silently do nothing."""
    given = {**get_config_env(), **CONFIG.get()}
    for name in sorted(key.partition(":")[2] for key in given if key.startswith(f"{NAMESPACE}:")):
        if name not in KNOWN:
            close = difflib.get_close_matches(name.lower().replace("-", "_"), KNOWN, n=1)
            instead = f"did you mean {close[0]}?" if close else f"known here: {', '.join(KNOWN)}."
            yield Finding(_key(name), "unknown", f"{_key(name)} is unknown; {instead}")


def _bared_objects() -> Iterator[Finding]:
    """Secrets inside a topology would end in names, variables and plain outputs."""
    for name in (*OBJECTS, "topology"):
        if is_config_secret(_key(name)):
            sentence = f"{_key(name)} is secret, and a topology holds none; set passwords by their own keys."
            yield Finding(_key(name), "secret", sentence)


def _stack_data(stack: str) -> Any:
    named = _value("topology")
    if named is None and stack not in names():
        known = ", ".join(names())
        raise refuse(_key("topology"), f"{_key('topology')} is missing; write one of {known}, or a path.")
    text = named or stack
    path = ROOT / text
    return parse(path if text not in names() and path.is_file() else find(text))


def objects(name: str) -> Mapping[str, Any]:
    """A structured key, or nothing."""
    text = _value(name)
    if text is None:
        return {}
    try:
        data = json.loads(text)
    except json.JSONDecodeError:
        data = text
    if not isinstance(data, Mapping):
        kind = type(data).__name__
        raise refuse(
            _key(name), f"{_key(name)} is a {kind}; write keys with values: pulumi config set --path '{name}.…'."
        )
    found: Mapping[str, Any] = numbers(data)
    return found


def numbers(value: Any) -> Any:
    """Fractions as such: `pulumi config set --path` writes them as text. Where text is meant, they stay."""
    if isinstance(value, Mapping):
        return {key: entry if key in TEXTS else numbers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [numbers(entry) for entry in value]
    return float(value) if isinstance(value, str) and FRACTION.fullmatch(value) else value


def merged(base: Any, over: Mapping[str, Any]) -> Any:
    """Keys of `over` win; lists are replaced, not joined."""
    if not isinstance(base, Mapping):
        return base if not over else dict(over)
    changed = {
        key: merged(base.get(key, {}), value) if isinstance(value, Mapping) else value for key, value in over.items()
    }
    return {**base, **changed}


def options_of(model: type[Model], data: Mapping[str, Any], name: str) -> Model:
    """A tier's own options by its model, or one sentence for each that does not fit."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        known = ", ".join(model.model_fields)
        raise Refused(_misfit(detail, f"{_key(name)}", known) for detail in error.errors(include_url=False)) from None


def _misfit(detail: Any, path: str, known: str) -> Finding:
    place = ".".join([path, *map(str, detail["loc"])])
    if detail["type"] == "extra_forbidden":
        return Finding(place, "unknown", f"{place} is unknown; known here: {known}.")
    said = detail["msg"].removeprefix("Value error, ").rstrip(".")
    return Finding(place, "misfit", f"{place} does not fit: {said[:1].lower()}{said[1:]}.")
