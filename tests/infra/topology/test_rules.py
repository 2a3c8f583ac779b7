"""Every rule has a topology that keeps it, just so, and one that breaks it, by as little as can be."""

from __future__ import annotations

import pytest

from infra.topology.rules import RULES, effect, fleet
from relier.tasks.app import VISIBILITY_TIMEOUT
from tests.infra.topology import cases_effect, cases_fleet, cases_managed, cases_redis, cases_supply
from tests.infra.topology.stacks import GONE, Case, sentences

MODULES = (cases_effect, cases_fleet, cases_managed, cases_redis, cases_supply)
CASES = [case for module in MODULES for case in module.CASES]
IDS = [f"{case.rule}-{number}" for number, case in enumerate(CASES)]


def about(case: Case) -> list[str]:
    """The sentences of a broken case that say what is expected."""
    return [sentence for sentence in sentences(case.tier, **case.bad) if case.says in sentence]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_topology_that_just_keeps_a_rule_is_accepted(case: Case) -> None:
    assert sentences(case.tier, **case.good) == []


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_topology_that_breaks_a_rule_is_refused_with_one_sentence(case: Case) -> None:
    found = about(case)
    assert len(found) == 1, sentences(case.tier, **case.bad)
    assert found[0].endswith(".")
    assert "hunter2" not in found[0]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_without_its_rule_a_breach_goes_unseen(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(RULES, case.rule)
    assert about(case) == []


def test_every_rule_has_a_case() -> None:
    assert {case.rule for case in CASES} == set(RULES)


def test_all_broken_rules_are_listed_at_once() -> None:
    changes = {case.rule: case.bad for case in CASES if case.tier == "prod" and len(case.bad) == 1}
    merged = {path: value for bad in changes.values() for path, value in bad.items() if value is not GONE}
    assert len(sentences("prod", **merged)) >= 10


def test_every_value_without_effect_has_a_case() -> None:
    paths = {path.replace("worker-high", "*") for path, *_ in cases_effect.WRITTEN}
    assert paths == set(effect.EFFECTIVE)


def test_the_rules_know_the_visibility_timeout_of_the_engine() -> None:
    assert fleet.VISIBILITY_TIMEOUT == VISIBILITY_TIMEOUT
