"""How much work a run does: a full one stays under twelve minutes on two cores, `--quick` under three."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """Rounds and counts. Upstream does `1 / upstream_share` of the work where a rate is what counts.

    Without `references`, slow rows leave out those that no ratio needs.
    """

    push_rounds: int
    pushes: int
    bulk: int
    drain_rounds: int
    noops: int
    bigs: int
    cpu_rounds: int
    naps: int
    waves: int
    idle_seconds: float
    doctor_rounds: int
    depths: tuple[int, ...]
    flights: tuple[int, ...]
    growth_rounds: int
    transitions: int
    passes: int
    references: bool = True
    upstream_share: int = 5

    def share(self, count: int, slow: bool) -> int:
        """The count for one contestant."""
        return count // self.upstream_share if slow else count


FULL = Effort(
    push_rounds=15,
    pushes=250,
    bulk=1500,
    drain_rounds=6,
    noops=1500,
    bigs=300,
    cpu_rounds=3,
    naps=2000,
    waves=6,
    idle_seconds=10.0,
    doctor_rounds=11,
    depths=(10, 10_000, 1_000_000),
    flights=(100, 100_000),
    growth_rounds=9,
    transitions=100,
    passes=10,
)
QUICK = Effort(
    push_rounds=3,
    pushes=200,
    bulk=1000,
    drain_rounds=3,
    noops=500,
    bigs=100,
    cpu_rounds=1,
    naps=800,
    waves=3,
    idle_seconds=10.0,
    doctor_rounds=4,
    depths=(10, 10_000, 100_000),
    flights=(100, 50_000),
    growth_rounds=5,
    transitions=60,
    passes=8,
    references=False,
)
