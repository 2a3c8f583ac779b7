"""From a call to a record in the ledger: the request that `push`, `apush` and Celery's `apply_async` share."""

from __future__ import annotations

import json
import logging
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from relier import keys, telemetry
from relier.envelope import Envelope, idempotency_key, sign
from relier.errors import AdmissionRejectedError, DurabilityError
from relier.ledger import get_async_ledger, get_ledger
from relier.schema import SchemaRegistry
from relier.settings import Settings, get_settings

if TYPE_CHECKING:
    from relier.tasks.task import RelierTask

logger = logging.getLogger("relier")

# Celery options that travel in the signed envelope and are back on `task.request` when the body runs.
CARRIED = (
    "root_id",
    "parent_id",
    "group",
    "group_index",
    "retries",
    "shadow",
    "ignore_result",
    "callbacks",
    "errbacks",
    "chain",
    "chord",
    "headers",
    "reply_to",
    "replaced_task_nesting",
    "stamped_headers",
    "stamps",
    "expires",
    "timelimit",
)
NO_OPTIONS: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Push:
    """A task on its way into the ledger."""

    task_id: str
    name: str
    queue: str
    envelope: str
    signature: str
    extra: str = ""
    idempotency_key: str = ""
    cap: int | str = ""
    delay_ms: int = 0

    def fields(self) -> tuple[str | int, ...]:
        """The nine arguments that `push.lua` and the outbox take."""
        return (
            self.task_id,
            self.name,
            self.queue,
            self.envelope,
            self.signature,
            self.extra,
            self.idempotency_key,
            self.cap,
            self.delay_ms,
        )


def build(
    task: RelierTask,
    args: Any,
    kwargs: dict[str, Any] | None,
    *,
    task_id: str | None = None,
    queue: str | None = None,
    delay: float = 0.0,
    options: dict[str, Any] = NO_OPTIONS,
) -> Push:
    """The request for one task. `delay` is in seconds; `options` are Celery's, those of `CARRIED`."""
    task_id = task_id or str(uuid.uuid4())
    if task_id == "expiry_index":
        raise ValueError("The task id 'expiry_index' is Relier's own; choose another.")
    args, kwargs = list(args or ()), kwargs or {}
    envelope = Envelope(SchemaRegistry.CURRENT_VERSION, args, kwargs, time.time(), options, telemetry.inject()).encode()
    return Push(
        task_id,
        task.name,
        queue or task.rl_queue,
        envelope,
        sign(task_id, task.name, envelope),
        _extra_headers(options),
        _operation(task.name, args, kwargs) if task.idempotent else "",
        "" if task.max_resurrections is None else task.max_resurrections,
        max(0, round(delay * 1000)),
    )


def _operation(name: str, args: Any, kwargs: dict[str, Any]) -> str:
    with telemetry.phase("idempotency", name):
        return idempotency_key(name, args, kwargs)


def _extra_headers(options: dict[str, Any]) -> str:
    """Headers that the worker's parent process needs before the claim, as the tail of a JSON object."""
    wanted = {name: options[name] for name in ("timelimit", "expires", "shadow", "retries") if options.get(name)}
    if any(options.get(name) for name in ("errbacks", "chain", "chord")):
        wanted["after"] = 1
    return "," + json.dumps(wanted, separators=(",", ":"))[1:-1] if wanted else ""


def seconds_until(countdown: float | None, eta: datetime | None) -> float:
    """Celery's `countdown` and `eta` as seconds from now. A naive `eta` is UTC."""
    if countdown is not None:
        return float(countdown)
    if eta is None:
        return 0.0
    moment = eta if eta.tzinfo else eta.replace(tzinfo=UTC)
    return (moment - datetime.now(UTC)).total_seconds()


def admission_of(settings: Settings) -> tuple[int, int, int]:
    """Limit, window in ms and width of a sub-bucket in ms: a hundredth of the window, at most 100 ms."""
    window = settings.admission_window * 1000
    return settings.admission_limit, window, min(100, window // 100)


NO_ADMISSION = (0, 0, 0)


def _fail_open(error: Exception | str) -> None:
    detail = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    logger.warning(
        "Admission control check failed (%s) — failing open, task will proceed.\n"
        "Investigate if this recurs: sustained failure means rate limiting is inactive.",
        detail,
    )


class _Warned:
    """Logs the fail-open line once per push, however often the push is repeated."""

    def __init__(self) -> None:
        self._silent = False

    def __call__(self, error: Exception) -> None:
        if isinstance(error, DurabilityError):
            return  # the window was asked; only a replica or the disk keeps us waiting
        if not self._silent:
            _fail_open(error)
        self._silent = True


def _settle(reply: list[Any], push: Push) -> None:
    verdict, wait, failure = reply
    if failure:
        _fail_open(f"ResponseError: {failure.decode()}")
    telemetry.admission(verdict.decode(), push.name, push.task_id)
    if verdict == b"rejected":
        raise AdmissionRejectedError(retry_after=wait / 1000)


def _call(push: Push, durability: str | None, admit: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    settings, fields = get_settings(), push.fields()
    arguments = (*fields, *(admission_of(settings) if admit else NO_ADMISSION))
    options: dict[str, Any] = {
        "window": settings.push_retry_window,
        "durability": durability or settings.durability,
    }
    if admit:
        options |= {"on_retry": _Warned(), "retry_args": (*fields, *NO_ADMISSION)}
    return arguments, options


def send(push: Push, durability: str | None, *, admit: bool) -> None:
    """Put a task into the ledger. Returns only when it exists; see `RelierTask.push` for what it raises."""
    arguments, options = _call(push, durability, admit)
    with telemetry.phase("enqueue", push.name):
        _settle(get_ledger().call("push", *arguments, **options), push)


async def send_async(push: Push, durability: str | None, *, admit: bool) -> None:
    """`send` for coroutines."""
    arguments, options = _call(push, durability, admit)
    with telemetry.phase("enqueue", push.name):
        _settle(await get_async_ledger().call("push", *arguments, **options), push)


def check_queue(queue: str, known: tuple[str, ...]) -> None:
    """Raises `ValueError` unless user code may publish into `queue`."""
    if queue == keys.REQUEUE:
        raise ValueError(
            f"Queue '{queue}' is internal: only Phoenix may publish into it. Use one of: {', '.join(known)}."
        )
    if queue not in known:
        raise ValueError(f"Unknown public queue '{queue}'. Use one of: {', '.join(known)}.")
