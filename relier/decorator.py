"""`@rl_task`: a function becomes a task whose every push is kept until it is committed."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, ParamSpec, Protocol, TypeVar, cast, get_args

from relier import dispatch, keys
from relier.bridge import Limits, SoftHook, run_coroutine
from relier.context import _context
from relier.receipt import TaskReceipt
from relier.settings import Durability, get_settings

P = ParamSpec("P")
R = TypeVar("R", covariant=True)


class Task(Protocol[P, R]):
    """A decorated function: a Celery task with `push` and `apush`. A plain call runs the plain function."""

    name: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...

    def push(self, *args: Any, **kwargs: Any) -> TaskReceipt:
        """Start it from a thread; when this returns, Redis holds the task.

        Raises `AdmissionRejectedError`, `RuntimeError` on a thread with a running loop, and `DurabilityError` or a
        `redis.RedisError` when Redis did not confirm it within `RELIER_PUSH_RETRY_WINDOW`.
        """

    async def apush(self, *args: Any, **kwargs: Any) -> TaskReceipt:
        """`push` for coroutines: the loop goes on while Redis answers."""

    def delay(self, *args: Any, **kwargs: Any) -> TaskReceipt:
        """Celery's spelling: into the ledger as `push`, but past admission control."""

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> TaskReceipt:
        """`delay` with Celery's options, such as `countdown` (seconds) or `eta`. Raises `ValueError` for `priority`."""

    def s(self, *args: Any, **kwargs: Any) -> Any:
        """A signature for chains, groups and chords; the result of the step before becomes its first argument."""

    def si(self, *args: Any, **kwargs: Any) -> Any:
        """A signature that takes nothing from the step before."""


def rl_task(
    queue: str = "default",
    idempotent: bool = False,
    idempotency_ttl: int = 3600,
    soft_timeout: float | None = None,
    hard_timeout: float | None = None,
    on_soft_timeout: SoftHook | None = None,
    name: str | None = None,
    *,
    max_resurrections: int | None = None,
    durability: Durability | None = None,
    bind: bool = False,
    **celery_options: Any,
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function a task.

    `idempotency_ttl` and the timeouts are in seconds; `max_resurrections` is how many deaths of its workers the task
    may cause (default: `RELIER_MAX_RESURRECTIONS`); `durability` is `local`, `replicated` or `fsynced`. Other keywords
    are Celery's own task options. Raises `ValueError` for what cannot work.
    """
    if callable(queue):
        raise TypeError(f"Write @rl_task() with brackets above {getattr(queue, '__name__', queue)}.")

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        """What cannot work raises `ValueError` here, when the module is imported, and not at the first push."""
        limits = Limits(soft_timeout, hard_timeout, on_soft_timeout)
        _check(function, queue, limits, idempotency_ttl, max_resurrections, durability, celery_options)
        options = celery_options | {
            "rl_queue": queue,
            "idempotent": idempotent,
            "idempotency_ttl": idempotency_ttl,
            "max_resurrections": max_resurrections,
            "durability": durability,
            "limits": limits,
            "wants_context": "ctx" in inspect.signature(function).parameters,
            "bound": bind,
            "body": staticmethod(function),
        }
        return cast("Task[P, R]", _register(function, name, bind, options))

    return decorate


def _register(function: Callable[..., Any], name: str | None, bind: bool, options: dict[str, Any]) -> Any:
    from celery import shared_task

    from relier.tasks import app  # noqa: F401  makes Relier's app the default, so that Redis is the broker
    from relier.tasks.task import RelierTask

    if name:
        options["name"] = name
    return shared_task(base=RelierTask, bind=bind, **options)(_runner(function, options["limits"]))


def _runner(function: Callable[..., Any], limits: Limits) -> Callable[..., Any]:
    """What Celery runs. Its signature lacks `ctx`, which is injected, so that Celery checks the caller's arguments."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            """Wait on a worker's shared loop; outside a worker, on a loop made for this one call."""
            context = _context.get()
            coroutine = function(*args, **kwargs)
            if context is None or context._eager:
                return _run_eagerly(coroutine)
            return run_coroutine(coroutine, limits, context)

    else:

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            """A function of its own, so that the signature below is not put on the user's."""
            return function(*args, **kwargs)

    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.name != "ctx"]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


