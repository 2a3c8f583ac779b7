"""Stock Celery as a careful team sets it up so that nothing is lost: late acknowledgement on Redis.

The visibility timeout and the restore sweep are far below Celery's defaults (3600 s, about 100 s). They give
Celery its best chance within the demo: a message of a dead worker comes back after some 11 s.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from celery import Celery

from demo import bodies

VISIBILITY_TIMEOUT = 10
SETTINGS: dict[str, Any] = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "task_default_queue": "default",
    "broker_connection_retry_on_startup": True,
    "broker_transport_options": {
        "visibility_timeout": VISIBILITY_TIMEOUT,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
}
URL = "DEMO_REDIS_URL"

app = Celery("stock", broker=os.environ.get(URL), backend=os.environ.get(URL))
app.conf.update(SETTINGS)


def task(body: Callable[[Any, int], int]) -> Any:
    return app.task(bind=True, name=body.__name__)(body)


@task
def quick(self: Any, number: int) -> int:
    return asyncio.run(bodies.quick(self.request.id, 0, number))


@task
def nap(self: Any, number: int) -> int:
    return bodies.nap(self.request.id, 0, number)


@task
def charge(self: Any, number: int) -> int:
    return asyncio.run(bodies.charge(self.request.id, 0, number))


@task
def crawl(self: Any, number: int) -> int:
    return asyncio.run(bodies.crawl(self.request.id, 0, 0, None))
