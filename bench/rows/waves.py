"""Coroutines that wait 5 s, many at once in one worker process: `-P threads -c 1000` and waves of 1000 tasks.

The backlog is there before the worker is thawed. Time runs from the thaw to the last body's end; the ideal
is five seconds a wave. How many ran at once follows from the bodies' own stamps, memory and connections
from samples while they run. A resurrector watches; a task that it brings back, or a body that starts twice,
is a false death, for nothing dies here. Celery has no coroutines: its threads sleep. Both others run fewer
waves, for orientation only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate

from bench import procfs
from bench.contestant import LATE, OURS, UPSTREAM, Contestant
from bench.errors import ContestantFailed
from bench.figures import Figure, Result, Samples
from bench.observe import connections
from bench.processes import StampedWorker
from bench.rows.judge import by_round, judged_alone
from bench.stage import Stage
from harness.process import Process

SECONDS, ALONE = 5.0, "our value"


def _figures(prefix: str, width: int, bounded: bool) -> tuple[Figure, ...]:
    def bound(value: float) -> float | None:
        return value if bounded else None

    return (
        Figure(f"{prefix}-time", f"{width} async waits of 5 s: time/ideal", "", ALONE, bound(1.15)),
        Figure(f"{prefix}-peak", "· ran at once", "", ALONE, bound(1000), 5000, True),
        Figure(f"{prefix}-memory", "· worker resident", "MB", ALONE, bound(250)),
        Figure(f"{prefix}-connections", "· its Redis connections", "", ALONE, bound(30)),
        Figure(f"{prefix}-deaths", "· false deaths", "", ALONE, bound(0)),
    )


FIGURES = _figures("waves", 1000, bounded=True)
WIDE_FIGURES = _figures("wide", 5000, bounded=False)


@dataclass
class Peak:
    """The most that was seen while the tasks ran."""

    bytes: int = 0
    connections: int = 0


def _watch(stage: Stage, who: Contestant, worker: StampedWorker, stamps: int, seconds: float) -> Peak:
    """Sample until all bodies ended, twice a second."""
    peak, client = Peak(), stage.client(who.database)
    deadline = time.monotonic() + seconds
    while worker.stamps.count() < stamps:
        if time.monotonic() > deadline or not worker.alive:
            worker.await_stamps(stamps, 0.0, f"waves: not done in {seconds:.0f} s")
        peak.bytes = max(peak.bytes, procfs.resident_bytes(worker.pid))
        peak.connections = max(peak.connections, connections(client, worker.pid))
        time.sleep(0.5)
    return peak


@contextmanager
def resurrector(stage: Stage, who: Contestant, *args: str) -> Iterator[Process | None]:
    """The contestant's own resurrector, where it has one."""
    if who.is_celery:
        yield None
        return
    env = who.env(stage.server.port, stage.home)
    argv = who.rl_argv("run-resurrector", *args)
    with Process(argv, env=env, name=who.label, log=stage.log(who, "resurrector")) as process:
        yield process
        if not process.alive:
            raise ContestantFailed(who.label, f"its resurrector ended: {process.tail(1)}")


def _at_once(started: list[float], done: list[float]) -> int:
    events = sorted([(when, 1) for when in started] + [(when, -1) for when in done])
    return max(accumulate(step for _, step in events))


def _resurrected(stage: Stage, who: Contestant) -> int:
    client = stage.client(who.database)
    return sum(int(client.get(key) or 0) for key in client.scan_iter("rl:resurrections:*", count=1000))


def _run(stage: Stage, who: Contestant, width: int, waves: int) -> dict[str, float]:
    count = width * waves
    with stage.worker(who, "threads", width) as worker, resurrector(stage, who):
        stage.backlog(who, worker, "wait", count, value=SECONDS)
        thawed = time.monotonic()
        peak = _watch(stage, who, worker, 2 * count, SECONDS * waves * 3 + 30)
        stage.settle(1.0)
        started, done = worker.stamps.started(), worker.stamps.done()
        deaths = max(_resurrected(stage, who), len(started) - count)
    return {
        "time": (done[-1] - thawed) / (SECONDS * waves),
        "peak": _at_once(started, done),
        "memory": peak.bytes / 1e6,
        "connections": peak.connections,
        "deaths": deaths,
    }


def _measure(stage: Stage, figures: tuple[Figure, ...], width: int, waves: dict[str, int]) -> list[Result]:
    found: dict[str, Samples] = {figure.key: {} for figure in figures}
    everyone = stage.only(*waves)
    for who in everyone:
        values = _run(stage, who, width, waves[who.name])
        for figure in figures:
            by_round(found[figure.key], who, values[figure.key.rsplit("-", 1)[1]])
    first, *others = (judged_alone(figure, found[figure.key]) for figure in figures)
    first.note = "waves: " + ", ".join(f"{who.label} {waves[who.name]}" for who in everyone)
    return [first, *others]


def measure(stage: Stage, wanted: Set[str]) -> list[Result]:
    """Time as a multiple of the ideal, megabytes, counts."""
    others = {LATE: 1, UPSTREAM: 1} if stage.effort.references else {}
    return _measure(stage, FIGURES, 1000, others | {OURS: stage.effort.waves})


def measure_wide(stage: Stage, wanted: Set[str]) -> list[Result]:
    """The same with 5000 at once."""
    return _measure(stage, WIDE_FIGURES, 5000, {OURS: 2})
