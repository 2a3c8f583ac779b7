"""Tasks that keep something: idempotent results, locks, contexts and checkpoints."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Any

from relier import TaskContext, idempotency_lock, rl_task, task_context
from tests.lib.feature_tasks import die, journal, note, starts


@rl_task(idempotent=True)
def charged(token: str, amount: int = 1, currency: str = "EUR") -> str:
    note(token, amount)
    return f"{amount} {currency}"


@rl_task(idempotent=True)
async def charged_async(token: str, seconds: float) -> str:
    journal().start(token)
    await asyncio.sleep(seconds)
    journal().end(token)
    return f"receipt for {token}"


@rl_task(idempotent=True, idempotency_ttl=1)
def charged_for_a_second(token: str) -> None:
    note(token)


@rl_task(idempotent=True)
def charged_after_one_failure(token: str) -> str:
    journal().start(token)
    if starts(token) == 1:
        time.sleep(0.5)
        raise ValueError("card declined")
    journal().end(token)
    return "charged"


@rl_task(idempotent=True)
def charged_and_dying_once(token: str) -> str:
    journal().start(token)
    if starts(token) == 1:
        die()
    journal().end(token)
    return "charged"


@rl_task(idempotent=True)
def twin(token: str) -> str:
    note(token, "tasks")
    return "tasks"


@rl_task()
async def locked_async(key: str, seconds: float) -> Any:
    async with idempotency_lock(key, ttl=60) as lock:
        if lock.already_executed:
            return ["cached", lock.cached_result]
        journal().start(key)
        await asyncio.sleep(seconds)
        journal().end(key)
        lock.set_result("made")
    return ["ran", "made"]


@rl_task()
def locked(key: str, seconds: float) -> Any:
    with idempotency_lock(key, ttl=60) as lock:
        if lock.already_executed:
            return ["cached", lock.cached_result]
        journal().start(key)
        time.sleep(seconds)
        journal().end(key)
        lock.set_result("made")
    return ["ran", "made"]


@rl_task()
def locked_and_dying_once(key: str) -> str:
    with idempotency_lock(key, ttl=60) as lock:
        journal().start(key)
        if starts(key) == 1:
            die()
        journal().end(key)
        lock.set_result("made")
    return "made"


@rl_task()
def locked_and_failing_once(key: str) -> str:
    with idempotency_lock(key, ttl=60):
        journal().start(key)
        if starts(key) == 1:
            raise ValueError("inside the lock")
        journal().end(key)
    return "made"


@rl_task(max_resurrections=0)
def locked_and_deadly(key: str) -> None:
    with idempotency_lock(key, ttl=60):
        journal().start(key)
        die()


@rl_task()
def locked_twice(key: str) -> str:
    """A body that enters its own lock again finds it free, as a resurrected one must."""
    with idempotency_lock(key, ttl=60), idempotency_lock(key + "-inner", ttl=60) as inner:
        inner.set_result("inner")
    return "made"


@rl_task()
def in_context(x: int, ctx: TaskContext, *, y: int = 2) -> dict[str, Any]:
    return seen(ctx)


@rl_task()
async def in_context_async(x: int, ctx: TaskContext, *, y: int = 2) -> dict[str, Any]:
    return seen(ctx)


@rl_task()
async def by_proxy(x: int, y: int = 2) -> dict[str, Any]:
    await asyncio.sleep(0)
    return seen(task_context)


def seen(context: Any) -> dict[str, Any]:
    return {
        "task_id": context.task_id,
        "task_name": context.task_name,
        "args": list(context.args),
        "kwargs": context.kwargs,
        "worker_id": context.worker_id,
        "fence": context.fence,
        "partial_result": context.partial_result,
        "metadata": context.metadata,
        "started_at": context.started_at,
    }


@rl_task()
async def told_apart(token: str) -> list[str]:
    """Its own id before and after others ran on the same loop."""
    before = str(task_context.task_id)
    await asyncio.sleep(0.2)
    return [before, str(task_context.task_id)]


@rl_task()
async def stepping(token: str, ctx: TaskContext) -> list[Any]:
    """Keeps a checkpoint and dies at its first start; tells what the second one found."""
    journal().start(token)
    if starts(token) == 1:
        await ctx.set_partial({"at": 7, "when": datetime(2026, 1, 2, 3, 4)})
        die()
    return [ctx.partial_result, ctx.fence]


@rl_task()
def stepping_in_def(token: str, ctx: TaskContext) -> list[Any]:
    journal().start(token)
    if starts(token) == 1:
        ctx.save_partial([1, 2, 3])
        die()
    return [ctx.partial_result, ctx.fence]


@rl_task()
async def bulky(token: str, size: int, ctx: TaskContext) -> int:
    """A checkpoint of `size` bytes, then a death; the second start returns what it found."""
    journal().start(token)
    if starts(token) == 1:
        await ctx.set_partial("x" * size)
        die()
    return len(ctx.partial_result)


@rl_task()
async def bulky_and_failing(token: str, size: int, ctx: TaskContext) -> None:
    await ctx.set_partial("x" * size)
    raise ValueError("after the checkpoint")


@rl_task()
async def kept_and_failed(ctx: TaskContext) -> int:
    if ctx.partial_result is None:
        await ctx.set_partial(41)
        raise ValueError("after the checkpoint")
    return int(ctx.partial_result) + 1


@rl_task()
async def superseded(token: str, ctx: TaskContext) -> None:
    """Keeps a checkpoint after it was told to; the ledger says whether it still may."""
    journal().start(token)
    while not journal().read().of(token, "go"):
        await asyncio.sleep(0.05)
    try:
        await ctx.set_partial("late")
    except Exception as error:
        journal().write("refused", token, type(error).__name__)
        raise
