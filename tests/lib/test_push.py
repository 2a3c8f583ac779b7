"""`push` and `apush`: when they return, the task exists."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from harness.redis import RedisServer

pytest_plugins = ("tests.lib.crew",)


@pytest.fixture(params=["push", "apush"])
def push(request, run):
    """Either way in, called from plain code."""
    if request.param == "push":
        return lambda task, *args, **kwargs: task.push(*args, **kwargs)
    return lambda task, *args, **kwargs: run(task.apush(*args, **kwargs))


def test_a_push_leaves_a_record_and_a_message(db, ledger, features, push):
    receipt = push(features.add, 1, y=2)
    record = db.hgetall(f"rl:phoenix:{receipt.id}")
    assert (record["state"], record["name"], record["queue"]) == ("queued", features.add.name, "default")
    envelope = json.loads(record["envelope"])
    assert (envelope["args"], envelope["kwargs"]) == ([1], {"y": 2})
    assert abs(envelope["at"] - time.time()) < 5
    (message,) = db.lrange("default", 0, -1)
    assert json.loads(message)["headers"]["id"] == receipt.id
    assert db.zrange("rl:queued:default", 0, -1) == [receipt.id]


def test_the_message_carries_no_arguments(db, ledger, features, push):
    push(features.measured, "secret" * 20_000)
    (message,) = db.lrange("default", 0, -1)
    assert len(message) < 1000
    assert "secret" not in message


def test_the_receipt_is_celerys_result_and_keeps_the_protocol(db, ledger, features, push):
    from celery.result import AsyncResult

    from relier import TaskReceipt

    receipt = push(features.add, 1, 2)
    assert isinstance(receipt, AsyncResult)
    assert isinstance(receipt, TaskReceipt)
    assert (receipt.status, receipt.state, receipt.result) == ("PENDING", "PENDING", None)
    assert (receipt.ready(), receipt.successful(), receipt.failed()) == (False, False, False)


def test_pushes_stand_in_the_order_in_which_they_were_made(db, ledger, features, push):
    ids = [push(features.add, n, n).id for n in range(10)]
    waiting = [json.loads(message)["headers"]["id"] for message in db.lrange("default", 0, -1)]
    assert waiting[::-1] == ids


def test_push_under_a_running_loop_raises_and_names_apush(db, ledger, features, run):
    async def mistake():
        features.add.push(1, 2)

    with pytest.raises(RuntimeError, match=r"use 'await add\.apush\(\.\.\.\)'"):
        run(mistake())
    assert not db.keys("rl:phoenix:*")


def test_a_thread_beside_a_running_loop_may_push(db, ledger, features, run):
    async def aside():
        return await asyncio.to_thread(features.add.push, 1, 2)

    assert db.exists(f"rl:phoenix:{run(aside()).id}")


def test_fifty_threads_and_two_hundred_coroutines_push_without_loss(db, ledger, features, run):
    async def many():
        return await asyncio.gather(*(features.add.apush(n, n) for n in range(200)))

    with ThreadPoolExecutor(50) as pool:
        receipts = list(pool.map(lambda n: features.add.push(n, n), range(500)))
    receipts += run(many())
    assert len({receipt.id for receipt in receipts}) == 700
    assert all(db.exists(f"rl:phoenix:{receipt.id}") for receipt in receipts)
    assert db.llen("default") == 700


def test_pushes_use_no_more_connections_than_the_settings_allow(db, settings, features, run):
    settings(redis_max_connections=3, redis_socket_timeout=30)
    before = len(db.client_list())

    async def many():
        await asyncio.gather(*(features.add.apush(n, n) for n in range(100)))
        return len(db.client_list())

    assert run(many()) - before <= 3
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda n: features.add.push(n, n), range(100)))
    assert len(db.client_list()) - before <= 6


def test_every_loop_has_its_own_connections(db, ledger, features, run):
    ids = [run(features.add.apush(n, n)).id for n in range(3)]
    assert all(db.exists(f"rl:phoenix:{task_id}") for task_id in ids)


def _push_in_a_child(task):
    task.push(1, 1)


def test_a_forked_child_pushes_on_connections_of_its_own(db, ledger, features):
    features.add.push(0, 0)
    child = multiprocessing.get_context("fork").Process(target=_push_in_a_child, args=(features.add,))
    child.start()
    features.add.push(2, 2)
    child.join(20)
    assert child.exitcode == 0
    assert db.llen("default") == 3


def test_a_push_without_redis_raises_after_its_window(settings, features, push):
    with RedisServer(name="short-lived") as gone:
        url = gone.url
    settings(redis_url=url, push_retry_window=0.5)
    began = time.monotonic()
    with pytest.raises(RedisConnectionError):
        push(features.add, 1, 2)
    assert 0.4 < time.monotonic() - began < 3


def test_a_push_waits_for_a_redis_that_comes_back_within_its_window(settings, features, push):
    with RedisServer(name="away") as away:
        settings(redis_url=away.url, push_retry_window=20)
        push(features.add, 0, 0)
        away.stop()
        with ThreadPoolExecutor(1) as pool:
            pushed = pool.submit(push, features.add, 1, 2)
            away.start()
            receipt = pushed.result(20)
        with away.client() as client:
            assert client.exists(f"rl:phoenix:{receipt.id}")
            assert client.llen("default") == 2


def test_a_push_survives_a_redis_that_forgot_its_scripts(db, ledger, features, push):
    push(features.add, 1, 2)
    db.script_flush()
    assert db.exists(f"rl:phoenix:{push(features.add, 1, 2).id}")


@pytest.fixture
def eager(features):
    features.app.conf.task_always_eager = True
    yield features.app.conf
    features.app.conf.update(task_always_eager=False, task_eager_propagates=False)


def test_eager_mode_runs_the_body_here_and_touches_no_redis(db, ledger, features, eager, run):
    db.config_resetstat()
    assert features.add.push(1, 2).get() == 3
    assert features.add_async.push(1, 2).get() == 3
    assert features.add.delay(1, 2).get() == 3
    assert run(features.add.apush(1, 2)).get() == 3
    assert run(features.add_async.apush(1, 2)).get() == 3
    assert not db.keys("*")


def test_eager_mode_reports_a_failure_as_celery_does(ledger, features, eager):
    receipt = features.failing.push("eagerly")
    assert receipt.failed()
    with pytest.raises(ValueError, match="eagerly"):
        receipt.get()
    eager.task_eager_propagates = True
    with pytest.raises(ValueError, match="eagerly"):
        features.failing_async.delay("eagerly")


def test_eager_mode_runs_chains_and_chords(ledger, features, eager):
    from celery import chain, chord

    assert chain(features.add.s(1, 2), features.add_async.s(3)).apply_async().get() == 6
    assert chord([features.add.s(1, 2), features.add.s(3, 4)])(features.total.s()).get() == 10


def test_eager_mode_retries(ledger, features, eager, journal, token):
    """`retry` raises in eager mode where Celery's does; the later start's result is the task's."""
    assert features.retried.push(token, 2).get() == 2
    assert journal.read().starts[token] == 3


