"""The worker's consumer, except that a task this worker does not know is left to one that does."""

from __future__ import annotations

import logging
from typing import Any

from celery.worker.consumer import Consumer

from relier.tasks.broker import is_claim_check

logger = logging.getLogger("relier")


class LedgerConsumer(Consumer):  # type: ignore[misc]
    """Celery would fail an unknown task for good; the ledger keeps it, and Phoenix offers it again."""

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Drop the message and keep the record; a message without a record gets Celery's own treatment."""
        if not is_claim_check(message):
            super().on_unknown_task(body, message, exc)
            return
        logger.error(
            "Received unregistered task of type %s.\n"
            "Start the worker with --include=<the module that defines it>. The task waits in the ledger (id %s).",
            exc,
            message.headers["id"],
        )
        message.reject_log_error(logger, self.connection_errors)
