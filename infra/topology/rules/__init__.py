"""The rules that no topology breaks. Each yields one sentence a breach: the path, the value, what to write instead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from infra.topology.rules import effect, fleet, managed, redis, supply
from infra.topology.rules.finding import RULES, Finding

if TYPE_CHECKING:
    from infra.topology.model import Topology

__all__ = ["RULES", "Finding", "broken"]
MODULES = (effect, fleet, managed, redis, supply)


def broken(topology: Topology) -> Iterator[Finding]:
    """Every breach of every rule."""
    for rule in RULES.values():
        yield from rule(topology)
