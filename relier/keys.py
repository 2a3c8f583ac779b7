"""The names in Redis that Python asks for. Scripts have theirs in `lua/_prelude.lua`, or where they use them."""

from __future__ import annotations

PUBLIC_QUEUES = ("high_priority", "default", "low_priority")
REQUEUE = "re-queue"
ALL_QUEUES = (*PUBLIC_QUEUES, REQUEUE)

RECORD = "rl:phoenix:"
EXPIRY_INDEX = "rl:phoenix:expiry_index"
HELD = "rl:held:"
QUEUED = "rl:queued:"
DELAYED = "rl:delayed"
RECEIPT = "rl:receipt:"
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
PULSE = "rl:pulse"
BARRIER = "rl:barrier"
SLO = "rl:slo:"
SLO_BUCKET_SECONDS = 300


def record(task_id: str) -> str:
    """A hash: the task's state, holder, incarnation and signed envelope, from push to outcome."""
    return RECORD + task_id


def held(holder: str) -> str:
    """A set: the ids of the tasks that a holder runs."""
    return HELD + holder


def queued(queue: str) -> str:
    """A sorted set: the ids that wait, in the order in which their messages stand in the list."""
    return QUEUED + queue
