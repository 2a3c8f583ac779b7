"""A healthy worker is never taken for dead, however long it blocks, however little CPU it gets."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from harness.journal import Journal
from harness.process import Worker
from tests.lib import faults

SCALED = {"RELIER_HEARTBEAT_TTL": "3", "RELIER_RESURRECTION_CHECK_INTERVAL": "0.3"}
LITERAL: dict[str, str] = {}
SPIN = """
import os, time
os.sched_setaffinity(0, [{core}])
end = time.time() + {seconds}
while time.time() < end: pass
"""


@pytest.fixture
def run_undisturbed(
    outcomes: faults.Outcomes,
    db: redis.Redis,
    journal: Journal,
    start_worker: Callable[..., Worker],
    start_resurrector: Callable[..., Any],
) -> Callable[..., None]:
    """Run bodies to their end under a resurrector; each must start once."""

    def run(worker: Worker, env: dict[str, str], pushes: list[tuple[str, float]], timeout: float) -> None:
        from tests.lib import tasks

        start_resurrector(**env)
        ids = [getattr(tasks, body).push(seconds).id for body, seconds in pushes]
        outcomes.wait(ids, timeout)
        assert db.keys("rl:resurrections:*") == []
        assert {journal.read().starts[task] for task in ids} == {1}
        assert outcomes.wrongs(ids) == []
        assert "was declared dead" not in worker.output()

    return run


BOTH = ("block_the_loop", "nap")


@pytest.mark.parametrize(
    ("pool", "bodies"), [("prefork", BOTH), ("threads", BOTH), ("solo", BOTH[:1]), ("solo", BOTH[1:])]
)
def test_a_body_of_more_than_two_heartbeat_ttls_is_no_death(
    run_undisturbed: Callable[..., None], start_worker: Callable[..., Worker], pool: str, bodies: tuple[str, ...]
) -> None:
    worker = start_worker(pool=pool, args=faults.QUICK, env=SCALED)
    run_undisturbed(worker, SCALED, [(body, 6.5) for body in bodies], 40)


def test_fifty_busy_threads_are_no_death(
    run_undisturbed: Callable[..., None], start_worker: Callable[..., Worker]
) -> None:
    worker = start_worker(pool="threads", concurrency=50, args=faults.QUICK, env=SCALED)
    run_undisturbed(worker, SCALED, [("nap", 6.5)] * 50, 30)


@pytest.mark.soak
@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
@pytest.mark.parametrize(("body", "seconds"), [("block_the_loop", 15.0), ("nap", 25.0)])
def test_fifteen_and_twenty_five_seconds_are_no_death_by_the_shipped_settings(
    run_undisturbed: Callable[..., None], start_worker: Callable[..., Worker], pool: str, body: str, seconds: float
) -> None:
    run_undisturbed(start_worker(pool=pool), LITERAL, [(body, seconds)], 60)


@pytest.mark.soak
def test_fifty_threads_of_twenty_five_seconds_are_no_death_by_the_shipped_settings(
    run_undisturbed: Callable[..., None], start_worker: Callable[..., Worker]
) -> None:
    run_undisturbed(start_worker(pool="threads", concurrency=50), LITERAL, [("nap", 25.0)] * 50, 60)


@contextlib.contextmanager
def starved(worker: Worker, seconds: float, rivals: int = 4) -> Iterator[None]:
    """Pin a worker to one core and make it share that core with processes of higher priority, for a while."""
    core = min(os.sched_getaffinity(0))
    for pid in (worker.pid, *worker.children()):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})
            os.setpriority(os.PRIO_PROCESS, int(thread.name), 5)
    spin = SPIN.format(core=core, seconds=seconds)
    busy = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(rivals)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_that_hardly_gets_any_cpu_is_not_dead(
    run_undisturbed: Callable[..., None], start_worker: Callable[..., Worker], pool: str
) -> None:
    worker = start_worker(pool=pool, concurrency=2, args=faults.QUICK, env=SCALED)
    with starved(worker, seconds=10):
        run_undisturbed(worker, SCALED, [("nap", 7.0), ("block_the_loop", 7.0)], 60)


@pytest.mark.soak
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_without_cpu_for_a_minute_is_not_dead_by_the_shipped_settings(
    run_undisturbed: Callable[..., None], start_worker: Callable[..., Worker], pool: str
) -> None:
    worker = start_worker(pool=pool, concurrency=2)
    with starved(worker, seconds=60, rivals=8):
        run_undisturbed(worker, LITERAL, [("nap", 50.0), ("block_the_loop", 50.0)], 150)


@pytest.mark.parametrize("limit", [1, 3])
def test_children_that_are_replaced_after_some_tasks_are_no_deaths(
    outcomes: faults.Outcomes,
    db: redis.Redis,
    journal: Journal,
    start_worker: Callable[..., Worker],
    start_resurrector: Callable[..., Any],
    limit: int,
) -> None:
    from tests.lib import tasks

    start_resurrector(**SCALED)
    start_worker(env=SCALED, args=(f"--max-tasks-per-child={limit}",))
    ids = [tasks.nap.push(0.01).id if n % 2 else tasks.anap.push(0.01).id for n in range(18)]
    outcomes.wait(ids, 60)
    tally = journal.read()
    assert {tally.starts[task] for task in ids} == {1}
    assert len({entry.pid for entry in tally.entries}) >= 18 // limit, "the children were not replaced"
    assert db.keys("rl:resurrections:*") == []
    assert outcomes.wrongs(ids) == []
