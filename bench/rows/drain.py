"""How fast a backlog is worked off: no-op bodies, coroutines and functions, and tasks with an argument of 100 KB.

The same for every contestant: its worker is up and warm, is then frozen (SIGSTOP, parent and children)
while its producer pushes the whole backlog, and is thawed. Each body's last act is a stamp in a log
(`contestants/stamps.py`). The rate is tasks per second between the first and the last stamp, so neither the
push nor the start of a worker is in it. Upstream gets a shorter backlog, since it is slower; a rate does
not depend on the length. Celery runs a plain function where the others run a coroutine, for it has none.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from bench.contestant import UPSTREAM, Contestant
from bench.figures import Figure, Result, Samples
from bench.processes import StampedWorker
from bench.rows.judge import by_round, judged_against_late
from bench.stage import Stage

AGAINST = "ratio to late-ack Celery"
SIZE = 100_000


@dataclass(frozen=True)
class Load:
    """A figure, the pool that it runs on and the task that it runs."""

    figure: Figure
    pool: str
    concurrency: int
    task: str


def _load(key: str, title: str, must: float, aim: float, pool: str, task: str) -> Load:
    figure = Figure(key, title, "/s", AGAINST, must, aim, higher_is_better=True)
    return Load(figure, pool, 2 if pool == "prefork" else 1, task)


LOADS = (
    _load("async-prefork", "no-op async tasks, prefork 2", 1.2, 1.5, "prefork", "anoop"),
    _load("def-prefork", "no-op def tasks, prefork 2", 1.4, 1.9, "prefork", "noop"),
    _load("big", "100 KB tasks, prefork 2", 1.5, 2.0, "prefork", "big"),
    _load("async-solo", "no-op async tasks, solo", 1.2, 1.5, "solo", "anoop"),
    _load("def-solo", "no-op def tasks, solo", 1.4, 1.9, "solo", "noop"),
)
FIGURES = tuple(load.figure for load in LOADS)


def _rate(stage: Stage, who: Contestant, worker: StampedWorker, load: Load) -> float:
    """Tasks per second from the first to the last stamp of one backlog."""
    spec: dict[str, Any] = {"size": SIZE} if load.task == "big" else {}
    count = stage.effort.bigs if load.task == "big" else stage.effort.noops
    count = stage.effort.share(count, who.name == UPSTREAM)
    stage.backlog(who, worker, load.task, count, **spec)
    worker.await_stamps(count, 60.0, f"{load.figure.title} ({count} tasks)")
    stage.settle()
    done = worker.stamps.done()
    return (len(done) - 1) / (done[-1] - done[0])


def _on_pool(stage: Stage, pool: str, loads: list[Load]) -> list[Result]:
    found: dict[str, Samples] = {load.figure.key: {} for load in loads}
    with stage.workers(stage.everyone, pool, loads[0].concurrency) as workers:
        for _ in range(stage.effort.drain_rounds):
            for load in loads:
                for who in stage.everyone:
                    by_round(found[load.figure.key], who, _rate(stage, who, workers[who.name], load))
    return [judged_against_late(load.figure, found[load.figure.key]) for load in loads]


def measure(stage: Stage, wanted: Set[str]) -> list[Result]:
    """Rates in tasks per second."""
    results = []
    for pool in ("prefork", "solo"):
        loads = [load for load in LOADS if load.pool == pool and load.figure.key in wanted]
        if loads:
            results += _on_pool(stage, pool, loads)
    return results
