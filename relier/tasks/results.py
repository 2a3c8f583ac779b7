"""Celery's results and follow-ups, prepared here so that the commit script can write and send them itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from celery import states
from celery.app.task import Context
from celery.canvas import maybe_signature

if TYPE_CHECKING:
    from relier.tasks.task import RelierTask

Payload = tuple[str | bytes, str | bytes, int]
NOTHING: Payload = ("", "", 0)
CLAIM_POLL = 0.25  # seconds between looks at a chord's claim


def payload(task: RelierTask, request: Any, value: Any, state: str, traceback: str | None = None) -> Payload:
    """Celery's result key, its content and its TTL in seconds; empty when the result is to be ignored."""
    errors = state in states.EXCEPTION_STATES
    if request.ignore_result and not (errors and task.store_errors_even_if_ignored):
        return NOTHING
    backend = task.backend
    result = backend.encode_result(value, state)
    meta = backend._get_result_meta(result, state, traceback, request)
    meta["task_id"] = request.id
    return backend.get_key_for_task(request.id), backend.encode(meta), int(backend.expires or 0)


def started(task: RelierTask, request: Any) -> Payload:
    """The STARTED state, for tasks that track it."""
    if task.ignore_result:
        return NOTHING
    backend = task.backend
    meta = backend._get_result_meta({"hostname": request.hostname}, states.STARTED, None, request)
    meta["task_id"] = request.id
    return backend.get_key_for_task(request.id), backend.encode(meta), int(backend.expires or 0)


def revoked(app: Any, task_id: str, reason: str) -> Payload:
    """The REVOKED state of a task that was cancelled."""
    from celery.exceptions import TaskRevokedError

    backend = app.backend
    result = backend.encode_result(TaskRevokedError(reason), states.REVOKED)
    meta = backend._get_result_meta(result, states.REVOKED, None, Context(id=task_id))
    meta["task_id"] = task_id
    return backend.get_key_for_task(task_id), backend.encode(meta), int(backend.expires or 0)


def follow_up(task: RelierTask, request: Any, value: Any) -> None:
    """Publish what success sets off: links and the next step of a chain. Runs inside an outbox."""
    app = task.app
    origin = {"parent_id": request.id, "root_id": request.root_id or request.id}
    for callback in request.callbacks or ():
        maybe_signature(callback, app=app).apply_async((value,), **origin)
    if request.chain:
        steps = list(request.chain)
        maybe_signature(steps.pop(), app=app).apply_async((value,), chain=steps, **origin)


def return_part(task: RelierTask, request: Any, state: str, value: Any, *, again: bool) -> None:
    """Hand a header task's part to its chord, before the task's own commit and not through the outbox.

    Celery counts each header task once and sends the body once, under a claim of some seconds. `again`: an earlier
    incarnation may have died with that claim, so wait for it to lapse, or the body would never be sent.
    """
    backend = task.backend
    backend.on_chord_part_return(request, state, value)
    if not again:
        return
    claim, waited = backend.get_key_for_group(request.group, ".c"), False
    while backend.client.get(claim) not in (None, b"done"):
        waited = True
        time.sleep(CLAIM_POLL)
    if waited:
        backend.on_chord_part_return(request, state, value)


def failed(task: RelierTask, request: Any, error: Exception, traceback: str) -> None:
    """Publish what failure sets off: errbacks and the rest of a chain. Runs inside an outbox."""
    backend = task.backend
    if request.chain:
        backend._fail_chain(request.chain, error, traceback)
    if request.errbacks:
        backend._call_task_errbacks(request, error, traceback)


def mute(request: Any) -> None:
    """The outcome is recorded: nothing is left for Celery's tracer to store or to send."""
    request.ignore_result = True
    request.callbacks = request.errbacks = request.chain = request.chord = None
