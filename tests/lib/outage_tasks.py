"""Tasks for outages and failovers. Each body writes its own first and last line, with its fence, into the journal."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import redis

from harness.journal import Journal
from relier import RelierError, TaskContext, rl_task
from relier.ledger import Ledger

PRODUCERS = 4
COMMIT = "commit"


def _watch_commits(call: Callable[..., Any]) -> Callable[..., Any]:
    """Journal the ledger's final reply to every commit."""

    @functools.wraps(call)
    def watched(self: Any, name: str, *args: Any, **options: Any) -> Any:
        reply = call(self, name, *args, **options)
        if name == COMMIT:
            _journal().write(COMMIT, args[0], reply.decode())
        return reply

    return watched


def _journal() -> Journal:
    return Journal(os.environ["JOURNAL"])


if "WATCH_COMMITS" in os.environ:
    Ledger.call = _watch_commits(Ledger.call)  # type: ignore[method-assign]


@rl_task()
def nap(seconds: float, ctx: TaskContext) -> int:
    _journal().start(ctx.task_id, ctx.fence)
    time.sleep(seconds)
    _journal().end(ctx.task_id, ctx.fence)
    return ctx.fence


@rl_task()
async def anap(seconds: float, ctx: TaskContext) -> int:
    _journal().start(ctx.task_id, ctx.fence)
    await asyncio.sleep(seconds)
    _journal().end(ctx.task_id, ctx.fence)
    return ctx.fence


@rl_task(durability="fsynced")
def fsynced(ctx: TaskContext) -> None:
    _journal().end(ctx.task_id, ctx.fence)


def _produce(durability: str, rate: int, acknowledged: Journal, over: threading.Event) -> None:
    """Push at a steady rate; an id is journaled once its push has returned."""
    due = time.monotonic()
    while not over.wait(max(0.0, due - time.monotonic())):
        due = max(due + 1 / rate, time.monotonic() - 1)
        task = random.choice((nap, anap))
        try:
            acknowledged.write("pushed", task.push(0.0).id)
        except (RelierError, redis.RedisError) as error:
            acknowledged.write("refused", type(error).__name__)


def main(durability: str, rate: str, path: str) -> None:
    """A producer of its own process: four threads, until SIGTERM."""
    for task in (nap, anap):
        task.durability = durability  # type: ignore[attr-defined]
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    arguments = (durability, int(rate) // PRODUCERS, Journal(path), over)
    threads = [threading.Thread(target=_produce, args=arguments) for _ in range(PRODUCERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    from tests.lib import outage_tasks

    outage_tasks.main(*sys.argv[1:])
