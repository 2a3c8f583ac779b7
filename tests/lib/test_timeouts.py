"""Two-tier timeouts of coroutines: a hook at the soft one, a cancellation at the hard one, a limit of the bridge."""

from __future__ import annotations

import asyncio
import time

import pytest

from harness.process import wait_until

pytest_plugins = ("tests.lib.crew",)


def test_a_body_in_time_meets_neither_limit(crew, features, token):
    receipt = features.timed.push(token, 0.05)
    assert receipt.get(timeout=20) == token
    assert crew.journal.read().of(receipt.id) == []


def test_the_soft_limit_calls_the_hook_with_the_context_and_lets_the_body_finish(crew, features, token):
    receipt = features.timed.push(token, 1.5)
    assert receipt.get(timeout=20) == token
    (warned,) = crew.journal.read().of(receipt.id)
    assert (warned.kind, warned.extra) == ("warned", features.timed.name)


def test_the_hard_limit_cancels_the_body_and_quarantines_the_task(crew, features, token):
    receipt = features.timed.push(token, 30)
    entry = crew.quarantined(receipt.id)
    assert entry["reason"] == "HardTimeoutError"
    assert entry["error"] == f"Task {features.timed.name} exceeded its hard timeout of 3 s."
    assert crew.kinds(token) == ["start", "cancelled"]
    start, cancelled = crew.journal.read().of(token)
    assert 2.9 < cancelled.at - start.at < 10
    with pytest.raises(TimeoutError):
        receipt.get(timeout=20)
    assert features.add.push(1, 1).get(timeout=20) == 2
    assert crew.runs(token) == (1, 0)


def test_a_hook_that_raises_does_not_harm_the_body(crew, features):
    receipt = features.timed_with_a_broken_hook.push(0.5)
    assert receipt.get(timeout=20) == "done"
    wait_until(lambda: "the hook is broken" in crew.worker.output(), 5, "the hook's error in the log")


def test_a_timeout_error_of_the_body_is_not_called_a_hard_timeout(crew, features):
    entry = crew.quarantined(features.raising_timeout_error.push().id)
    assert (entry["reason"], entry["error"]) == ("TimeoutError", "the body's own")


def test_the_limits_of_the_bridge():
    from relier.bridge import BRIDGE_LIMIT, Limits

    assert BRIDGE_LIMIT == 300
    assert Limits().bridge == 300
    assert Limits(soft=10, hard=60).bridge == 70


def test_the_bridge_gives_up_with_the_documented_line(monkeypatch, caplog):
    from relier import TaskContext, bridge

    monkeypatch.setattr(bridge, "BRIDGE_LIMIT", 0.3)
    cancelled = []

    async def body():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    context = TaskContext("an-id", "a.name", (), {}, "here", 1)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="set hard_timeout on the task"):
        bridge.run_coroutine(body(), bridge.Limits(), context)
    assert 0.25 < time.monotonic() - began < 3
    assert "Async bridge failed with TimeoutError" in caplog.text
    wait_until(lambda: cancelled, 5, "the coroutine is cancelled at its next await")
