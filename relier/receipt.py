"""What `push` and `apush` return, as types: Celery's AsyncResult carries none."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class TaskReceipt(Protocol):
    """The handle of a pushed task; at run time it is Celery's own `AsyncResult`."""

    @property
    def id(self) -> str: ...

    @property
    def status(self) -> str: ...

    @property
    def state(self) -> str: ...

    @property
    def result(self) -> Any: ...

    def ready(self) -> bool: ...

    def successful(self) -> bool: ...

    def failed(self) -> bool: ...

    def get(self, timeout: float | None = None) -> Any: ...
