"""The bodies that every contestant runs, word for word the same. Times are in seconds."""

from __future__ import annotations

import asyncio
import time

from bench.contestants.stamps import DONE, STARTED, stamp


def noop(number: int) -> None:
    """Do nothing but say that it ran."""
    stamp(DONE)


async def anoop(number: int) -> None:
    """The same as a coroutine."""
    stamp(DONE)


def big(payload: str) -> None:
    """Take a large argument."""
    stamp(DONE)


def nap(seconds: float) -> None:
    """Block a thread, as a driver without asyncio does."""
    stamp(STARTED)
    time.sleep(seconds)
    stamp(DONE)


async def wait(seconds: float) -> None:
    """Wait on the event loop, as a coroutine does for a network."""
    stamp(STARTED)
    await asyncio.sleep(seconds)
    stamp(DONE)
