"""Stacks to start from, and small changes to them."""

from __future__ import annotations

import copy
import re
from functools import cache
from typing import Any, NamedTuple

from infra.topology import load
from infra.topology.model import Topology
from infra.topology.plan import Plan, plan_of
from infra.topology.workload import Workload


class _Gone:
    """Stands for a key that is left out; its name is the same in every process that collects the tests."""

    def __repr__(self) -> str:
        return "GONE"


GONE = _Gone()
TIERS = ("dev", "prod", "k8s", "bare")


class Case(NamedTuple):
    """A rule, a tier, changes that keep the rule, changes that break it, and what the sentence says."""

    rule: str
    tier: str
    good: dict[str, Any]
    bad: dict[str, Any]
    says: str


@cache
def _data(tier: str) -> Any:
    return load.parse(load.STACKS / f"{tier}.yaml")


def stack(tier: str, /, **changes: Any) -> dict[str, Any]:
    """The data of a stack with changes: `stack("dev", **{"redis.memory": "2gb"})`; GONE removes a key."""
    data: dict[str, Any] = copy.deepcopy(_data(tier))
    for path, value in changes.items():
        change(data, path, value)
    return data


def change(data: Any, path: str, value: Any) -> None:
    """Set what a dotted path names, `[n]` for positions; parts on the way are made."""
    *parents, last = [int(part[1:-1]) if part[0] == "[" else part for part in re.findall(r"\[\d+\]|[^.\[\]]+", path)]
    for part in parents:
        data = data[part] if isinstance(part, int) else data.setdefault(part, {})
    if value is GONE:
        del data[last]
    else:
        data[last] = value


def topology(tier: str, /, **changes: Any) -> Topology:
    """The topology of a changed stack."""
    return load.topology_of(stack(tier, **changes))


def sentences(tier: str, /, **changes: Any) -> list[str]:
    """Why a changed stack is refused; empty when it is not."""
    try:
        topology(tier, **changes)
    except load.Refused as refusal:
        return [finding.sentence for finding in refusal.findings]
    return []


def planned(tier: str) -> Plan:
    """The plan of a stack of the kit."""
    return plan_of(topology(tier))


def each(*kinds: str) -> list[tuple[str, Workload]]:
    """Every workload of every tier, or those of some kinds."""
    found = ((tier, workload) for tier in TIERS for workload in planned(tier).workloads)
    return [(tier, workload) for tier, workload in found if not kinds or workload.kind in kinds]
