"""The task class behind `@rl_task`."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import celery
from celery._state import get_current_worker_task

from relier import dispatch, lifecycle, telemetry
from relier.bridge import Limits
from relier.context import TaskContext, current_run, entered
from relier.outbox import current_outbox
from relier.receipt import TaskReceipt


class RelierTask(celery.Task):  # type: ignore[misc]
    """A Celery task whose every dispatch goes through the ledger."""

    abstract = True
    Request = "relier.tasks.request:LedgerRequest"
    acks_late = True
    reject_on_worker_lost = False

    rl_queue: str = "default"  # not `queue`, which Celery deprecates as a task's attribute
    idempotent: bool = False
    idempotency_ttl: int = 3600
    max_resurrections: int | None = None
    durability: str | None = None
    limits: Limits = Limits()
    wants_context: bool = False
    body: Any = None

    @property
    def request(self) -> Any:
        """The current request; in a coroutine too, which runs on another thread than Celery's stack knows."""
        run = current_run.get()
        return run.request if run is not None and run.task is self else self._get_request()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        request = self._get_request()
        if request.called_directly:
            return self._call_directly(args, kwargs)
        if request.is_eager:
            return self._call_eagerly(request, args, kwargs)
        return lifecycle.run(self, request)

    def _call_directly(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A plain call runs the plain function: a coroutine for `async def`, as its author would expect."""
        return self.body(self, *args, **kwargs) if self.bound else self.body(*args, **kwargs)

    def _call_eagerly(self, request: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """`.apply()` and eager mode: the body with a context of its own, and no ledger."""
        node = request.hostname or "eager"
        with entered(TaskContext(request.id, self.name, args, kwargs, node, 1, _eager=True)) as context:
            return self.run(*args, **(kwargs | {"ctx": context} if self.wants_context else kwargs))

    def push(self, *args: Any, **kwargs: Any) -> TaskReceipt:
        """Put the task into the ledger and return its receipt; when this returns, the task exists.

        Raises `AdmissionRejectedError` when the window is full, `RuntimeError` on a thread with a running event loop,
        `DurabilityError` or a `redis.RedisError` when Redis did not confirm the push within the retry window.
        """
        if asyncio._get_running_loop() is not None:
            raise RuntimeError(
                f"{self.name}.push() blocks, and this thread runs an event loop; "
                f"use 'await {self.__name__}.apush(...)'."
            )
        if self._eager():
            return self.apply(args, kwargs)  # type: ignore[no-any-return]
        self._check(args, kwargs)
        with telemetry.produce(self.name, self.rl_queue):
            push = dispatch.build(self, args, kwargs)
            dispatch.send(push, self.durability, admit=True)
        return self.AsyncResult(push.task_id)  # type: ignore[no-any-return]

    async def apush(self, *args: Any, **kwargs: Any) -> TaskReceipt:
        """`push` for coroutines."""
        if self._eager():
            return await asyncio.to_thread(self.apply, args, kwargs)
        self._check(args, kwargs)
        with telemetry.produce(self.name, self.rl_queue):
            push = dispatch.build(self, args, kwargs)
            await dispatch.send_async(push, self.durability, admit=True)
        return self.AsyncResult(push.task_id)  # type: ignore[no-any-return]

    def apply_async(
        self,
        args: Any = None,
        kwargs: dict[str, Any] | None = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> Any:
        """Celery's own way in: `.delay()`, canvas, retries. Into the ledger like `push`, without admission."""
        if self._eager():
            return super().apply_async(args, kwargs, task_id, producer, link, link_error, shadow, **options)
        if options.get("priority") is not None:
            raise ValueError(
                f"{self.name}: Relier's queues are first in, first out, so priority= has no meaning; "
                "use @rl_task(queue='high_priority')."
            )
        self._check(tuple(args or ()), kwargs or {})
        queue = options.get("queue") or options.get("routing_key")
        with telemetry.produce(self.name, queue or self.rl_queue):
            push = dispatch.build(
                self,
                args,
                kwargs,
                task_id=task_id,
                queue=queue,
                delay=dispatch.seconds_until(options.get("countdown"), options.get("eta")),
                options=self._carried(link, link_error, shadow, options),
            )
            self._enqueue(push)
        result = self.AsyncResult(push.task_id)
        if options.get("add_to_parent", True) and (parent := get_current_worker_task()):
            parent.add_trail(result)
        return result

    def _enqueue(self, push: dispatch.Push) -> None:
        run = current_run.get()
        if run is not None and run.task_id == push.task_id:
            run.retry = push
        elif outbox := current_outbox():
            outbox.add(push)
        else:
            dispatch.send(push, self.durability, admit=False)

    def _carried(self, link: Any, link_error: Any, shadow: str | None, options: dict[str, Any]) -> dict[str, Any]:
        """The Celery options that travel in the envelope, under the names that a request gives them."""
        carried = {name: options[name] for name in dispatch.CARRIED if options.get(name) is not None}
        carried |= {
            "callbacks": _listed(link),
            "errbacks": _listed(link_error),
            "shadow": shadow,
            "group": options.get("group_id"),
            "expires": _moment(options.get("expires")),
            "timelimit": _limits(options),
        }
        return {name: value for name, value in carried.items() if value not in (None, [], ())}

    def _check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise `TypeError` now, not in the worker, when the arguments do not fit."""
        if self.typing:
            self.__header__(*args, **kwargs)

    def _eager(self) -> bool:
        return bool(self.app.conf.task_always_eager)


def _listed(link: Any) -> list[Any]:
    if not link:
        return []
    return list(link) if isinstance(link, list | tuple) else [link]


def _limits(options: dict[str, Any]) -> list[Any] | None:
    hard, soft = options.get("time_limit"), options.get("soft_time_limit")
    return [hard, soft] if hard or soft else None


def _moment(expires: Any) -> str | None:
    """Celery's `expires` (seconds or a datetime) as an ISO moment."""
    from datetime import UTC

    if isinstance(expires, int | float):
        expires = datetime.now(UTC) + timedelta(seconds=expires)
    return expires.isoformat() if isinstance(expires, datetime) else expires
