"""The life of one incarnation: claim, resolve the checkpoint, verify and migrate the envelope, run, commit.

Synchronous code in Celery's own thread, the same for `def` and `async def`. Whatever the body does, exactly one fenced
transition ends the incarnation: commit, fail, delay or handoff.
"""

from __future__ import annotations

import itertools
import logging
import time
import traceback as tracebacks
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from billiard.exceptions import WorkerLostError
from celery import states
from celery.exceptions import Ignore, Reject, Retry, TaskRevokedError, TimeLimitExceeded
from kombu.utils.encoding import safe_repr

from relier import checkpoint, keys, telemetry
from relier.context import Run, TaskContext, entered
from relier.dispatch import CARRIED, build
from relier.envelope import Envelope, checksum, dumps, loads, verify
from relier.errors import DurabilityError, HardTimeoutError
from relier.heartbeat import Heartbeat, heartbeat
from relier.ledger import FOREVER, get_ledger
from relier.outbox import capture
from relier.schema import SchemaRegistry
from relier.settings import get_settings
from relier.tasks import drain, results

if TYPE_CHECKING:
    from relier.tasks.task import RelierTask

logger = logging.getLogger("relier")
_nonces = itertools.count(1)
END_ERRORS = {"TimeLimitExceeded": TimeLimitExceeded}
UNACKED = ("unacked", "unacked_index")  # where kombu keeps messages that a worker holds


def run(task: RelierTask, request: Any) -> Any:
    """Run the task that `request` announces, if this process may claim it.

    Returns the body's value after its commit. Raises `Ignore` when there is nothing to run or nothing to report, and
    otherwise what the body raised, after it was recorded.
    """
    pulse = heartbeat(request.hostname)
    task_id = request.id
    pulse.running.add(task_id)
    began = time.time_ns()
    try:
        with telemetry.phase("pickup", task.name):
            ticket = _claim(task, request, pulse)
        return _incarnate(task, request, ticket, pulse, began)
    finally:
        pulse.running.discard(task_id)


def _claim(task: RelierTask, request: Any, pulse: Heartbeat) -> list[Any]:
    """The ticket of a claim that was granted; raises `Ignore` for every other reply."""
    if not getattr(request, "rl", None):
        _adopt(task, request)
    started = results.started(task, request) if task.track_started else results.NOTHING
    ttl = int(get_settings().heartbeat_ttl * 1000)
    while True:
        if drain.draining():
            raise Ignore()
        ticket: list[Any] = get_ledger().call(
            "claim",
            request.id,
            str(pulse.holder),
            next(_nonces),
            ttl,
            *started,
            window=FOREVER,
            on_retry=drain.give_up,
        )
        if ticket[0] in (b"run", b"hit", b"doomed"):
            return ticket
        if ticket[0] == b"dead":
            pulse.renew()
            continue
        if ticket[0] == b"in_flight":
            logger.info("Task %s waits %d ms: the same operation is in flight.", request.id, ticket[1])
        raise Ignore()


def _adopt(task: RelierTask, request: Any) -> None:
    """Give a record to a task that came as a plain Celery message; raises `Ignore` when it is finished already."""
    options = {name: value for name in CARRIED if (value := getattr(request, name, None))}
    queue = request.delivery_info.get("routing_key") or task.rl_queue
    push = build(task, request.args, request.kwargs, task_id=request.id, queue=queue, options=options)
    push = replace(push, signature=checksum(push.task_id, push.name, push.envelope))  # nobody signed it
    tag = request.properties["delivery_tag"]
    if not get_ledger().call("adopt", *push.fields(), tag, *UNACKED, window=FOREVER, on_retry=drain.give_up):
        raise Ignore()


def _incarnate(task: RelierTask, request: Any, ticket: list[Any], pulse: Heartbeat, began: int) -> Any:
    verdict, incarnation, attempts, sealed, signature, kept, queue, _, key, cached = ticket
    this = Run(
        task,
        request,
        request.id,
        str(pulse.holder),
        incarnation,
        attempts,
        queue.decode(),
        key.decode(),
        claim_began=began,
    )
    try:
        envelope, args, kwargs = _open(task, this, sealed or b"", (signature or b"").decode(errors="replace"))
    except Exception as error:
        _fail(this, error)
        raise
    with telemetry.process(this, envelope.trace, envelope.version):
        if verdict == b"doomed":
            return _report_end(this, cached.decode())
        if verdict == b"hit":
            with telemetry.phase("idempotency", task.name):
                value = loads(cached)
            return _commit(this, value, "hit", kept)
        return _body(this, envelope, args, kwargs, kept)


def _open(task: RelierTask, this: Run, sealed: bytes, signature: str) -> tuple[Envelope, Any, dict[str, Any]]:
    """The verified and migrated arguments; Celery's options go back onto the request."""
    request = this.request
    request.ignore_result = task.ignore_result  # the claim check said True, to keep Celery from storing anything itself
    with telemetry.phase("schema", task.name):
        verify(this.task_id, task.name, sealed, signature)
        envelope = Envelope.decode(sealed)
        args, kwargs = SchemaRegistry.migrate(task.name, envelope.version, envelope.args, envelope.kwargs)
    this.enqueued_at = envelope.enqueued_at
    request.args, request.kwargs = args, kwargs
    for name, value in envelope.options.items():
        setattr(request, name, value)
    return envelope, args, kwargs


def _body(this: Run, envelope: Envelope, args: Any, kwargs: dict[str, Any], kept: bytes) -> Any:
    task = this.task
    try:
        partial = checkpoint.resolve(kept)
        context = TaskContext(
            this.task_id, task.name, tuple(args), kwargs, this.request.hostname, this.incarnation, partial, _run=this
        )
        with entered(context, this), telemetry.body(task.name):
            value = task.run(*args, **(kwargs | {"ctx": context} if task.wants_context else kwargs))
    except (Retry, Ignore, Reject) as signal:
        return _divert(this, signal)
    except Exception as error:
        _fail(this, error)
        raise
    return _commit(this, value, "success", kept)


