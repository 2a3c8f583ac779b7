"""Relier: the reliability layer for Celery on Redis. What was pushed is committed once, whatever dies."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relier.context import TaskContext, task_context
    from relier.decorator import rl_task
    from relier.dlq import DeadLetterQueue
    from relier.errors import (
        AdmissionRejectedError,
        CheckpointTooLargeError,
        DurabilityError,
        FencedError,
        HardTimeoutError,
        IdempotencyInFlightError,
        PayloadIntegrityError,
        PreflightError,
        RelierError,
        SchemaMigrationError,
    )
    from relier.idempotency import idempotency_lock
    from relier.receipt import TaskReceipt
    from relier.schema import SchemaRegistry
    from relier.settings import get_settings
    from relier.slo import SLOMetrics

__version__ = "1.0.0"
_HOMES = {
    "AdmissionRejectedError": "errors",
    "CheckpointTooLargeError": "errors",
    "DeadLetterQueue": "dlq",
    "DurabilityError": "errors",
    "FencedError": "errors",
    "HardTimeoutError": "errors",
    "IdempotencyInFlightError": "errors",
    "PayloadIntegrityError": "errors",
    "PreflightError": "errors",
    "RelierError": "errors",
    "SLOMetrics": "slo",
    "SchemaMigrationError": "errors",
    "SchemaRegistry": "schema",
    "TaskContext": "context",
    "TaskReceipt": "receipt",
    "get_settings": "settings",
    "idempotency_lock": "idempotency",
    "rl_task": "decorator",
    "task_context": "context",
}
__all__ = [
    "AdmissionRejectedError",
    "CheckpointTooLargeError",
    "DeadLetterQueue",
    "DurabilityError",
    "FencedError",
    "HardTimeoutError",
    "IdempotencyInFlightError",
    "PayloadIntegrityError",
    "PreflightError",
    "RelierError",
    "SLOMetrics",
    "SchemaMigrationError",
    "SchemaRegistry",
    "TaskContext",
    "TaskReceipt",
    "get_settings",
    "idempotency_lock",
    "rl_task",
    "task_context",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import late: `rl doctor` and probes must not pay for Celery."""
        if name not in _HOMES:
            raise AttributeError(f"module 'relier' has no attribute {name!r}")
        return getattr(import_module(f"relier.{_HOMES[name]}"), name)
