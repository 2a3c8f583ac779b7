"""The dead letter queue: every task that ended without success, with its reason, until someone decides."""

from __future__ import annotations

import time

import pytest

from harness.process import wait_until
from relier import DeadLetterQueue

pytest_plugins = ("tests.lib.crew",)


@pytest.fixture
def queue(crew):
    """An empty dead letter queue."""
    crew.client.delete("rl:dlq")
    return DeadLetterQueue()


def test_an_entry_tells_what_happened_to_whom(crew, features, queue, run):
    receipt = features.failing.push("on purpose")
    crew.quarantined(receipt.id)
    entry = run(queue.inspect(receipt.id))
    assert entry["task_id"] == receipt.id
    assert entry["name"] == features.failing.name
    assert (entry["queue"], entry["args"], entry["kwargs"]) == ("default", ["on purpose"], {})
    assert (entry["reason"], entry["error"]) == ("ValueError", "on purpose")
    assert "raise ValueError(message)" in entry["traceback"]
    assert (entry["attempts"], entry["resurrection_count"]) == (1, 0)
    assert abs(entry["quarantined_at"] - time.time()) < 20


def test_a_task_that_is_not_there_is_none(queue, run):
    assert run(queue.inspect("nobody")) is None
    assert run(queue.release("nobody")) is False


def test_the_list_is_the_oldest_first_and_no_longer_than_asked(crew, features, queue, run):
    receipts = []
    for number in range(4):
        receipts.append(features.failing.push(str(number)))
        crew.quarantined(receipts[-1].id)
    assert [entry["error"] for entry in run(queue.list_tasks())] == ["0", "1", "2", "3"]
    assert [entry["error"] for entry in run(queue.list_tasks(limit=2))] == ["0", "1"]


def test_a_released_task_runs_again_as_it_was_pushed(crew, features, queue, run, token):
    receipt = features.mended.push(token)
    crew.quarantined(receipt.id)
    assert run(queue.release(receipt.id)) is True
    assert crew.outcome(receipt.id)["result"] == "mended"
    assert run(queue.inspect(receipt.id)) is None
    assert crew.runs(token) == (2, 1)


def test_a_released_task_has_no_outcome_until_it_has_run(crew, features, queue, run, token):
    receipt = features.mended.push(token)
    crew.quarantined(receipt.id)
    crew.worker.freeze()
    assert run(queue.release(receipt.id)) is True
    assert receipt.state == "PENDING"
    crew.worker.thaw()
    assert receipt.get(timeout=20) == "mended"


def test_a_release_that_is_repeated_is_one_release(crew, features, queue, run, token):
    receipt = features.mended.push(token)
    crew.quarantined(receipt.id)
    crew.worker.freeze()
    assert run(queue.release(receipt.id)) is True
    assert run(queue.release(receipt.id)) is True
    crew.worker.thaw()
    crew.ended(token)
    assert features.add.push(1, 1).get(timeout=20) == 2
    assert crew.runs(token) == (2, 1)


def test_a_released_poison_keeps_its_deaths_and_gets_one_more_start(crew, features, queue, run, token):
    receipt = features.deadly.push(token)
    entry = crew.quarantined(receipt.id)
    assert (entry["reason"], entry["attempts"], entry["resurrection_count"]) == ("max_resurrections_exceeded", 2, 1)
    assert crew.runs(token)[0] == 2
    assert run(queue.release(receipt.id))
    wait_until(lambda: crew.runs(token)[0] == 3, 20, "one more start")
    assert crew.quarantined(receipt.id)["attempts"] == 3
    assert features.add.push(1, 1).get(timeout=20) == 2
    assert crew.runs(token)[0] == 3


def test_retry_all_releases_everything_but_forged_payloads(crew, features, queue, run, token):
    receipts = [features.mended.push(f"{token}-{n}") for n in range(5)]
    for receipt in receipts:
        crew.quarantined(receipt.id)
    forged = features.noted.apply_async((token,), countdown=3600)
    crew.client.hset(f"rl:phoenix:{forged.id}", "signature", "sha256:forged")
    crew.client.zadd("rl:delayed", {forged.id: 0})
    assert crew.quarantined(forged.id)["reason"] == "PayloadIntegrityError"
    assert run(queue.retry_all()) == 5
    for number in range(5):
        crew.ended(f"{token}-{number}")
    assert [entry["task_id"] for entry in run(queue.list_tasks())] == [forged.id]
    assert crew.runs(token) == (0, 0)


def test_purge_removes_everything_and_says_how_much(crew, features, queue, run):
    for number in range(3):
        crew.quarantined(features.failing.push(str(number)).id)
    assert run(queue.purge()) == 3
    assert run(queue.purge()) == 0
    assert run(queue.list_tasks()) == []


def test_a_failed_task_leaves_no_record_and_no_message(crew, features):
    receipt = features.failing_async.push("gone")
    crew.quarantined(receipt.id)
    crew.settled(receipt.id)
    assert crew.client.llen("default") == 0
    assert not crew.client.zscore("rl:queued:default", receipt.id)
