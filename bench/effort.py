"""How much work a run does: a full one stays under twelve minutes on two cores, `--quick` under three."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """Rounds and counts. Upstream does `1 / upstream_share` of the work where a rate is what counts."""

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
    transitions: int
    passes: int
    upstream_share: int = 5

    def share(self, count: int, slow: bool) -> int:
        """The count for one contestant."""
        return count // self.upstream_share if slow else count


FULL = Effort(
    push_rounds=9,
    pushes=400,
    bulk=2000,
    drain_rounds=5,
    noops=3000,
    bigs=400,
    cpu_rounds=3,
    naps=2000,
    waves=6,
    idle_seconds=10.0,
    doctor_rounds=11,
    transitions=500,
    passes=60,
)
QUICK = Effort(
    push_rounds=4,
    pushes=200,
    bulk=1000,
    drain_rounds=2,
    noops=1000,
    bigs=150,
    cpu_rounds=1,
    naps=800,
    waves=2,
    idle_seconds=10.0,
    doctor_rounds=4,
    transitions=200,
    passes=30,
)
