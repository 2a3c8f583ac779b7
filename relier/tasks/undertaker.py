"""What a worker's parent knows for certain, it tells the ledger at once: a death, a limit that was hit, a revocation.

The calls run on a thread of their own: the parent's event loop must not wait while Redis is away.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from relier import phoenix
from relier.forks import PerProcess
from relier.holder import Holder
from relier.ledger import FOREVER, Ledger
from relier.settings import get_settings

logger = logging.getLogger("relier")
Job = Callable[[Ledger], object]


@PerProcess
def _jobs() -> queue.SimpleQueue[Job]:
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    threading.Thread(target=_work, args=(jobs,), name="relier-undertaker", daemon=True).start()
    return jobs


def _work(jobs: queue.SimpleQueue[Job]) -> None:
    ledger = Ledger(get_settings())
    while True:
        job = jobs.get()
        try:
            job(ledger)
        except Exception:
            logger.exception("The ledger refused what this worker had to tell it")


def bury(holder: Holder) -> None:
    """A child of this worker is dead: what it held goes back into line now."""
    _jobs().put(lambda ledger: phoenix.resurrect_process(ledger, holder))


def quarantine(task_id: str, node: str, pid: int | None, error: Exception, payload: tuple[Any, ...]) -> None:
    """A child ran past Celery's hard time limit: the task ends in the DLQ, whatever happens to the child."""
    if pid is None:
        return
    holder = str(Holder.of(node, pid))
    details = (type(error).__name__, str(error), node)
    _jobs().put(lambda ledger: ledger.call("doom", task_id, holder, *details, *payload, window=FOREVER))


def cancel(task_id: str, reason: str) -> None:
    """A task was revoked or has expired: it leaves the ledger."""
    from relier.tasks import results
    from relier.tasks.app import celery_app

    payload = results.revoked(celery_app, task_id, reason)
    _jobs().put(lambda ledger: ledger.call("cancel", task_id, *payload, window=FOREVER))
