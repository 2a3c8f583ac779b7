"""A task for a worker whose in-flight TTL is shorter than its run."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from harness.journal import Journal
from relier import idempotency_lock, rl_task


async def _opened(gate: str) -> None:
    while not Path(gate).exists():
        await asyncio.sleep(0.02)


@rl_task(name="inflight.long", idempotent=True)
async def long(token: str, gate: str) -> str:
    journal = Journal(os.environ["JOURNAL"])
    journal.start(token)
    await _opened(gate)
    journal.end(token)
    return token


@rl_task(name="inflight.locked")
async def locked(token: str, gate: str) -> str:
    journal = Journal(os.environ["JOURNAL"])
    async with idempotency_lock(token) as lock:
        if lock.already_executed:
            return str(lock.cached_result)
        journal.start(token)
        await _opened(gate)
        journal.end(token)
        lock.set_result(token)
    return token
