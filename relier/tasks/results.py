"""Celery's results and follow-ups, prepared here so that the commit script can write and send them itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import states
from celery.app.task import Context
from celery.canvas import maybe_signature

if TYPE_CHECKING:
    from relier.tasks.task import RelierTask

Payload = tuple[str | bytes, str | bytes, int]
NOTHING: Payload = ("", "", 0)


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
    """Publish what success sets off: links, the next step of a chain, the part of a chord.

    Runs inside an outbox. The chord's own bookkeeping is Celery's, which counts each header task once.
    """
    app = task.app
    origin = {"parent_id": request.id, "root_id": request.root_id or request.id}
    for callback in request.callbacks or ():
        maybe_signature(callback, app=app).apply_async((value,), **origin)
    if request.chain:
        steps = list(request.chain)
        maybe_signature(steps.pop(), app=app).apply_async((value,), chain=steps, **origin)
    if request.chord:
        task.backend.on_chord_part_return(request, states.SUCCESS, value)


def failed(task: RelierTask, request: Any, error: Exception, traceback: str) -> None:
    """Publish what failure sets off: errbacks, the rest of a chain, the part of a chord. Runs inside an outbox."""
    backend = task.backend
    if request.chord:
        backend.on_chord_part_return(request, states.FAILURE, error)
    if request.chain:
        backend._fail_chain(request.chain, error, traceback)
    if request.errbacks:
        backend._call_task_errbacks(request, error, traceback)


def mute(request: Any) -> None:
    """The outcome is recorded: nothing is left for Celery's tracer to store or to send."""
    request.ignore_result = True
    request.callbacks = request.errbacks = request.chain = request.chord = None
