"""The troubleshooting page, symptom by symptom: texts, log lines and remedies not tested elsewhere already."""

from __future__ import annotations

import logging
import subprocess
import sys
import time

import pytest

from harness.process import clean_env, rl, wait_until
from harness.redis import RedisServer

pytest_plugins = ("tests.lib.crew",)
UNREACHABLE = "RuntimeError: Relier cannot reach Redis ("


def exit_of(process, timeout=10.0):
    """The exit code and the output of a process that must refuse to start."""
    began = time.monotonic()
    code = process.wait(timeout)
    assert time.monotonic() - began < timeout
    return code, process.output()


@pytest.fixture(params=["worker", "resurrector"])
def refuse(request, members):
    """Start either process on a Redis that it must refuse; returns its output."""

    def attempt(url):
        if request.param == "worker":
            process = members.start(env={"RELIER_REDIS_URL": url}, wait=False)
        else:
            process = members.start_resurrector(RELIER_REDIS_URL=url)
        code, output = exit_of(process)
        assert code != 0
        assert "Traceback" not in output
        return output

    return attempt


def test_a_process_that_cannot_reach_redis_refuses_to_start(refuse):
    with RedisServer(name="short-lived") as gone:
        url = gone.url
    output = refuse(url)
    assert UNREACHABLE in output
    assert "Refusing to start." in output
    assert f"127.0.0.1:{gone.port}" in output


def test_a_password_is_never_printed_in_a_refusal(refuse):
    with RedisServer(name="guarded", password="hunter2") as guarded:
        output = refuse(f"redis://:wrong-secret@127.0.0.1:{guarded.port}/0")
    assert UNREACHABLE in output
    assert "wrong-secret" not in output


@pytest.mark.parametrize("database", [0, 1])
def test_an_eviction_policy_is_refused_in_every_database(refuse, database):
    with RedisServer(name="cache", maxmemory_policy="allkeys-lru") as cache:
        output = refuse(cache.url[:-1] + str(database))
    assert "RuntimeError: Relier requires Redis maxmemory-policy='noeviction', but got 'allkeys-lru'." in output


def test_the_remedy_for_an_eviction_policy_works(members):
    with RedisServer(name="cache", maxmemory_policy="allkeys-lru") as cache, cache.client() as client:
        worker = members.start(env={"RELIER_REDIS_URL": cache.url}, wait=False)
        assert exit_of(worker)[0] != 0
        client.config_set("maxmemory-policy", "noeviction")
        worker.start().wait_ready()
        worker.stop()


def test_a_task_waits_for_a_worker_that_consumes_its_queue(members, features, token):
    members.start(name="other", queues="default")
    receipt = features.noted_first.push(token)
    assert features.add.push(1, 1).get(timeout=20) == 2
    assert members.record(receipt.id)["state"] == "queued"
    members.start(name="right", queues="high_priority")
    receipt.get(timeout=20)
    assert members.runs(token) == (1, 1)


def test_purged_messages_come_back_because_the_records_are_the_truth(members, features, token):
    receipts = [features.noted.push(token) for _ in range(5)]
    command = [sys.executable, "-m", "celery", "-A", "relier.tasks.app", "purge", "-f"]
    env = clean_env({"RELIER_REDIS_URL": members.server.url})
    subprocess.run(command, env=env, cwd=members.folder, check=True, timeout=30, capture_output=True)
    assert members.client.llen("default") == 0
    members.start_resurrector(RELIER_UNCLAIMED_GRACE="0.5", RELIER_RESURRECTION_CHECK_INTERVAL="0.3")
    members.start()
    for receipt in receipts:
        receipt.get(timeout=20)
    assert members.runs(token) == (5, 5)


def test_the_keys_of_kombus_bookkeeping_can_be_deleted_without_harm(members, features, token):
    members.start()
    receipt = features.slow.push(token, 1.5)
    members.started(token)
    names = ("unacked", "unacked_index", "unacked_mutex")
    members.client.delete(*names, *(f"_kombu.redis.{name}" for name in (*names, "unacked_restore")))
    assert receipt.get(timeout=20) == token
    assert members.runs(token) == (1, 1)


def test_flushdb_resets_everything_and_the_worker_goes_on(members, features, token):
    members.start()
    features.noted.apply_async((token,), countdown=60)
    features.failing.push("before the flush").get(timeout=20, propagate=False)
    members.client.flushdb()
    assert features.add.push(1, 2).get(timeout=20) == 3
    assert features.add_async.push(1, 2).get(timeout=20) == 3
    assert not members.client.exists("rl:dlq", "rl:delayed")


def test_a_running_task_shows_in_the_expiry_index(members, features, token):
    members.start(env={"RELIER_HEARTBEAT_TTL": "10"})
    receipt = features.slow.push(token, 1.0)
    members.started(token)
    ((holder, deadline),) = members.client.zrange("rl:phoenix:expiry_index", 0, -1, withscores=True)
    assert holder == members.record(receipt.id)["holder"]
    assert holder.startswith(members.worker.node)
    assert 0 < deadline / 1000 - time.time() <= 10
    assert members.client.exists(f"rl:hb:{holder}")
    receipt.get(timeout=20)


