"""The names that Relier uses in Redis. `lua/_prelude.lua` holds the same names for the scripts."""

from __future__ import annotations

PUBLIC_QUEUES = ("high_priority", "default", "low_priority")
REQUEUE = "re-queue"
ALL_QUEUES = (*PUBLIC_QUEUES, REQUEUE)

RECORD = "rl:phoenix:"
EXPIRY_INDEX = "rl:phoenix:expiry_index"
HEARTBEAT = "rl:hb:"
HELD = "rl:held:"
QUEUED = "rl:queued:"
DELAYED = "rl:delayed"
RECEIPT = "rl:receipt:"
DEAD = "rl:dead:"
GRACE = "rl:grace"
QUEUES = "rl:queues"
WORKERS = "rl:workers"
RESURRECTIONS = "rl:resurrections:"
IDEMPOTENCY = "rl:idem:"
ADMISSION = "rl:admission:celery-dispatch"
DLQ = "rl:dlq"
SUCCESS = "rl:m:global:success"
FAILED = "rl:m:global:failed"
WORKER_METRIC = "rl:m:w:"
DURATIONS = "rl:task_durations"
SLO = "rl:slo:"
SLO_BUCKET_SECONDS = 300


def record(task_id: str) -> str:
    return RECORD + task_id


def held(holder: str) -> str:
    return HELD + holder


def queued(queue: str) -> str:
    return QUEUED + queue
