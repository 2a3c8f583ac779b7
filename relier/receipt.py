"""What `push` and `apush` return, as types: Celery's AsyncResult carries none."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class TaskReceipt(Protocol):
    """The handle of a pushed task; at run time it is Celery's own `AsyncResult`."""

    @property
    def id(self) -> str:
        """The UUID that `rl tasks inspect` takes."""

    @property
    def status(self) -> str:
        """Celery's word: PENDING, STARTED, RETRY, SUCCESS, FAILURE or REVOKED; PENDING also for an id nobody knows."""

    @property
    def state(self) -> str:
        """The same as `status`."""

    @property
    def result(self) -> Any:
        """The value, or the exception that ended the task; of use only once `ready()`."""

    def ready(self) -> bool:
        """Has it ended, however that was? Asks Redis, until it has."""

    def successful(self) -> bool:
        """Committed; False also while it runs."""

    def failed(self) -> bool:
        """Ended by an exception; False also when it was revoked."""

    def get(self, timeout: float | None = None) -> Any:
        """Wait up to `timeout` seconds (None: for ever) for the value.

        Raises what the task raised, or `celery.exceptions.TimeoutError`.
        """
