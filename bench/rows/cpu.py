"""What the worker's own processes burn: tasks that block 50 ms in a `def` body, on prefork 8.

User and system seconds of the whole worker tree (/proc, 10 ms a process exact), from the thaw on a full
backlog until the last body is done and acknowledged, per 2000 tasks. Redis and the producer are not in it.
"""

from __future__ import annotations

from collections.abc import Set

from bench import procfs
from bench.contestant import LATE, OURS, UPSTREAM, Contestant
from bench.figures import Figure, Result, Samples
from bench.processes import StampedWorker
from bench.rows.judge import by_round, judged_against_late
from bench.stage import Stage

NAP_SECONDS, CONCURRENCY, PER = 0.05, 8, 2000
CPU = Figure("cpu", "CPU, 2000 def naps of 50 ms, prefork 8", "s", "ratio to late-ack Celery", 1.0, 0.8)
FIGURES = (CPU,)


def _burnt(stage: Stage, who: Contestant, worker: StampedWorker) -> float:
    count = stage.effort.share(stage.effort.naps, who.name == UPSTREAM)
    before = procfs.cpu_seconds(worker.pid)
    stage.backlog(who, worker, "nap", count, value=NAP_SECONDS)
    worker.await_stamps(2 * count, 90.0, CPU.title)
    stage.settle(0.5)
    return (procfs.cpu_seconds(worker.pid) - before) * PER / count


def measure(stage: Stage, wanted: Set[str]) -> list[Result]:
    """CPU seconds per 2000 tasks."""
    samples: Samples = {}
    everyone = stage.only(LATE, OURS, *([UPSTREAM] if stage.effort.references else []))
    with stage.workers(everyone, "prefork", CONCURRENCY) as workers:
        for _ in range(stage.effort.cpu_rounds):
            for who in everyone:
                by_round(samples, who, _burnt(stage, who, workers[who.name]))
    return [judged_against_late(CPU, samples)]
