"""The outbox: messages that a task's success sets off, held back so that the commit script can send them itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relier.dispatch import Push


class Outbox:
    """Pushes of Relier tasks and raw messages of plain Celery tasks, in order, as arguments for a script."""

    def __init__(self) -> None:
        self.fields: list[str | int] = []

    def add(self, push: Push) -> None:
        """A Relier task: its record is made in the step that commits."""
        self.fields += ["task", *push.fields()]

    def add_raw(self, queue: str, message: str) -> None:
        """A plain Celery message: kombu's JSON for the list `queue`."""
        self.fields += ["raw", queue, message]


_outbox: ContextVar[Outbox | None] = ContextVar("relier_outbox", default=None)


def current_outbox() -> Outbox | None:
    """None outside `capture`: what is published goes to Redis at once."""
    return _outbox.get()


@contextmanager
def capture() -> Iterator[Outbox]:
    """Everything that this thread publishes inside goes into the outbox instead of to Redis."""
    outbox = Outbox()
    token = _outbox.set(outbox)
    try:
        yield outbox
    finally:
        _outbox.reset(token)
