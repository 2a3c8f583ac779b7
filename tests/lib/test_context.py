"""`TaskContext` and `task_context`: what a body knows of its own run."""

from __future__ import annotations

import time

import pytest

from relier import TaskContext, task_context

pytest_plugins = ("tests.lib.crew",)


@pytest.mark.parametrize("name", ["in_context", "in_context_async", "by_proxy"])
def test_a_body_sees_its_own_run(crew, features, name):
    task = getattr(features, name)
    receipt = task.push(1, y=5)
    seen = receipt.get(timeout=20)
    assert abs(seen.pop("started_at") - time.time()) < 20
    assert seen == {
        "task_id": receipt.id,
        "task_name": task.name,
        "args": [1],
        "kwargs": {"y": 5},
        "worker_id": crew.worker.node,
        "fence": 1,
        "partial_result": None,
        "metadata": {},
    }


def test_the_context_is_injected_wherever_the_parameter_stands(crew, features):
    assert features.in_context.push(1).get(timeout=20)["kwargs"] == {}


def test_coroutines_on_one_loop_keep_their_contexts_apart(members, features, token):
    members.start(pool="threads", concurrency=20)
    receipts = [features.told_apart.push(token) for _ in range(20)]
    assert [receipt.get(timeout=20) for receipt in receipts] == [[receipt.id] * 2 for receipt in receipts]


def test_outside_a_task_the_proxy_raises_a_lookup_error():
    with pytest.raises(LookupError, match="only while a Relier task runs"):
        _ = task_context.task_id
    assert "None" in repr(task_context)


def test_a_context_without_a_run_keeps_no_checkpoint(run):
    context = TaskContext("an-id", "a.name", (), {}, "here", 1)
    with pytest.raises(LookupError, match="belongs to no running task"):
        run(context.set_partial(1))
    with pytest.raises(LookupError, match="belongs to no running task"):
        context.save_partial(1)
