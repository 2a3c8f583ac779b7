"""A task for a worker whose in-flight TTL is shorter than its run."""

from __future__ import annotations

import asyncio
import os

from harness.journal import Journal
from relier import idempotency_lock, rl_task


@rl_task(name="inflight.long", idempotent=True)
async def long(token: str, seconds: float) -> str:
    journal = Journal(os.environ["JOURNAL"])
    journal.start(token)
    await asyncio.sleep(seconds)
    journal.end(token)
    return token


@rl_task(name="inflight.locked")
async def locked(token: str, seconds: float) -> str:
    journal = Journal(os.environ["JOURNAL"])
    async with idempotency_lock(token) as lock:
        if lock.already_executed:
            return str(lock.cached_result)
        journal.start(token)
        await asyncio.sleep(seconds)
        journal.end(token)
        lock.set_result(token)
    return token
