"""Stock Celery: every setting left at its default, but for the result backend and late acks when asked for.

Celery has no coroutine bodies, so where others run one it runs the plain function that does the same: the
fastest thing that it can do, not `asyncio.run` in each task.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from bench.contestants import bodies

app = Celery("bench", broker=os.environ["BENCH_REDIS_URL"], backend=os.environ["BENCH_REDIS_URL"])
app.conf.update(
    task_default_queue="default",
    task_acks_late=os.environ["BENCH_ACKS_LATE"] == "1",
    broker_connection_retry_on_startup=True,
)

BODIES = {
    "noop": bodies.noop,
    "anoop": bodies.noop,
    "big": bodies.big,
    "nap": bodies.nap,
    "wait": bodies.nap,
}
TASKS: dict[str, Any] = {name: app.task(name=f"bench.{name}")(body) for name, body in BODIES.items()}
