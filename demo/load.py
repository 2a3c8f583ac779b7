"""What is pushed, and when workers die: the same for both sides, settled before either starts."""

from __future__ import annotations

import random
from dataclasses import dataclass

from demo.bodies import SECONDS

WORKERS = ("alpha", "beta")
CONCURRENCY = 2
SHARE = {"quick": 60, "nap": 15, "charge": 15, "crawl": 10}
FEWEST, MOST = 60, 2000

# A worker dies between "Redis handed it a message" and "it wrote that down": frozen while it waits, pushed
# to, killed. Each round pushes a few quick tasks.
SILENT_ROUNDS = 3
SILENT_PUSHES = 4


@dataclass(frozen=True)
class Job:
    kind: str
    number: int


@dataclass(frozen=True)
class Fault:
    """SIGKILL to one pool child or to a whole worker, once this share of the tasks has finished."""

    after: float
    target: str


FAULTS = (
    Fault(0.12, "child"),
    Fault(0.25, "child"),
    Fault(0.37, "child"),
    Fault(0.50, "worker"),
    Fault(0.65, "child"),
    Fault(0.78, "child"),
)


@dataclass(frozen=True)
class Load:
    """`silent` goes out around the frozen workers, `steady` at `rate` tasks a second."""

    silent: tuple[Job, ...]
    steady: tuple[Job, ...]
    rate: float

    @property
    def total(self) -> int:
        return len(self.silent) + len(self.steady)


def make_load(tasks: int) -> Load:
    """The load for this many tasks. The rate keeps the pool 80 % busy, so that no queue hides a recovery."""
    silent = tuple(Job("quick", number) for number in range(SILENT_ROUNDS * SILENT_PUSHES))
    kinds = [kind for kind, share in SHARE.items() for _ in range(share)]
    left = tasks - len(silent)
    chosen = [kinds[n * len(kinds) // left % len(kinds)] for n in range(left)]
    random.Random(7).shuffle(chosen)
    steady = tuple(Job(kind, len(silent) + n) for n, kind in enumerate(chosen))
    work = sum(SECONDS[job.kind] for job in steady)
    return Load(silent, steady, rate=len(steady) * 0.8 * len(WORKERS) * CONCURRENCY / work)
