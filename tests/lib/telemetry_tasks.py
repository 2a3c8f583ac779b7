"""Tasks that make every metric move."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

from relier import TaskContext, rl_task


def imported() -> list[str]:
    """What of telemetry this process has imported."""
    ours = ("relier.instruments", "relier.exporting")
    return sorted(name for name in sys.modules if name.split(".")[0] in ("opentelemetry", "grpc") or name in ours)


@rl_task(name="telemetry.fine")
def fine(number: int) -> int:
    return number


@rl_task(name="telemetry.once", idempotent=True)
def once(order: str) -> str:
    return order


@rl_task(name="telemetry.broken")
def broken() -> None:
    raise ValueError("as told")


async def _note(ctx: TaskContext) -> None:
    await asyncio.sleep(0)


@rl_task(name="telemetry.slow", soft_timeout=0.3, hard_timeout=0.6, on_soft_timeout=_note)
async def slow() -> None:
    await asyncio.sleep(30)


@rl_task(name="telemetry.held", queue="high_priority")
def held(gate: str) -> int:
    """Says who runs it, and ends when there is a gate."""
    with Path(f"{gate}.pids").open("a") as pids:
        pids.write(f"{os.getpid()}\n")
    while not Path(gate).exists():
        time.sleep(0.02)
    return os.getpid()


@rl_task(name="telemetry.fatal", max_resurrections=0)
def fatal() -> None:
    os.kill(os.getpid(), 9)


@rl_task(name="telemetry.outer")
async def outer() -> str:
    """Pushes another from its body."""
    receipt = await fine.apush(1)
    return receipt.id


@rl_task(name="telemetry.modules")
def modules() -> list[str]:
    return imported()


@rl_task(name="telemetry.again", bind=True, max_retries=1)
def again(self: Any) -> int:
    if not self.request.retries:
        raise self.retry(countdown=0)
    return int(self.request.retries)