DEATH = [
    "Worker death detected; replaying orphaned task.",
    "Acquired resurrection lease",
    "Resurrected task successfully re-queued.",
    "Resurrected task never claimed - releasing back to scan",
]


def test_a_death_is_told_in_the_documented_lines_and_a_new_worker_takes_the_task(members, features, token):
    first = members.start(name="first")
    resurrector = members.start_resurrector(RELIER_RESURRECTION_CHECK_INTERVAL="0.3")
    receipt = features.dying_with_its_worker.push(token)
    members.started(token)
    first.kill_tree()
    wait_until(lambda: DEATH[-1] in resurrector.output(), 30, "the resurrector tells that nobody claims")
    output = resurrector.output()
    assert [output.index(line) for line in DEATH] == sorted(output.index(line) for line in DEATH)
    levels = {line: next(text for text in output.splitlines() if line in text) for line in DEATH}
    assert "WARNING" in levels[DEATH[0]] and "WARNING" in levels[DEATH[3]]
    assert "INFO" in levels[DEATH[1]] and "INFO" in levels[DEATH[2]]
    assert members.client.get(f"rl:resurrections:{receipt.id}") == "1"
    members.start(name="second")
    assert receipt.get(timeout=20) == token
    assert members.runs(token) == (2, 1)


def test_a_resurrected_task_waits_for_a_worker_that_consumes_the_internal_queue(members, features, token):
    first = members.start(name="first")
    members.start_resurrector(RELIER_RESURRECTION_CHECK_INTERVAL="0.3")
    receipt = features.dying_with_its_worker.push(token)
    members.started(token)
    first.kill_tree()
    wait_until(lambda: members.client.llen("re-queue") == 1, 20, "the task on re-queue")
    members.start(name="deaf", queues="default")
    assert features.add.push(1, 1).get(timeout=20) == 2
    assert members.runs(token) == (1, 0)
    members.start(name="recovery", queues="re-queue")
    assert receipt.get(timeout=20) == token


def test_a_second_resurrector_finds_the_lease_taken(ledger, caplog):
    from relier import phoenix

    with caplog.at_level(logging.INFO, "relier.phoenix"):
        phoenix.resurrect_all(ledger, "node@host/1.1.1.1.0", proven=False)
    assert "Lease already claimed by another resurrector" in caplog.text


def test_the_resurrector_waits_while_the_internal_queue_is_full(members, features, token):
    first = members.start(name="first")
    receipt = features.dying_with_its_worker.push(token)
    members.started(token)
    first.kill_tree()
    members.client.lpush("re-queue", "filler", "filler")
    resurrector = members.start_resurrector(
        RELIER_RESURRECTION_CHECK_INTERVAL="0.3", RELIER_RESURRECTION_MAX_QUEUE_DEPTH="2"
    )
    wait_until(lambda: "re-queue is full" in resurrector.output(), 20, "the backpressure in the log")
    assert members.record(receipt.id)["state"] == "running"
    members.client.delete("re-queue")
    members.start(name="second")
    assert receipt.get(timeout=20) == token


def test_the_admission_window_can_be_reset(db, settings, features):
    from relier import AdmissionRejectedError

    settings(admission_limit=1, admission_window=60)
    features.add.push(1, 2)
    with pytest.raises(AdmissionRejectedError):
        features.add.push(1, 2)
    db.delete("rl:admission:celery-dispatch")
    features.add.push(1, 2)


def test_a_very_high_limit_switches_admission_off(db, settings, features):
    settings(admission_limit=10**9, admission_window=1)
    for _ in range(200):
        features.add.push(1, 2)
    assert db.llen("default") == 200


def test_without_a_resurrector_a_dead_child_is_still_replaced_by_its_parent(members, features, token):
    members.start()
    assert features.dying_once.push(token, 3).get(timeout=20) == 3
    assert members.runs(token) == (2, 1)


def test_the_first_three_commands_of_the_page_answer(members, features):
    members.start()
    env = {"RELIER_REDIS_URL": members.server.url}
    for command in (["doctor"], ["config", "validate"], ["tasks", "inflight"]):
        done = rl(env, *command)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.strip()


def test_a_coroutine_without_a_hard_timeout_ends_as_timeout_error_in_the_dlq(members, features, token):
    members.start(app="tests.lib.feature_app", env={"FEATURE_BRIDGE": "0.5"})
    entry = members.quarantined(features.slow_async.push(token, 30).id)
    assert entry["reason"] == "TimeoutError"
    assert "within 0.5 s" in entry["error"]
    wait_until(lambda: "Async bridge failed with TimeoutError" in members.worker.output(), 5, "the log line")
    assert members.runs(token) == (1, 0)
