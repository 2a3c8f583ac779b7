"""Checkpoints: partial work survives the death of its worker, and no zombie can overwrite it."""

from __future__ import annotations

from datetime import datetime

import pytest

from harness.process import wait_until

pytest_plugins = ("tests.lib.crew",)
LIMIT = 262_144


def test_a_resurrected_coroutine_gets_its_checkpoint_and_a_higher_fence(crew, features, token):
    found, fence = features.stepping.push(token).get(timeout=30)
    assert found == {"at": 7, "when": datetime(2026, 1, 2, 3, 4)}
    assert fence == 2


def test_a_resurrected_def_body_gets_its_checkpoint(crew, features, token):
    assert features.stepping_in_def.push(token).get(timeout=30) == [[1, 2, 3], 2]


@pytest.mark.parametrize("size", [LIMIT + 1, 1_000_000])
def test_a_checkpoint_over_the_limit_is_refused_with_the_documented_text(crew, features, token, size):
    entry = crew.quarantined(features.bulky.push(token, size - 2).id)  # two quotation marks make it JSON
    assert entry["reason"] == "CheckpointTooLargeError"
    assert entry["error"].startswith(
        f"Checkpoint for task '{features.bulky.name}' is {size} bytes, which exceeds the 262144-byte inline limit."
    )
    assert "RELIER_CHECKPOINT_BACKEND=filesystem" in entry["error"]


def test_a_checkpoint_of_the_whole_limit_is_kept(crew, features, token):
    assert features.bulky.push(token, LIMIT - 2).get(timeout=30) == LIMIT - 2


def test_a_checkpoint_is_there_when_a_failed_task_is_released(crew, features, run):
    from relier import DeadLetterQueue

    receipt = features.kept_and_failed.push()
    crew.quarantined(receipt.id)
    assert run(DeadLetterQueue().release(receipt.id))
    assert crew.outcome(receipt.id)["result"] == 42


def test_an_incarnation_that_was_replaced_cannot_keep_a_checkpoint(crew, features, token):
    receipt = features.superseded.push(token)
    crew.started(token)
    crew.client.hset(f"rl:phoenix:{receipt.id}", mapping={"incarnation": 2, "holder": "another/1.1.1.1.0"})
    crew.journal.write("go", token)
    wait_until(lambda: "refused" in crew.kinds(token), 10, "the late checkpoint refused")
    assert crew.journal.read().of(token, "refused")[0].extra == "FencedError"
    assert "checkpoint" not in crew.record(receipt.id)
    assert crew.client.hget("rl:dlq", receipt.id) is None
    crew.client.delete(f"rl:phoenix:{receipt.id}")
