"""Tasks of the crash suite. Each body writes its own first and last line into the journal, with its fence."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.journal import Journal
from relier import FencedError, TaskContext, rl_task
from tests.lib import faults


@contextmanager
def recorded(ctx: TaskContext) -> Iterator[None]:
    """First and last line of a body. A body that fails or dies writes no last line."""
    journal = Journal(os.environ["JOURNAL"])
    journal.start(ctx.task_id, ctx.fence)
    faults.reach("started", ctx.task_id)
    yield
    journal.end(ctx.task_id, ctx.fence)


@rl_task()
def nap(seconds: float, ctx: TaskContext) -> int:
    with recorded(ctx):
        time.sleep(seconds)
    return ctx.fence


@rl_task()
async def anap(seconds: float, ctx: TaskContext) -> int:
    with recorded(ctx):
        await asyncio.sleep(seconds)
    return ctx.fence


@rl_task()
async def block_the_loop(seconds: float, ctx: TaskContext) -> int:
    with recorded(ctx):
        time.sleep(seconds)
    return ctx.fence


@rl_task()
def poison(ctx: TaskContext) -> None:
    with recorded(ctx):
        os.kill(os.getpid(), signal.SIGKILL)


@rl_task()
async def apoison(ctx: TaskContext) -> None:
    with recorded(ctx):
        os.kill(os.getpid(), signal.SIGKILL)


def _closed(gate: str, ctx: TaskContext) -> bool:
    """A gate holds the first incarnation only, until a file of that name is there."""
    return ctx.fence == 1 and not Path(gate).exists()


@rl_task()
def wait_at(gate: str, ctx: TaskContext) -> int:
    with recorded(ctx):
        while _closed(gate, ctx):
            time.sleep(0.02)
    return ctx.fence


@rl_task()
async def await_at(gate: str, ctx: TaskContext) -> int:
    with recorded(ctx):
        while _closed(gate, ctx):
            await asyncio.sleep(0.02)
    return ctx.fence


@rl_task(max_resurrections=1000)
def stay(gate: str, ctx: TaskContext) -> int:
    """Every incarnation runs until the gate is open."""
    with recorded(ctx):
        while not Path(gate).exists():
            time.sleep(0.02)
    return ctx.fence


@rl_task()
def fail_late(gate: str, ctx: TaskContext) -> int:
    """Its first incarnation fails once the gate opens; the replay succeeds."""
    with recorded(ctx):
        held = ctx.fence == 1
        while _closed(gate, ctx):
            time.sleep(0.02)
        if held:
            raise OSError("the first incarnation fails after the replay has committed")
    return ctx.fence


@rl_task()
async def checkpoint_late(gate: str, ctx: TaskContext) -> int:
    """Its first incarnation wants to keep a checkpoint once the gate opens, and notes that it may not."""
    with recorded(ctx):
        held = ctx.fence == 1
        while _closed(gate, ctx):
            await asyncio.sleep(0.02)
        try:
            await ctx.set_partial({"zombie": held})
        except FencedError:
            Journal(os.environ["JOURNAL"]).write("checkpoint", ctx.task_id, "fenced")
            raise
    return ctx.fence
