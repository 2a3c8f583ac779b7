"""SIGTERM and SIGQUIT: what cannot finish in time goes to another worker at once, and nothing is committed twice.

No resurrector runs here and no heartbeat expires: only the leaving worker itself can bring its tasks back.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from harness.journal import START, Journal
from harness.process import Worker
from tests.lib import faults

POOLS = pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
# A handoff is no death, so a cap of 0 must not stop what is handed off.
PATIENT = {"RELIER_HEARTBEAT_TTL": "60", "RELIER_MAX_RESURRECTIONS": "0"}
SHORT = PATIENT | {"RELIER_GRACEFUL_SHUTDOWN_TIMEOUT": "1"}
LONG = PATIENT | {"RELIER_GRACEFUL_SHUTDOWN_TIMEOUT": "60"}
MUCH_LESS_THAN_A_TTL = 10.0


def begin(journal: Journal, *pushed: Any) -> list[str]:
    """Their ids, once all of them run."""
    ids = [receipt.id for receipt in pushed]
    faults.wait_for_starts(journal, ids)
    return ids


def seconds_until_running_elsewhere(journal: Journal, ids: list[str], since: float) -> float:
    """How long after `since` (seconds since the epoch) the last of them began again."""
    faults.wait_for_starts(journal, ids, timeout=MUCH_LESS_THAN_A_TTL, count=2)
    tally = journal.read()
    return max(tally.of(task, START)[1].at for task in ids) - since


def check(db: redis.Redis, outcomes: faults.Outcomes, ids: list[str]) -> None:
    outcomes.wait(ids, 20)
    assert outcomes.wrongs(ids) == []
    assert db.keys("rl:resurrections:*") == []
    assert db.get("rl:m:global:success") == str(len(ids))


@pytest.mark.parametrize(
    ("pool", "body"), [("prefork", "wait_at"), ("solo", "await_at"), ("threads", "wait_at"), ("threads", "await_at")]
)
def test_a_task_longer_than_the_drain_runs_elsewhere_at_once(
    db: redis.Redis, journal: Journal, outcomes: faults.Outcomes, gate: Path, start_worker: Any, pool: str, body: str
) -> None:
    from tests.lib import tasks

    leaving = start_worker(pool=pool, name="leaving", args=faults.QUICK, env=SHORT)
    ids = begin(journal, *(getattr(tasks, body).push(str(gate)) for _ in range(1 if pool == "solo" else 2)))
    staying = start_worker(pool="threads", name="staying", args=faults.QUICK, env=SHORT, wait=False)
    assert leaving.terminate(timeout=10) == 0
    staying.wait_ready()
    assert seconds_until_running_elsewhere(journal, ids, time.time()) < MUCH_LESS_THAN_A_TTL
    check(db, outcomes, ids)


@POOLS
def test_a_task_shorter_than_the_drain_finishes_where_it_is(
    db: redis.Redis, journal: Journal, outcomes: faults.Outcomes, start_worker: Any, pool: str
) -> None:
    from tests.lib import tasks

    leaving = start_worker(pool=pool, name="leaving", args=faults.QUICK, env=LONG)
    ids = begin(journal, tasks.nap.push(1.0))
    assert leaving.terminate(timeout=10) == 0
    check(db, outcomes, ids)
    assert journal.read().starts[ids[0]] == 1


@POOLS
def test_tasks_that_end_just_as_the_drain_does_are_committed_once(
    db: redis.Redis, journal: Journal, outcomes: faults.Outcomes, start_worker: Any, pool: str
) -> None:
    from tests.lib import tasks

    many = 1 if pool == "solo" else 8
    leaving = start_worker(pool=pool, concurrency=many, name="leaving", args=faults.QUICK, env=SHORT)
    started = time.monotonic()
    pushed = [tasks.nap.push(2.6 + n * 0.05) for n in range(many)]
    ids = begin(journal, *pushed)
    start_worker(pool="threads", concurrency=8, name="staying", args=faults.QUICK, env=SHORT, wait=False)
    time.sleep(max(0.0, started + 1.7 - time.monotonic()))  # so that the drain ends among their ends
    leaving.terminate(timeout=10)
    check(db, outcomes, ids)


@POOLS
def test_what_a_leaving_worker_had_taken_but_not_begun_is_given_back(
    db: redis.Redis, journal: Journal, outcomes: faults.Outcomes, gate: Path, start_worker: Any, pool: str
) -> None:
    from tests.lib import tasks

    leaving = start_worker(pool=pool, concurrency=1, name="leaving", args=faults.QUICK, env=SHORT)
    ids = begin(journal, tasks.wait_at.push(str(gate)))
    waiting = [tasks.nap.push(0).id for _ in range(6)]
    assert leaving.terminate(timeout=10) == 0
    assert [journal.read().starts[task] for task in waiting] == [0] * 6
    start_worker(pool="threads", name="staying", args=faults.QUICK, env=SHORT, wait=False)
    check(db, outcomes, ids + waiting)


@POOLS
def test_an_idle_worker_leaves_at_once(start_worker: Any, pool: str) -> None:
    leaving = start_worker(pool=pool, args=faults.QUICK, env=LONG)
    assert leaving.terminate(timeout=MUCH_LESS_THAN_A_TTL) == 0


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_second_sigterm_neither_hurries_nor_breaks_the_drain(
    db: redis.Redis, journal: Journal, outcomes: faults.Outcomes, start_worker: Any, pool: str
) -> None:
    from tests.lib import tasks

    leaving = start_worker(pool=pool, args=faults.QUICK, env=LONG)
    ids = begin(journal, tasks.nap.push(1.5))
    leaving.send(signal.SIGTERM)
    leaving.wait_for_output(["Warm shutdown"], 10)
    assert leaving.terminate(timeout=15) == 0
    check(db, outcomes, ids)
    assert journal.read().starts[ids[0]] == 1


def quit_at_once(worker: Worker) -> None:
    worker.send(signal.SIGQUIT)
    worker.wait(MUCH_LESS_THAN_A_TTL)


def quit_in_the_drain(worker: Worker) -> None:
    worker.send(signal.SIGTERM)
    worker.wait_for_output(["Warm shutdown"], 10)
    quit_at_once(worker)


@POOLS
@pytest.mark.parametrize("leave", [quit_at_once, quit_in_the_drain])
def test_sigquit_hands_off_without_waiting_for_the_drain(
    db: redis.Redis,
    journal: Journal,
    outcomes: faults.Outcomes,
    gate: Path,
    start_worker: Any,
    pool: str,
    leave: Callable[[Worker], None],
) -> None:
    from tests.lib import tasks

    leaving = start_worker(pool=pool, name="leaving", args=faults.QUICK, env=LONG)
    ids = begin(journal, tasks.wait_at.push(str(gate)))
    staying = start_worker(pool="threads", name="staying", args=faults.QUICK, env=LONG, wait=False)
    leave(leaving)
    staying.wait_ready()
    assert seconds_until_running_elsewhere(journal, ids, time.time()) < MUCH_LESS_THAN_A_TTL
    check(db, outcomes, ids)
