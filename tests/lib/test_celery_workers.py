"""Celery's pools and worker options, plain Celery tasks beside Relier's, and messages that did not come from Relier."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from celery import Celery

from harness.process import REPO, clean_env, wait_until
from tests.lib.faults import QUICK

pytest_plugins = ("tests.lib.crew",)
POOLS = ("prefork", "solo", "threads")


@pytest.mark.parametrize("pool", POOLS)
def test_every_pool_runs_both_kinds_of_bodies_and_plain_tasks(members, features, pool):
    members.start(pool=pool)
    receipts = [features.add.push(n, 1) for n in range(20)]
    receipts += [features.add_async.push(n, 1) for n in range(20)]
    receipts += [features.stock_add.delay(n, 1) for n in range(20)]
    assert [receipt.get(timeout=20) for receipt in receipts] == [*range(1, 21)] * 3
    wait_until(lambda: not members.client.keys("rl:phoenix:*-*"), 5, "an empty ledger")
    wait_until(lambda: not members.client.exists("unacked"), 5, "nothing unacknowledged")


def test_a_threads_pool_runs_a_hundred_coroutines_at_once_in_one_process(members, features, token):
    members.start(pool="threads", concurrency=100)
    receipts = [features.slow_async.push(f"{token}-{n}", 2) for n in range(100)]
    for receipt in receipts:
        receipt.get(timeout=30)
    entries = members.journal.read().entries
    last_start = max(entry.at for entry in entries if entry.kind == "start" and entry.task_id.startswith(token))
    first_end = min(entry.at for entry in entries if entry.kind == "end" and entry.task_id.startswith(token))
    assert last_start < first_end
    assert len({entry.pid for entry in entries if entry.task_id.startswith(token)}) == 1


def test_children_that_are_replaced_after_their_share_lose_and_repeat_nothing(members, features, token):
    members.start(args=(*QUICK, "--max-tasks-per-child", "3"))
    receipts = [features.noted.push(f"{token}-{n}", n) for n in range(30)]
    receipts += [features.noted_async.push(f"{token}-a{n}", n) for n in range(30)]
    assert [receipt.get(timeout=60) for receipt in receipts] == [*range(30)] * 2
    tally = members.journal.read()
    ours = [entry for entry in tally.entries if entry.task_id.startswith(token) and entry.kind == "start"]
    assert len(ours) == 60
    assert len({entry.pid for entry in ours}) >= 18
    assert not members.client.keys("rl:resurrections:*")


def test_a_delayed_task_outlives_the_worker(members, features, token):
    first = members.start(name="first")
    receipts = [features.noted.apply_async((token,), countdown=3) for _ in range(5)]
    assert features.add.push(1, 1).get(timeout=20) == 2
    first.kill_tree()
    assert members.client.zcard("rl:delayed") == 5
    members.start(name="second")
    for receipt in receipts:
        receipt.get(timeout=20)
    assert members.runs(token) == (5, 5)


def test_a_delay_beyond_the_visibility_timeout_is_never_duplicated(members, features, token):
    members.start(env={"FEATURE_VISIBILITY": "1"}, app="tests.lib.feature_app")
    receipt = features.noted.apply_async((token,), countdown=4)
    slow = features.slow.push(token + "-slow", 4)
    receipt.get(timeout=20)
    slow.get(timeout=20)
    assert features.add.push(1, 1).get(timeout=20) == 2
    assert members.runs(token) == (1, 1)
    assert members.runs(token + "-slow") == (1, 1)


def test_a_plain_task_keeps_kombus_own_copy_while_it_runs(members, features, token):
    members.start(pool="prefork")
    receipt = features.stock_slow.delay(token, 1.0)
    members.started(token)
    held = [json.loads(item) for item in members.client.hvals("unacked")]
    assert [message[0]["headers"]["id"] for message in held] == [receipt.id]
    assert receipt.get(timeout=20) == token
    wait_until(lambda: not members.client.exists("unacked"), 5, "nothing unacknowledged")


def test_a_plain_task_comes_back_when_its_child_is_killed(members, features, token):
    members.start(pool="prefork")
    receipt = features.stock_dying_once.delay(token)
    receipt.get(timeout=30)
    assert members.runs(token) == (2, 1)


def test_a_plain_task_comes_back_when_its_worker_is_killed(members, features, token):
    first = members.start(name="first", env={"FEATURE_VISIBILITY": "2"}, app="tests.lib.feature_app")
    features.stock_slow.delay(token, 60)
    members.started(token)
    first.kill_tree()
    assert members.client.hlen("unacked") == 1
    members.start(name="second", env={"FEATURE_VISIBILITY": "2"}, app="tests.lib.feature_app")
    wait_until(lambda: members.runs(token)[0] == 2, 40, "the plain task runs again")


def test_plain_tasks_that_wait_in_a_worker_go_back_on_a_clean_stop(members, features, token):
    first = members.start(name="first", concurrency=1)
    receipts = [features.stock_slow.delay(f"{token}-{n}", 5 * (n == 0)) for n in range(4)]
    members.started(f"{token}-0")
    # Until the child has said so, Celery takes a task that runs for one that waits, and has it run again.
    wait_until(lambda: _accepted(features.app, receipts[0].id), 20, "the worker knows that it runs")
    assert first.terminate(timeout=30) == 0
    members.start(name="second")
    for receipt in receipts:
        receipt.get(timeout=20)
    assert [members.runs(f"{token}-{n}") for n in range(4)] == [(1, 1)] * 4


def _accepted(app: Celery, task_id: str) -> bool:
    """Whether a worker says that it runs the task."""
    said = app.control.inspect(timeout=0.5).active() or {}
    return any(row["id"] == task_id for rows in said.values() for row in rows)


def send_plainly(name: str, args: list[object], url: str, **options: object) -> str:
    """Send a message as a program does that has Celery but not Relier."""
    program = (
        "import sys, json\n"
        "from celery import Celery\n"
        "name, args, options = json.loads(sys.argv[1])\n"
        "app = Celery(broker=sys.argv[2], backend=sys.argv[2])\n"
        "print(app.send_task(name, args, **options).id)\n"
    )
    command = [sys.executable, "-c", program, json.dumps([name, args, {"queue": "default"} | options]), url]
    done = subprocess.run(command, env=clean_env(), capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("pool", POOLS)
def test_a_message_that_stock_celery_sent_runs_and_is_committed(members, features, token, pool):
    members.start(pool=pool)
    receipts = [features.app.send_task(features.noted.name, [token, 7], queue="default")]
    receipts += [features.app.send_task(features.noted_async.name, [token, 8], queue="default")]
    assert [receipt.get(timeout=20) for receipt in receipts] == [7, 8]
    assert members.runs(token) == (2, 2)
    for receipt in receipts:
        assert members.client.get(f"rl:receipt:{receipt.id}")
    wait_until(lambda: not members.client.exists("unacked"), 5, "nothing unacknowledged")


def test_a_message_of_another_program_runs_with_its_keywords(members, features):
    members.start()
    task_id = send_plainly(features.described.name, [1], members.server.url, kwargs={"named": "two"})
    result = features.app.AsyncResult(task_id)
    assert result.get(timeout=20) == [["int", "1"], ["str", "two"]]


def test_a_message_that_stock_celery_sent_is_protected_from_its_claim_on(members, features, token):
    members.start(name="first")
    members.start_resurrector(RELIER_RESURRECTION_CHECK_INTERVAL="0.5")
    receipt = features.app.send_task(features.dying_once.name, [token, 9], queue="default")
    assert receipt.get(timeout=20) == 9
    assert members.runs(token) == (2, 1)
    assert members.client.get(f"rl:resurrections:{receipt.id}") == "1"


def test_an_adopted_message_is_held_by_its_record_alone(members, features, token):
    members.start()
    receipt = features.app.send_task(features.slow.name, [token, 1.5], queue="default")
    members.started(token)
    assert members.record(receipt.id)["state"] == "running"
    assert not members.client.exists("unacked")
    assert receipt.get(timeout=20) == token


def test_a_message_with_a_countdown_that_stock_celery_sent_runs_once_in_time(members, features, token):
    members.start()
    sent = time.time()
    receipt = features.app.send_task(features.noted.name, [token, 1], queue="default", countdown=1)
    assert receipt.get(timeout=20) == 1
    assert members.journal.read().of(token)[0].at - sent >= 0.95
    assert members.runs(token) == (1, 1)


def test_a_failing_message_of_stock_celery_ends_in_the_dlq_and_can_be_released(members, features, token, run):
    from relier import DeadLetterQueue

    members.start()
    receipt = features.app.send_task(features.mended.name, [token], queue="default")
    assert members.quarantined(receipt.id)["reason"] == "ValueError"
    assert run(DeadLetterQueue().release(receipt.id))
    wait_until(lambda: members.runs(token) == (2, 1), 20, "the released task runs")


def test_a_chain_of_signatures_sent_by_name_runs(members, features):
    members.start()
    work = features.app.signature(features.add.name, (1, 2), queue="default")
    work |= features.app.signature(features.stock_add.name, (3,), queue="default")
    work |= features.app.signature(features.add_async.name, (4,), queue="default")
    assert work.apply_async().get(timeout=20) == 10


def test_a_task_whose_module_is_missing_waits_in_the_ledger_until_it_appears(members, features, token):
    bare = members.start(name="bare", include=())
    members.start_resurrector(RELIER_UNCLAIMED_GRACE="1", RELIER_RESURRECTION_CHECK_INTERVAL="0.5")
    receipt = features.noted.push(token, 4)
    bare.wait_for_output((f"Received unregistered task of type '{features.noted.name}'",))
    assert members.record(receipt.id)["state"] == "queued"
    bare.stop()
    members.start(name="complete")
    assert receipt.get(timeout=20) == 4
    assert members.runs(token) == (1, 1)


def test_a_frozen_worker_that_is_killed_gives_everything_back(members, features, token):
    first = members.start(name="first", concurrency=1)
    receipts = [features.slow.push(f"{token}-{n}", 0.2) for n in range(8)]
    members.started(f"{token}-0")
    first.freeze()
    os.killpg(first.pid, signal.SIGKILL)
    members.start_resurrector(RELIER_RESURRECTION_CHECK_INTERVAL="0.5", RELIER_UNCLAIMED_GRACE="1")
    members.start(name="second")
    for receipt in receipts:
        receipt.get(timeout=30)
    assert all(members.runs(f"{token}-{n}")[1] == 1 for n in range(8))


def test_the_worker_command_of_the_documents_starts(members, features):
    """`celery -A relier.tasks.app worker -l info -Q … --include=…` from any directory."""
    worker = members.start(include="tests.lib.feature_tasks", args=())
    assert "-A relier.tasks.app worker -l info" in " ".join(worker.argv)
    assert "-Q high_priority,default,low_priority,re-queue" in " ".join(worker.argv)
    assert str(REPO) not in str(worker.log.parent)
    assert features.add.push(1, 2).get(timeout=20) == 3
