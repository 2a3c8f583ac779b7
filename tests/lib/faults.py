"""Kills at exact boundaries of a task's life, from inside the worker, and the supervisor that starts it again.

A worker that includes this module journals the reply to each commit. A task whose id begins with
`<boundary>-<victim>-` has that process killed when it first gets there; a marker file in FAULT_DIR says that it
happened, so that the next incarnation passes.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import redis

from harness.journal import START, Journal
from harness.process import Worker, wait_until

BOUNDARIES = ("popped", "claimed", "started", "done", "committed", "acknowledged")
COMMIT = "commit"
QUICK = ("--without-mingle", "--without-gossip")  # a worker that starts a second sooner
REAP = "import sys; from relier import ledger, phoenix; phoenix.reap(ledger.get_ledger(), sys.argv[1])"


def doomed(boundary: str, victim: str) -> str:
    """The id of a task that has `victim` (child, parent or worker) killed at `boundary`."""
    return f"{boundary}-{victim}-{uuid.uuid4()}"


def reach(boundary: str, task_id: str, *victims: str) -> None:
    """Kill if this task's id asks for it, once. Without victims: any, seen from the process that runs the body."""
    planned, _, rest = task_id.partition("-")
    victim = rest.partition("-")[0]
    if planned != boundary or (victims and victim not in victims) or not _first(task_id):
        return
    os.kill(_pid_of(victim, boundary, task_id), signal.SIGKILL)
    if victim == "parent" or boundary == "acknowledged":
        # The boundary is exact only if this process does nothing more before the death has come through.
        threading.Event().wait(1.0)


def _first(task_id: str) -> bool:
    try:
        (Path(os.environ["FAULT_DIR"]) / task_id).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _pid_of(victim: str, boundary: str, task_id: str) -> int:
    if boundary == "acknowledged" and victim == "child":
        return Journal(os.environ["JOURNAL"]).read().of(task_id, START)[-1].pid
    seen_from_the_body = boundary in ("claimed", "started", "done", "committed")
    return os.getppid() if victim == "parent" and seen_from_the_body else os.getpid()


def _watch_ledger(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def watched(self: Any, name: str, *args: Any, **options: Any) -> Any:
        if name == "claim":
            reach("popped", args[0], "child")
        if name == "commit":
            reach("done", args[0])
        reply = call(self, name, *args, **options)
        if name == "claim" and reply[0] == b"run":
            reach("claimed", args[0])
        if name in ("commit", "fail"):
            Journal(os.environ["JOURNAL"]).write(name, args[0], reply.decode())
        if name == "commit":
            reach("committed", args[0])
        return reply

    return watched


def _watch_broker(qos: Any) -> None:
    append, ack = qos.append, qos.ack

    def watched_append(self: Any, message: Any, delivery_tag: str) -> None:
        append(self, message, delivery_tag)
        reach("popped", message.headers["id"], "parent", "worker")

    def watched_ack(self: Any, delivery_tag: str) -> None:
        message = self._delivered.get(delivery_tag)
        ack(self, delivery_tag)
        if message is not None:
            reach("acknowledged", message.headers["id"])

    qos.append, qos.ack = watched_append, watched_ack


def install() -> None:
    """Wrap what a worker calls at each boundary."""
    from relier import holder
    from relier.ledger import Ledger
    from relier.tasks.broker import LedgerQoS

    Ledger.call = _watch_ledger(Ledger.call)  # type: ignore[method-assign]
    _watch_broker(LedgerQoS)
    if boot := os.environ.get("FAULT_BOOT"):
        # A holder of another boot: nobody on this host can prove its death, as if the host were lost.
        holder._boot = lambda: boot  # type: ignore[assignment]


if "FAULT_DIR" in os.environ:
    install()


def kills(directory: Path) -> int:
    """How many kills have happened."""
    return sum(1 for marker in directory.iterdir() if marker.name.partition("-")[0] in BOUNDARIES)


def replies(journal: Journal, kind: str = COMMIT) -> Counter[tuple[str, str]]:
    """How often the ledger gave which reply to whose commit, as the workers saw it.

    A worker that is killed between the reply and its line in the journal leaves none: `Outcomes` misses nothing.
    """
    return Counter((entry.task_id, entry.extra) for entry in journal.read().entries if entry.kind == kind)


class Outcomes:
    """Every outcome that Redis accepted, as it was published in the same atomic step that wrote the result."""

    def __init__(self, db: redis.Redis, journal: Journal) -> None:
        self.db, self.journal = db, journal
        self.seen: Counter[tuple[str, str]] = Counter()
        self._news = db.pubsub(ignore_subscribe_messages=True)
        self._news.psubscribe("celery-task-meta-*")
        self._news.get_message(timeout=5)

    def poll(self) -> Counter[tuple[str, str]]:
        """How often each (task id, status) was published until now."""
        while message := self._news.get_message():
            self.seen[message["channel"].removeprefix("celery-task-meta-"), json.loads(message["data"])["status"]] += 1
        return self.seen

    def wait(self, ids: Iterable[str], timeout: float, status: str = "SUCCESS") -> None:
        """Wait until each has that outcome."""
        waiting = set(ids)

        def all_in() -> bool:
            seen = self.poll()
            waiting.difference_update([task for task in waiting if seen[task, status]])
            return not waiting

        try:
            wait_until(all_in, timeout, status)
        except TimeoutError:
            starts = self.journal.read().starts
            lost = ", ".join(f"{task} ({starts[task]} starts)" for task in sorted(waiting))
            raise TimeoutError(f"no {status} within {timeout:g} s: {lost}") from None

    def wrongs(self, ids: Iterable[str]) -> list[str]:
        """What is not as it must be after all is done; empty when each task was committed exactly once."""
        ids, seen = list(ids), self.poll()
        found = [f"{task}: {seen[task, 'SUCCESS']} accepted commits" for task in ids if seen[task, "SUCCESS"] != 1]
        found += [f"{task}: no result" for task in ids if not self.db.exists(f"celery-task-meta-{task}")]
        found += [f"{task}: its record is still there" for task in ids if self.db.exists(f"rl:phoenix:{task}")]
        found += [f"{task}: in the DLQ" for task in ids if self.db.hexists("rl:dlq", task)]
        return found

    def result(self, task_id: str) -> Any:
        return json.loads(self.db.get(f"celery-task-meta-{task_id}") or "{}").get("result")


def wait_for_starts(journal: Journal, ids: Iterable[str], timeout: float = 20.0, count: int = 1) -> None:
    """Wait until each body has begun `count` times."""
    wanted = set(ids)

    def begun() -> bool:
        starts = journal.read().starts
        return all(starts[task] >= count for task in wanted)

    wait_until(begun, timeout, f"{len(wanted)} bodies began {count} times")


class Supervisor:
    """What systemd does for a worker: when it died, say so (`reap`) and start it again. Use as a context manager."""

    def __init__(self, worker: Worker, *, reap: bool = True) -> None:
        self.worker, self.reap = worker, reap
        self.deaths = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            if not self.worker.alive:
                self.deaths += 1
                self.worker.kill_tree()
                if self.reap:
                    self._reap()
                self.worker.start()

    def _reap(self) -> None:
        argv = [sys.executable, "-c", REAP, self.worker.node]
        subprocess.run(argv, env=self.worker.env, cwd="/", check=True, timeout=30)

    def __enter__(self) -> Supervisor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)
