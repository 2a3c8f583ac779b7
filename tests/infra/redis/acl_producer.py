"""Pushes one of everything as the app user, waits for the results, and prints them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from celery import chain, chord, group

from relier import DeadLetterQueue, SLOMetrics, get_settings
from tests.infra.redis import acl_tasks as tasks


def outcomes() -> dict[str, Any]:
    get_settings()
    pushed = [tasks.add.push(n, n) for n in range(5)]
    work = {
        "pushed": pushed,
        "async": [asyncio.run(tasks.add_slowly.apush(2, 3))],
        "chord": [chord([tasks.add.s(n, 1) for n in range(3)])(tasks.total.s())],
        "chain": [chain(tasks.add.s(1, 2), tasks.add.s(10)).apply_async()],
        "group": [group(tasks.add.s(n, n) for n in range(2)).apply_async()],
        "later": [tasks.add.apply_async((4, 4), countdown=0.3)],
        "once": [tasks.once.push(7), tasks.once.push(7)],
        "retried": [tasks.retried.push()],
        "dying": [tasks.dying.push()],
    }
    failed = tasks.failing.push()
    done = {name: [handle.get(timeout=30) for handle in handles] for name, handles in work.items()}
    failed.get(timeout=30, propagate=False)
    return done | {"failed": failed.status, "dlq": len(asyncio.run(aftermath()))}


async def aftermath() -> list[Any]:
    await SLOMetrics().record_event("success")
    return await DeadLetterQueue().list_tasks(10)


if __name__ == "__main__":
    print(json.dumps(outcomes()))