def _run_eagerly(coroutine: Any) -> Any:
    """Outside a worker (`.apply()`, eager mode) a body runs on a loop of its own."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    if asyncio._get_running_loop() is None:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, asyncio.run, coroutine).result()


def _check(
    function: Callable[..., Any],
    queue: str,
    limits: Limits,
    idempotency_ttl: int,
    max_resurrections: int | None,
    durability: str | None,
    celery_options: dict[str, Any],
) -> None:
    dispatch.check_queue(queue, _known_queues())
    _check_limits(function, limits)
    _check_celery(celery_options)
    if idempotency_ttl <= 0:
        raise ValueError(f"idempotency_ttl is {idempotency_ttl}; give the seconds (> 0) that a result stays known.")
    if max_resurrections is not None and max_resurrections < 0:
        raise ValueError(f"max_resurrections is {max_resurrections}; give 0 or more.")
    if durability is not None and durability not in get_args(Durability):
        raise ValueError(f"durability is {durability!r}; use one of: {', '.join(get_args(Durability))}.")
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise ValueError(f"{function.__name__} is a generator; a task returns one value, so return a list instead.")


def _known_queues() -> tuple[str, ...]:
    from relier.tasks.app import celery_app

    added = (queue.name for queue in celery_app.conf.task_queues or () if queue.name != keys.REQUEUE)
    return tuple(dict.fromkeys((*keys.PUBLIC_QUEUES, *added)))


def _check_limits(function: Callable[..., Any], limits: Limits) -> None:
    soft, hard = limits.soft, limits.hard
    timed = soft is not None or hard is not None or limits.on_soft is not None
    if timed and not inspect.iscoroutinefunction(function):
        raise ValueError(
            "Timeout parameters are only supported for async functions. Make it 'async def' and wrap blocking calls in "
            "asyncio.to_thread, or use Celery's time_limit."
        )
    if soft is not None and hard is None:
        raise ValueError(f"soft_timeout ({soft:g} s) needs a hard_timeout that is greater.")
    if soft is not None and hard is not None and hard <= soft:
        raise ValueError(f"hard_timeout ({hard:g} s) must be greater than soft_timeout ({soft:g} s).")
    if limits.on_soft is not None and not inspect.iscoroutinefunction(limits.on_soft):
        raise ValueError("on_soft_timeout must be an async function that takes the TaskContext.")
    ttl = get_settings().idempotency_inflight_ttl
    if hard is not None and hard >= ttl:
        raise ValueError(f"hard_timeout ({hard:g} s) must be < IDEMPOTENCY_INFLIGHT_TTL ({ttl} s)")


REFUSED: dict[str, str] = {
    "acks_late": "the ledger, not the acknowledgement, brings a task back, so acks_late has no meaning; leave it out",
    "priority": "queues are first in, first out; use queue='high_priority'",
    "rate_limit": "a rate limit would hold tasks in a worker's memory; use admission control",
    "reject_on_worker_lost": "a lost worker's task always comes back; use max_resurrections to bound it",
    "retry_on_worker_lost": "a lost worker's task always comes back; use max_resurrections to bound it",
    "base": "the class of the task is Relier's; put shared behaviour into a decorator of your own",
}


def _check_celery(options: dict[str, Any]) -> None:
    for option, instead in REFUSED.items():
        if options.get(option) not in (None, False) and not (option == "acks_late" and options[option] is True):
            raise ValueError(f"@rl_task cannot honour {option}=: {instead}.")
