"""Control commands that `rl` sends to a worker: to drain, and to stop a task that was cancelled.

They run in the worker's parent process, between two turns of its event loop.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from types import FrameType
from typing import Any

from celery.worker import state as worker_state
from celery.worker.control import control_command

from relier import bridge, lifecycle

REFUSED = "it cannot be stopped, but its outcome will be refused"


@control_command(name="relier_drain")  # type: ignore[untyped-decorator]
def drain(state: Any, **_: Any) -> dict[str, str]:
    """Do what SIGTERM does, after this answer is on its way."""
    state.consumer.timer.call_after(0.2, os.kill, (os.getpid(), signal.SIGTERM))
    return {"ok": "draining"}


@control_command(name="relier_stop")  # type: ignore[untyped-decorator]
def stop(state: Any, task_id: str, pid: int, spare: bool, **_: Any) -> dict[str, str]:
    """Stop a task that the ledger no longer knows: end its child, or cancel its coroutine."""
    if pid == os.getpid():
        return {"ok": _stop_here(task_id)}
    pool = state.consumer.pool
    if spare or pid not in {child.pid for child in pool._pool._pool}:
        return {"ok": "It has left its process already."}
    request = worker_state.requests.get(task_id)
    if request is not None and request.worker_pid == pid:
        request.terminate(pool, signal="KILL")
    else:
        pool.terminate_job(pid, signal.SIGKILL)
    return {"ok": f"Its process {pid} was ended."}


def _stop_here(task_id: str) -> str:
    frames = _frames(task_id)
    if not frames:
        return "It has ended already."
    for frame in frames:
        if frame.f_code is bridge.run_coroutine.__code__ and "call" in frame.f_locals:
            loop: asyncio.AbstractEventLoop = frame.f_locals["loop"]
            loop.call_soon_threadsafe(frame.f_locals["call"].cancel)
            return "Its coroutine was cancelled."
    return f"It is a 'def' body in a thread: {REFUSED}."


def _frames(task_id: str) -> list[FrameType]:
    """The stack of the thread that runs the task. Looked up here, so that no task pays for a register of bodies."""
    for innermost in sys._current_frames().values():
        stack: list[FrameType] = []
        frame: FrameType | None = innermost
        while frame is not None:
            stack.append(frame)
            if frame.f_code is lifecycle.run.__code__ and frame.f_locals["request"].id == task_id:
                return stack
            frame = frame.f_back
    return []
