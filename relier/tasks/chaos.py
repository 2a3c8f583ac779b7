"""Built-in tasks for `rl bench` and `rl chaos`."""

from __future__ import annotations

import asyncio

from relier.decorator import rl_task
from relier.settings import get_settings


@rl_task(name="relier.chaos.noop")
async def chaos_noop() -> None:
    """Does nothing: what is left is Relier's own cost."""


@rl_task(name="relier.chaos.sleep")
async def chaos_sleep(seconds: float) -> float:
    """Sleeps, so that there is something to kill."""
    await asyncio.sleep(seconds)
    return seconds


@rl_task(name="relier.chaos.slow", hard_timeout=get_settings().hard_timeout)
async def chaos_slow(seconds: float) -> None:
    """Sleeps past the hard timeout of the settings, to see it enforced."""
    await asyncio.sleep(seconds)
