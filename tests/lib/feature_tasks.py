"""The tasks that the functional tests push. Bodies write to the journal what they did."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

from celery import shared_task
from celery.exceptions import Ignore, Reject

from harness.journal import Journal
from relier import rl_task
from relier.tasks.app import celery_app


class Unavailable(Exception):
    """Something outside is away for a moment."""


def journal() -> Journal:
    return Journal(os.environ["JOURNAL"])


def starts(token: str) -> int:
    """How often a body began under this token, the running one included."""
    return journal().read().starts[token]


def note(token: str, extra: object = "") -> None:
    journal().start(token, extra)
    journal().end(token, extra)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@rl_task()
def add(x: int, y: int) -> int:
    return x + y


@rl_task()
async def add_async(x: int, y: int) -> int:
    return x + y


@rl_task()
def total(numbers: list[int]) -> int:
    return sum(numbers)


@rl_task()
def noted(token: str, value: Any = None) -> Any:
    note(token, value)
    return value


@rl_task()
async def noted_async(token: str, value: Any = None) -> Any:
    note(token, value)
    return value


@rl_task(queue="high_priority")
def noted_first(token: str) -> None:
    note(token)


@rl_task()
def caught(request: Any, error: Any, trace: Any) -> None:
    """A new-style errback: Celery hands it the request, the error and the traceback."""
    note(str(request.id), type(error).__name__)


@rl_task()
def described(*args: Any, **kwargs: Any) -> list[list[str]]:
    """What arrived, as type names and texts."""
    values = [*args, *kwargs.values()]
    return [[type(value).__name__, str(value)] for value in values]


@rl_task()
async def described_async(*args: Any, **kwargs: Any) -> list[list[str]]:
    values = [*args, *kwargs.values()]
    return [[type(value).__name__, str(value)] for value in values]


@rl_task()
def returned(value: Any) -> Any:
    return value


@rl_task()
def measured(text: str) -> int:
    return len(text)


@rl_task()
def failing(message: str) -> None:
    raise ValueError(message)


@rl_task()
async def failing_async(message: str) -> None:
    raise ValueError(message)


@rl_task()
def mended(token: str) -> str:
    """Fails at its first start, as code does that is fixed before its task is released."""
    journal().start(token)
    if starts(token) == 1:
        raise ValueError("not yet mended")
    journal().end(token)
    return "mended"


@rl_task()
def unserialisable(token: str) -> object:
    note(token)
    return object()


@rl_task(bind=True)
def bound(self: Any, x: int) -> list[Any]:
    return [self.name, self.request.id, self.request.retries, self.request.delivery_info["routing_key"], x]


@rl_task(bind=True)
async def bound_async(self: Any, x: int) -> list[Any]:
    await asyncio.sleep(0)
    return [self.name, self.request.id, self.request.retries, self.request.delivery_info["routing_key"], x]


@rl_task(bind=True, max_retries=3)
def retried(self: Any, token: str, times: int) -> int:
    journal().start(token, self.request.retries)
    if self.request.retries < times:
        raise self.retry(countdown=0.1, exc=Unavailable("later"))
    journal().end(token)
    return int(self.request.retries)


@rl_task(bind=True, max_retries=3)
async def retried_async(self: Any, token: str, times: int) -> int:
    journal().start(token, self.request.retries)
    await asyncio.sleep(0)
    if self.request.retries < times:
        raise self.retry(countdown=0.1, exc=Unavailable("later"))
    journal().end(token)
    return int(self.request.retries)


@rl_task(bind=True)
def retried_with_other_arguments(self: Any, token: str, number: int) -> int:
    journal().start(token, number)
    if number < 3:
        raise self.retry(args=(token, number + 1), countdown=0)
    journal().end(token)
    return number


@rl_task(autoretry_for=(Unavailable,), retry_backoff=1, retry_jitter=False, max_retries=5)
def backing_off(token: str, times: int) -> str:
    journal().start(token)
    if starts(token) <= times:
        raise Unavailable("try again")
    journal().end(token)
    return token


@rl_task(autoretry_for=(Unavailable,), retry_backoff=1, retry_jitter=False, max_retries=5)
async def backing_off_async(token: str, times: int) -> str:
    journal().start(token)
    await asyncio.sleep(0)
    if starts(token) <= times:
        raise Unavailable("try again")
    journal().end(token)
    return token


@rl_task(autoretry_for=(Unavailable,), default_retry_delay=0, max_retries=2)
def giving_up(token: str) -> None:
    journal().start(token)
    raise Unavailable("for good")


@rl_task()
def dying_once(token: str, value: Any = None) -> Any:
    """Kills its process at its first start."""
    journal().start(token)
    if starts(token) == 1:
        die()
    journal().end(token)
    return value


@rl_task()
def dying_with_its_worker(token: str) -> str:
    """Runs for ever at its first start, so that its worker can be killed under it."""
    journal().start(token)
    if starts(token) == 1:
        time.sleep(120)
    journal().end(token)
    return token


@rl_task(max_resurrections=1)
def deadly(token: str) -> None:
    journal().start(token)
    die()


@rl_task()
def slow(token: str, seconds: float) -> str:
    journal().start(token)
    time.sleep(seconds)
    journal().end(token)
    return token


@rl_task()
async def slow_async(token: str, seconds: float) -> str:
    journal().start(token)
    await asyncio.sleep(seconds)
    journal().end(token)
    return token


@rl_task(ignore_result=True)
def forgotten(token: str) -> str:
    note(token)
    return token


@rl_task(track_started=True)
def tracked(token: str, seconds: float) -> str:
    journal().start(token)
    time.sleep(seconds)
    return token


@rl_task()
def rejected(token: str) -> None:
    note(token)
    raise Reject("not wanted", requeue=False)


@rl_task()
def rejected_once(token: str) -> str:
    journal().start(token)
    if starts(token) == 1:
        raise Reject("somewhere else, please", requeue=True)
    journal().end(token)
    return token


@rl_task()
def ignored(token: str) -> None:
    note(token)
    raise Ignore()


@rl_task()
def pushing(token: str) -> str:
    """A task that pushes another one."""
    return str(noted.push(token).id)


@rl_task()
async def pushing_async(token: str) -> str:
    receipt = await noted.apush(token)
    return receipt.id


@rl_task()
async def pushing_wrongly(token: str) -> str:
    try:
        noted.push(token)
    except RuntimeError as error:
        return str(error)
    return "pushed"


@shared_task(name="stock.add")
def stock_add(x: int, y: int) -> int:
    return x + y


@shared_task(name="stock.noted")
def stock_noted(token: str, value: Any = None) -> Any:
    note(token, value)
    return value


@shared_task(name="stock.slow")
def stock_slow(token: str, seconds: float) -> str:
    journal().start(token)
    time.sleep(seconds)
    journal().end(token)
    return token


@shared_task(name="stock.dying_once")
def stock_dying_once(token: str) -> None:
    """Kills its process at its first start. Celery's late acks must bring it back."""
    journal().start(token)
    if starts(token) == 1:
        die()
    journal().end(token)


app = celery_app
