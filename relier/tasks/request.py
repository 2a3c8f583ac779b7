"""What the worker's parent process does when a child does not report an outcome."""

from __future__ import annotations

import logging
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import states
from celery.exceptions import TimeLimitExceeded
from celery.worker.request import Request

logger = logging.getLogger("relier")


class LedgerRequest(Request):  # type: ignore[misc]
    """A request whose truth is in the ledger: the parent only acknowledges, or tells the ledger what it saw."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """A lost child is no outcome: only its message is acknowledged. The rest is for Celery."""
        error = getattr(exc_info, "exception", None)
        if isinstance(getattr(error, "exc", error), WorkerLostError):
            logger.warning("A child was lost while it ran task %s; the ledger brings the task back.", self.id)
            return self.acknowledge()
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Celery's hard time limit ends a task for good, so it is quarantined before its child is killed."""
        if not soft:
            from relier.tasks.undertaker import quarantine

            error = TimeLimitExceeded(timeout)
            payload = self._failure_payload(error)
            quarantine(self.id, self.hostname, self.worker_pid, error, payload)
        super().on_timeout(soft, timeout)

    def revoked(self) -> bool:
        """A doomed task comes once more although it was revoked: to have its end reported."""
        return not self._message.headers.get("doomed") and bool(super().revoked())

    def _failure_payload(self, error: Exception) -> Any:
        from celery.app.task import Context

        from relier.tasks import results

        request = Context(id=self.id, ignore_result=self.task.ignore_result)
        return results.payload(self.task, request, error, states.FAILURE)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        from relier.tasks.undertaker import cancel

        cancel(self.id, "expired" if expired else reason)
        super()._announce_revoked(reason, terminated, signum, expired)
