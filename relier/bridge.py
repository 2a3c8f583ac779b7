"""Coroutines of a worker process run on one event loop, on a thread of its own that lives as long as the process.

A pool thread that runs an `async def` task waits here; hundreds of them share the loop, so `-P threads -c 1000` runs a
thousand coroutines at once.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any

from relier import telemetry
from relier.context import TaskContext
from relier.errors import HardTimeoutError
from relier.forks import PerProcess

logger = logging.getLogger("relier")
BRIDGE_LIMIT = 300.0
BRIDGE_MARGIN = 10.0
SoftHook = Callable[[TaskContext], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds until the soft hook runs and until the body is cancelled; None is no limit of that kind."""

    soft: float | None = None
    hard: float | None = None
    on_soft: SoftHook | None = None

    @property
    def bridge(self) -> float:
        """Seconds that the waiting thread allows in all."""
        return self.hard + BRIDGE_MARGIN if self.hard else BRIDGE_LIMIT


@PerProcess
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="relier-loop", daemon=True).start()
    return loop


class _Call:
    """One coroutine on the loop, and the future that its thread waits for."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], context: Context) -> None:
        self.done: Future[Any] = Future()
        self._coroutine = coroutine
        self._context = context
        self._task: asyncio.Task[Any] | None = None

    def start(self) -> None:
        """Called on the loop's thread, where alone a task may be made."""
        self._task = asyncio.get_running_loop().create_task(self._coroutine, context=self._context)
        self._task.add_done_callback(self._finish)

    def cancel(self) -> None:
        """Called on the loop's thread; `done` is set once the coroutine has cleaned up."""
        if self._task is not None:
            self._task.cancel()

    def _finish(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self.done.set_exception(asyncio.CancelledError())
        elif error := task.exception():
            self.done.set_exception(error)
        else:
            self.done.set_result(task.result())


def run_coroutine(coroutine: Coroutine[Any, Any, Any], limits: Limits, context: TaskContext) -> Any:
    """Run a body on the loop and return its value.

    Raises `HardTimeoutError` past `limits.hard`, and `TimeoutError` when the loop does not even hand the coroutine back
    within the bridge's limit.
    """
    body = _bounded(coroutine, limits, context) if limits.hard else coroutine
    loop, call = _loop(), _Call(body, copy_context())
    loop.call_soon_threadsafe(call.start)
    try:
        return call.done.result(limits.bridge)
    except FutureTimeoutError as error:
        if call.done.done():
            raise
        loop.call_soon_threadsafe(call.cancel)
        message = f"no answer from the event loop within {limits.bridge:g} s; set hard_timeout on the task"
        logger.error("Async bridge failed with TimeoutError: %s (task %s)", message, context.task_id)
        raise TimeoutError(message) from error
    except BaseException:
        if not call.done.done():
            loop.call_soon_threadsafe(call.cancel)
        raise


async def _bounded(coroutine: Coroutine[Any, Any, Any], limits: Limits, context: TaskContext) -> Any:
    soft = None
    timeout = asyncio.timeout(limits.hard)
    try:
        async with timeout:
            if limits.soft and limits.on_soft:
                soft = asyncio.create_task(_soft(limits.soft, limits.on_soft, context))
            return await coroutine
    except TimeoutError as error:
        if timeout.expired():
            raise HardTimeoutError(
                f"Task {context.task_name} exceeded its hard timeout of {limits.hard:g} s."
            ) from error
        raise
    finally:
        if soft:
            soft.cancel()


async def _soft(after: float, hook: SoftHook, context: TaskContext) -> None:
    await asyncio.sleep(after)
    telemetry.event("timeouts", type="soft", task=context.task_name)
    try:
        await hook(context)
    except Exception:
        logger.exception("on_soft_timeout of task %s raised", context.task_id)
