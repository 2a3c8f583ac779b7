"""Messages to workers that only they can act on: drain, restart, and to stop one running task."""

from __future__ import annotations

from typing import Any

from relier.cli.errors import fail
from relier.holder import Holder

PATIENCE = 3.0


def ask(command: str, node: str, timeout: float = PATIENCE, **arguments: Any) -> str | None:
    """A worker's answer to a control command, or None when it gave none within `timeout` seconds."""
    from relier.tasks.app import celery_app

    control = celery_app.control
    replies = control.broadcast(command, arguments, [node], reply=True, timeout=timeout, limit=1)
    answer: dict[str, str] = replies[0][node] if replies else {}
    if "error" in answer:
        fail(
            f"{node} refused {command.removeprefix('relier_')} ({answer['error']}); does it run this version of Relier?"
        )
    return answer.get("ok")


def stop(task_id: str, holder: str) -> str:
    """Have the holder's worker stop a cancelled task; says what came of it."""
    from relier import keys
    from relier.cli.fleet import client

    process = Holder.parse(holder)
    # A child that has gone on to another task must not be killed for this one.
    moved_on = client().scard(keys.held(holder)) > 0
    answer = ask("relier_stop", process.node, task_id=task_id, pid=process.pid, spare=moved_on)
    return answer or f"{process.node} did not answer; what still runs there goes on, but its outcome will be refused."
