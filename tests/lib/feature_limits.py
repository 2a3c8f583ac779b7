"""Tasks with limits: Celery's own, and the two tiers of coroutines."""

from __future__ import annotations

import asyncio
import time

from celery.exceptions import SoftTimeLimitExceeded

from relier import TaskContext, rl_task
from tests.lib.feature_tasks import journal


@rl_task(time_limit=2)
def endless(token: str) -> None:
    journal().start(token)
    while True:
        time.sleep(0.05)


@rl_task(soft_time_limit=1, time_limit=10)
def softly_limited(token: str) -> str:
    journal().start(token)
    try:
        time.sleep(8)
    except SoftTimeLimitExceeded:
        journal().end(token)
        return "warned"
    return "never warned"


@rl_task(soft_time_limit=1, time_limit=10)
async def softly_limited_async(token: str) -> None:
    journal().start(token)
    try:
        await asyncio.sleep(8)
    except asyncio.CancelledError:
        journal().write("cancelled", token)
        raise


async def warn(context: TaskContext) -> None:
    journal().write("warned", context.task_id, context.task_name)


async def broken_hook(context: TaskContext) -> None:
    journal().write("warned", context.task_id)
    raise RuntimeError("the hook is broken")


@rl_task(soft_timeout=1, hard_timeout=3, on_soft_timeout=warn)
async def timed(token: str, seconds: float) -> str:
    journal().start(token)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        journal().write("cancelled", token)
        raise
    journal().end(token)
    return token


@rl_task(soft_timeout=0.2, hard_timeout=5, on_soft_timeout=broken_hook)
async def timed_with_a_broken_hook(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


@rl_task(hard_timeout=5)
async def raising_timeout_error() -> None:
    raise TimeoutError("the body's own")
