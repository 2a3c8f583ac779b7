"""What a running task knows of itself: the run, and the `TaskContext` that user code sees."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relier.dispatch import Push


@dataclass(slots=True)
class Run:
    """One incarnation of a task in this process."""

    task: Any
    request: Any
    task_id: str
    holder: str
    incarnation: int
    attempts: int = 1
    queue: str = ""
    idempotency_key: str = ""
    enqueued_at: float = 0.0
    started: float = field(default_factory=time.perf_counter)
    claim_began: int = 0
    claimed: int = field(default_factory=time.time_ns)
    retry: Push | None = None

    @property
    def fence(self) -> tuple[str, str, int]:
        """What every fenced script asks for: task, holder, incarnation."""
        return self.task_id, self.holder, self.incarnation


current_run: ContextVar[Run | None] = ContextVar("relier_run", default=None)


@dataclass(slots=True)
class TaskContext:
    """The context of a running task.

    `fence` is the incarnation: it rises with every start, so a conditional write that compares it can refuse a zombie.
    `partial_result` is the last checkpoint of an earlier incarnation, or None. `started_at` is Unix time in seconds.
    """

    task_id: str
    task_name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    worker_id: str
    fence: int
    partial_result: Any = None
    metadata: dict[str, Any] = field(default_factory=dict)
    started_at: float = field(default_factory=time.time)
    _run: Run | None = None
    _eager: bool = False

    async def set_partial(self, data: Any) -> None:
        """Keep `data` (JSON) for the next incarnation.

        Raises `CheckpointTooLargeError` over the inline limit (unless the filesystem backend is on) and `FencedError`
        when another incarnation owns the task.
        """
        from relier import checkpoint

        if not self._eager:
            await checkpoint.save_async(self._owner(), data)
        self.partial_result = data

    def save_partial(self, data: Any) -> None:
        """`set_partial` for `def` bodies."""
        from relier import checkpoint

        if not self._eager:
            checkpoint.save(self._owner(), data)
        self.partial_result = data

    def _owner(self) -> Run:
        if self._run is None:
            raise LookupError("This TaskContext belongs to no running task, so it cannot keep a checkpoint.")
        return self._run


_context: ContextVar[TaskContext | None] = ContextVar("relier_task_context", default=None)


class _ContextProxy:
    """Stands for the `TaskContext` of the running task; outside a task every access raises `LookupError`."""

    def __getattr__(self, name: str) -> Any:
        context = _context.get()
        if context is None:
            raise LookupError("task_context is available only while a Relier task runs.")
        return getattr(context, name)

    def __repr__(self) -> str:
        return f"<task_context {_context.get()!r}>"


task_context: Any = _ContextProxy()


@contextmanager
def entered(context: TaskContext, run: Run | None = None) -> Iterator[TaskContext]:
    """Make `context`, and `run` when it is a real one, the current ones of this thread."""
    tokens = _context.set(context), current_run.set(run)
    try:
        yield context
    finally:
        _context.reset(tokens[0])
        current_run.reset(tokens[1])
