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


def _hard_timeout() -> float:
    """The setting, unless the in-flight TTL of this installation is too short for it."""
    settings = get_settings()
    return min(settings.hard_timeout, 0.9 * settings.idempotency_inflight_ttl)


@rl_task(name="relier.chaos.slow", hard_timeout=_hard_timeout())
async def chaos_slow(seconds: float) -> None:
    """Sleeps past the hard timeout of the settings, to see it enforced."""
    await asyncio.sleep(seconds)
