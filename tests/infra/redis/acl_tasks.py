"""Tasks of the test that watches what an application does to Redis."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from relier import TaskContext, rl_task


@rl_task()
def add(x: int, y: int) -> int:
    return x + y


@rl_task(queue="high_priority")
async def add_slowly(x: int, y: int, ctx: TaskContext) -> int:
    await ctx.set_partial({"x": x})
    await asyncio.sleep(0.05)
    return x + y


@rl_task(queue="low_priority")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@rl_task(idempotent=True)
def once(number: int) -> int:
    return number


@rl_task(bind=True, max_retries=3)
def retried(self: Any) -> int:
    if self.request.retries < 1:
        raise self.retry(countdown=0.1)
    return int(self.request.retries)


@rl_task()
def dying(ctx: TaskContext) -> int:
    if ctx.fence == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return ctx.fence


@rl_task()
def failing() -> None:
    raise ValueError("on purpose")