@pytest.mark.parametrize("name", ["in_context", "in_context_async"])
def test_eager_mode_gives_the_body_its_context(db, ledger, features, eager, name):
    task = getattr(features, name)
    seen = task.push(1, y=5).get()
    assert (seen["task_name"], seen["args"], seen["kwargs"]) == (task.name, [1], {"y": 5})


def test_eager_mode_keeps_a_checkpoint_for_as_long_as_the_body_runs(db, ledger, features, eager):
    with pytest.raises(ValueError, match="after the checkpoint"):
        features.kept_and_failed.push().get()
    assert not db.keys("rl:*")


def test_apply_runs_the_body_here(ledger, features):
    assert features.add.apply((1, 2)).get() == 3
    assert features.add_async.apply((1, 2)).get() == 3


def test_a_direct_call_runs_the_plain_function(features, journal):
    assert features.add(1, 2) == 3
    assert asyncio.run(features.add_async(1, 2)) == 3
    assert features.retried_with_other_arguments("unused", 3) == 3


def test_a_direct_call_takes_the_context_that_it_is_given(features):
    from relier import TaskContext

    context = TaskContext("an-id", "a.name", (1,), {}, "here", 1)
    assert features.in_context(1, context)["task_id"] == "an-id"
    assert asyncio.run(features.in_context_async(1, ctx=context))["task_id"] == "an-id"
