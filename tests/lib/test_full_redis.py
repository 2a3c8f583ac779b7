"""A Redis without memory: pushes are refused, and what runs still ends, so that it can empty itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError

from relier.dispatch import build, send


@pytest.fixture
def fill(ledger: Any, db: redis.Redis) -> Iterator[Callable[[], None]]:
    """Call it to fill Redis to its limit."""
    before = db.config_get("maxmemory")["maxmemory"]
    yield lambda: db.config_set("maxmemory", db.info("memory")["used_memory"] - 1)
    db.config_set("maxmemory", before)


@pytest.fixture
def task() -> Any:
    from tests.lib.feature_tasks import add

    return add


def claim(ledger: Any, task_id: str, holder: str = "w@h/1.1.1.1.0") -> Any:
    return ledger.call("claim", task_id, holder, 1, 10_000, "", "", 0)


def pushed(task: Any) -> str:
    push = build(task, (1, 2), {})
    send(push, None, admit=True)
    return push.task_id


def test_a_push_is_refused_at_once(task: Any, fill: Callable[[], None]) -> None:
    fill()
    with pytest.raises(ResponseError, match="maxmemory"):
        pushed(task)


def test_a_running_task_commits(task: Any, ledger: Any, db: redis.Redis, fill: Callable[[], None]) -> None:
    task_id = pushed(task)
    claim(ledger, task_id)
    fill()
    reply = ledger.call("commit", task_id, "w@h/1.1.1.1.0", 1, "success", "w@h", 5, "result", "3", 60, "", 0)
    assert (reply, db.get("result"), db.exists(f"rl:phoenix:{task_id}")) == (b"ok", "3", 0)


def test_a_failing_task_reaches_the_dlq(task: Any, ledger: Any, db: redis.Redis, fill: Callable[[], None]) -> None:
    task_id = pushed(task)
    claim(ledger, task_id)
    fill()
    reply = ledger.call("fail", task_id, "w@h/1.1.1.1.0", 1, "ValueError", "no", "", "w@h", "", "", 0)
    assert (reply, db.hexists("rl:dlq", task_id)) == (b"ok", True)


def test_heartbeats_arrive_so_nobody_looks_dead(ledger: Any, db: redis.Redis, fill: Callable[[], None]) -> None:
    fill()
    ledger.call("beat", "w@h/1.1.1.1.0", 10_000, "0")
    assert db.zscore("rl:phoenix:expiry_index", "w@h/1.1.1.1.0") is not None


def test_the_tasks_of_the_dead_come_back(task: Any, ledger: Any, db: redis.Redis, fill: Callable[[], None]) -> None:
    task_id = pushed(task)
    claim(ledger, task_id)
    fill()
    reply = ledger.call("resurrect", "w@h/1.1.1.1.0", 10, 5, 100, "1", 60)
    assert (reply[3], db.hget(f"rl:phoenix:{task_id}", "state")) == (b"requeued", "queued")