def _commit(this: Run, value: Any, outcome: str, kept: bytes) -> Any:
    """Commit a value with everything that follows from it, in one step."""
    task, request = this.task, this.request
    try:
        if request.chord:
            if not _still_mine(this):
                return _fenced(this)
            results.return_part(task, request, states.SUCCESS, value, again=this.attempts > 1)
        with capture() as outbox:
            results.follow_up(task, request, value)
        payload = results.payload(task, request, value, states.SUCCESS)
        idempotent = dumps(value) if this.idempotency_key else ""
    except Exception as error:
        _fail(this, error)
        raise
    seconds = time.perf_counter() - this.started
    reply = _durably(
        this,
        outcome,
        request.hostname,
        round(seconds * 1000),
        *payload,
        idempotent,
        task.idempotency_ttl,
        *outbox.fields,
    )
    results.mute(request)
    if reply == b"fenced":
        return _fenced(this)
    checkpoint.discard(kept)
    status = "completed" if outcome == "success" else "idempotency_hit"
    telemetry.outcome(status, task.name, request.hostname, seconds)
    return value


def _durably(this: Run, *arguments: Any) -> Any:
    """The commit script, confirmed as the task asks. Without a confirmation the commit stands all the same."""
    durability = this.task.durability or get_settings().durability
    try:
        with telemetry.phase("commit", this.task.name):
            return get_ledger().call("commit", *this.fence, *arguments, window=FOREVER, durability=durability)
    except DurabilityError as error:
        logger.warning("Task %s is committed, but not confirmed as %s: %s", this.task_id, durability, error)
        return b"ok"


def _report_end(this: Run, reason: str) -> Any:
    """A task that ended without its body: tell those who wait for it."""
    if reason == "TaskRevokedError":
        _revoke(this)
        raise Ignore()
    error = END_ERRORS.get(reason, WorkerLostError)(f"The task ended without an outcome: {reason}.")
    _fail(this, error, reason)
    raise error


def _revoke(this: Run) -> None:
    task, request = this.task, this.request
    error = TaskRevokedError("revoked")
    if request.chord:
        results.return_part(task, request, states.REVOKED, error, again=True)
    payload = results.payload(task, request, error, states.REVOKED)
    get_ledger().call("commit", *this.fence, "ignored", request.hostname, 0, *payload, "", 0, window=FOREVER)
    results.mute(request)


def _fail(this: Run, error: Exception, reason: str = "") -> None:
    """Into the DLQ with the reason; what Celery would set off by a failure goes along."""
    reason = reason or type(error).__name__
    task, request = this.task, this.request
    trace = "".join(tracebacks.format_exception(error))
    if request.chord and _still_mine(this):
        results.return_part(task, request, states.FAILURE, error, again=this.attempts > 1)
    with capture() as outbox:
        try:
            results.failed(task, request, error, trace)
        except Exception:
            logger.exception("What should follow the failure of task %s could not be sent", this.task_id)
    with telemetry.phase("commit", task.name):
        reply = get_ledger().call(
            "fail",
            *this.fence,
            reason,
            _told(error),
            trace,
            request.hostname,
            *results.payload(task, request, error, states.FAILURE, trace),
            *outbox.fields,
            window=FOREVER,
        )
    results.mute(request)
    if reply == b"fenced":
        _fenced(this)
    if isinstance(error, HardTimeoutError):
        telemetry.event("timeouts", type="hard", task=task.name)
    telemetry.event("dlq", reason=reason, task=task.name)
    telemetry.outcome("failed", task.name, request.hostname, time.perf_counter() - this.started, reason)


def _told(error: Exception) -> str:
    """What an exception says of itself, even if its own `__str__` fails."""
    try:
        return str(error)
    except Exception:
        return str(safe_repr(error))


def _divert(this: Run, signal: Exception) -> Any:
    """A body that asked for something else than an outcome: to run again, or to be forgotten."""
    if isinstance(signal, Retry) and this.retry is not None:
        _delay(this, signal)
        raise signal
    if isinstance(signal, Reject) and not signal.requeue:
        _fail(this, signal)
    elif isinstance(signal, Reject):
        get_ledger().call("handoff", this.holder, f"={this.incarnation}", this.task_id, window=FOREVER)
    else:
        _forget(this)
    results.mute(this.request)
    raise Ignore()


def _delay(this: Run, signal: Retry) -> None:
    push = this.retry
    assert push is not None
    reply = get_ledger().call(
        "delay",
        *this.fence,
        push.delay_ms,
        push.envelope,
        push.signature,
        push.extra,
        *results.payload(this.task, this.request, signal.exc or signal, states.RETRY),
        push.queue,
        window=FOREVER,
    )
    results.mute(this.request)
    if reply == b"fenced":
        _fenced(this)


def _forget(this: Run) -> None:
    request = this.request
    reply = get_ledger().call("commit", *this.fence, "ignored", request.hostname, 0, "", "", 0, "", 0, window=FOREVER)
    if reply == b"fenced":
        _fenced(this)


def _still_mine(this: Run) -> bool:
    row: list[bytes | None] = get_ledger().client.hmget(keys.record(this.task_id), "holder", "incarnation")
    return row == [this.holder.encode(), str(this.incarnation).encode()]


def _fenced(this: Run) -> Any:
    logger.warning("Late outcome of task %s refused: incarnation %d no longer owns it.", this.task_id, this.incarnation)
    results.mute(this.request)
    raise Ignore()
