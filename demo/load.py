"""What is pushed, and when workers die: the same for both sides, settled before either starts."""

from __future__ import annotations

import itertools
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
WARM_UP = 16


@dataclass(frozen=True)
class Job:
    kind: str
    number: int


@dataclass(frozen=True)
class Fault:
    """SIGKILL to one pool child or to a whole worker, once this share of the steady tasks has finished."""

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
    """`warm` goes first, `silent` around the frozen workers, `steady` at `rate` tasks a second."""

    warm: tuple[Job, ...]
    silent: tuple[Job, ...]
    steady: tuple[Job, ...]
    rate: float

    @property
    def total(self) -> int:
        return len(self.warm) + len(self.silent) + len(self.steady)

    def due(self, fault: Fault) -> float:
        """How many tasks have finished when this fault is due."""
        return self.total - len(self.steady) * (1 - fault.after)


def make_load(tasks: int) -> Load:
    """The load for this many tasks. The rate keeps the pool 80 % busy, so that no queue hides a recovery."""
    numbers = iter(range(tasks))
    warm = tuple(Job("quick", n) for n in itertools.islice(numbers, WARM_UP))
    silent = tuple(Job("quick", n) for n in itertools.islice(numbers, SILENT_ROUNDS * SILENT_PUSHES))
    kinds = [kind for kind, share in SHARE.items() for _ in range(share)]
    left = tasks - len(warm) - len(silent)
    chosen = [kinds[n * len(kinds) // left] for n in range(left)]
    random.Random(7).shuffle(chosen)
    steady = tuple(Job(kind, n) for kind, n in zip(chosen, numbers, strict=True))
    work = sum(SECONDS[job.kind] for job in steady)
    return Load(warm, silent, steady, rate=len(steady) * 0.8 * len(WORKERS) * CONCURRENCY / work)
