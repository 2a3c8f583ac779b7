"""The four bodies. Both sides run these very functions, and they alone write the journal."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache

from harness.journal import Journal

SECONDS = {"quick": 0.005, "nap": 0.4, "charge": 0.25, "crawl": 0.8}
PAGES = 8
PAGE = "page"
JOURNAL = "DEMO_JOURNAL"


@cache
def journal() -> Journal:
    return Journal(os.environ[JOURNAL])


@contextmanager
def recorded(task_id: str, incarnation: int) -> Iterator[None]:
    """First and last line of a body. A body that fails or dies writes no last line."""
    journal().start(task_id, incarnation)
    yield
    journal().end(task_id, incarnation)


async def quick(task_id: str, incarnation: int, number: int) -> int:
    with recorded(task_id, incarnation):
        await asyncio.sleep(SECONDS["quick"])
    return number


def nap(task_id: str, incarnation: int, number: int) -> int:
    with recorded(task_id, incarnation):
        time.sleep(SECONDS["nap"])
    return number


async def charge(task_id: str, incarnation: int, number: int) -> int:
    with recorded(task_id, incarnation):
        await asyncio.sleep(SECONDS["charge"])
    return number


async def crawl(task_id: str, incarnation: int, first: int, save: Callable[[int], Awaitable[None]] | None) -> int:
    """Fetch pages from `first` on; `save` keeps how far it came, where the side can."""
    with recorded(task_id, incarnation):
        for page in range(first, PAGES):
            await asyncio.sleep(SECONDS["crawl"] / PAGES)
            journal().write(PAGE, task_id, page)
            if save is not None:
                await save(page + 1)
    return PAGES
