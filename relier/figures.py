"""What the whole cluster holds, for gauges. The resurrector shows it: there is one, and it reads the ledger anyway."""

from __future__ import annotations

import json
import time
from typing import Any

from redis.exceptions import RedisError

from relier import keys
from relier.pulse import FRESH_SECONDS
from relier.telemetry import Figures

NO_LABELS = ()


def figures(client: Any) -> Figures:
    """Nothing while Redis is away: no figure is better than an old one."""
    try:
        return {
            "depth": {(("rl.task.queue", queue),): depth for queue, depth in depths(client).items()},
            "inflight": {NO_LABELS: _in_flight(client)},
            "delayed": {NO_LABELS: client.zcard(keys.DELAYED)},
            "dlq": {NO_LABELS: client.hlen(keys.DLQ)},
            "alive": {NO_LABELS: _alive(client)},
        }
    except (RedisError, OSError):
        return {}


def depths(client: Any) -> dict[str, int]:
    """What waits in every queue that is known, by its name, in two round trips.

    Plain Celery messages have no record, and records that a worker has prefetched no message: the larger counts.
    """
    names = sorted({name.decode() for name in client.smembers(keys.QUEUES)} | set(keys.ALL_QUEUES))
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.llen(name).zcard(keys.queued(name))
    counts = pipe.execute()
    return {name: max(pair) for name, pair in zip(names, zip(counts[::2], counts[1::2], strict=True), strict=True)}


def _in_flight(client: Any) -> int:
    pipe = client.pipeline(transaction=False)
    for holder in client.zrange(keys.EXPIRY_INDEX, 0, -1):
        pipe.scard(keys.held(holder.decode()))
    return sum(pipe.execute())


def _alive(client: Any) -> int:
    oldest = time.time() - FRESH_SECONDS
    return sum(json.loads(entry).get("seen", 0) >= oldest for entry in client.hvals(keys.WORKERS))
