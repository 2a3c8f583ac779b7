"""A message that a worker takes while it is frozen, and that dies with it, is not the task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from harness.process import Worker, wait_until
from tests.lib import faults

EAGER = {"RELIER_UNCLAIMED_GRACE": "1.5", "RELIER_RESURRECTION_CHECK_INTERVAL": "0.3"}


def waits_in_brpop(db: redis.Redis) -> bool:
    return any(client["cmd"].lower() == "brpop" and "b" in client["flags"] for client in db.client_list())


def freeze_in_brpop(db: redis.Redis, worker: Worker) -> None:
    """Freeze a worker whose next message Redis has been asked for already."""

    def caught() -> bool:
        worker.freeze()
        if waits_in_brpop(db):
            return True
        worker.thaw()
        return False

    wait_until(caught, 20, "a frozen worker that waits in BRPOP")


def push_into_the_frozen(db: redis.Redis, worker: Worker, others: int) -> list[str]:
    """Push one task that the frozen worker takes from the list, and others behind it."""
    from tests.lib import tasks

    first = tasks.nap.push(0).id
    if db.llen("default"):
        # Its BRPOP had just timed out on the server: nothing was at risk, so this round does not count.
        worker.thaw()
        return []
    return [first, *(tasks.anap.push(0).id for _ in range(others))]


@pytest.fixture
def lose_popped_messages(
    db: redis.Redis,
    outcomes: faults.Outcomes,
    start_worker: Callable[..., Worker],
    start_resurrector: Callable[..., Any],
) -> Callable[..., None]:
    def run(rounds: int, others: int) -> None:
        start_resurrector(**EAGER)
        worker = start_worker(pool="solo", args=faults.QUICK, env=EAGER)
        ids: list[str] = []
        lost = 0
        while lost < rounds:
            freeze_in_brpop(db, worker)
            pushed = push_into_the_frozen(db, worker, others)
            if not pushed:
                continue
            lost += 1
            ids += pushed
            assert db.llen("default") == others, "the frozen worker did not take the first message"
            worker.kill_tree()
            worker.start().wait_ready()
            outcomes.wait(pushed, 20)
        assert outcomes.wrongs(ids) == []
        assert len(ids) == rounds * (1 + others)

    return run


def test_a_message_that_dies_with_a_frozen_worker_is_sent_again(lose_popped_messages: Callable[..., None]) -> None:
    lose_popped_messages(rounds=3, others=4)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_two_hundred_messages_that_die_with_a_frozen_worker_lose_no_task(
    lose_popped_messages: Callable[..., None],
) -> None:
    lose_popped_messages(rounds=200, others=1)
