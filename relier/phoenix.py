"""Phoenix: finds dead workers, brings their tasks back, and mends what a death can leave behind.

Any number may run at once, because every step is one atomic script; one is enough.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from relier import checkpoint, keys, systemd, telemetry
from relier.figures import figures
from relier.holder import Holder
from relier.ledger import FOREVER, Ledger
from relier.settings import Settings, get_settings

logger = logging.getLogger("relier.phoenix")
RESULT_TTL = 86_400
EXCEEDED = "max_resurrections_exceeded"
PROMOTE_INTERVAL = 0.25
RECLAIM_WINDOW = 5.0
LEASE_TTL = 30.0
LONGEST_GRACE = 60.0
SWEEP_INTERVAL = 600.0
FORGET_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Revival:
    """One task of a dead holder. `verdict` is `requeued`, `quarantined` or `doomed` (its end is to be reported)."""

    task_id: str
    name: str
    verdict: str
    deaths: int


def resurrect(ledger: Ledger, holder: str, *, proven: bool, window: float = 5.0) -> tuple[str, list[Revival]]:
    """One batch of a dead holder's tasks. Returns the script's verdict and what became of each task."""
    settings = ledger.settings
    reply = ledger.call(
        "resurrect",
        holder,
        settings.resurrection_batch_size,
        settings.max_resurrections,
        settings.resurrection_max_queue_depth,
        "1" if proven else "0",
        RESULT_TTL,
        window=window,
    )
    revivals = [
        Revival(task_id.decode(), name.decode(), verdict.decode(), int(deaths))
        for task_id, name, verdict, deaths in zip(*[iter(reply[1:])] * 4, strict=True)
    ]
    _report(holder, revivals)
    return reply[0].decode(), revivals


def _report(holder: str, revivals: list[Revival]) -> None:
    if not revivals:
        return
    logger.warning("Worker death detected; replaying orphaned task. holder=%s tasks=%d", holder, len(revivals))
    logger.info("Acquired resurrection lease holder=%s", holder)
    for revival in revivals:
        if revival.verdict == "requeued":
            logger.info("Resurrected task successfully re-queued. task=%s deaths=%d", revival.task_id, revival.deaths)
            telemetry.event("resurrections", task=revival.name)
        elif revival.verdict == "doomed":
            logger.error(
                "Task ended (%s); a worker reports it. task=%s deaths=%d", EXCEEDED, revival.task_id, revival.deaths
            )
        else:
            logger.error("Task quarantined: %s. task=%s deaths=%d", EXCEEDED, revival.task_id, revival.deaths)
            telemetry.event("dlq", reason=EXCEEDED, task=revival.name)
            telemetry.outcome("failed", revival.name, Holder.parse(holder).node, None, EXCEEDED)


def resurrect_all(ledger: Ledger, holder: str, *, proven: bool, window: float = 5.0) -> list[Revival]:
    """All tasks of a dead holder, batch by batch, with a pause between batches; stops at backpressure."""
    revived: list[Revival] = []
    while True:
        verdict, batch = resurrect(ledger, holder, proven=proven, window=window)
        revived += batch
        if verdict == "backpressure":
            logger.warning("re-queue is full; resurrection of %s waits for the recovery workers.", holder)
        if verdict == "taken" and not proven:
            logger.info("Lease already claimed by another resurrector holder=%s", holder)
        if verdict != "more":
            return revived
        time.sleep(ledger.settings.resurrection_requeue_delay)


def holders(ledger: Ledger) -> list[Holder]:
    """Every holder the ledger knows."""
    return [Holder.parse(member.decode()) for member in ledger.client.zrange(keys.EXPIRY_INDEX, 0, -1)]


def resurrect_process(ledger: Ledger, process: Holder) -> list[Revival]:
    """A process is provably dead: its holder and the generations that it went through."""
    names = {str(process)}
    try:
        names |= {str(other) for other in holders(ledger) if other.same_process(process)}
    except (RedisError, OSError):
        logger.info("Redis is away; the death of %s is reported as soon as it is back.", process)
    return [revival for name in names for revival in resurrect_all(ledger, name, proven=True, window=FOREVER)]


def reap(ledger: Ledger, node: str) -> list[Revival]:
    """A supervisor knows that every process of `node` is gone: bring all of their tasks back at once.

    What the node had fetched and not claimed is only known as "missing", so everything missing is sent again.
    """
    revived = [
        revival
        for holder in holders(ledger)
        if holder.node == node
        for revival in resurrect_all(ledger, str(holder), proven=True)
    ]
    if ids := missing(ledger):
        ledger.call("resend", *ids)
    return revived


def missing(ledger: Ledger, window: float = 5.0) -> list[str]:
    """Queued tasks for which no message waits: fetched and not claimed, by the living or the dead."""
    queues = {queue.decode() for queue in ledger.client.smembers(keys.QUEUES)} | set(keys.ALL_QUEUES)
    return [
        task.decode()
        for queue in sorted(queues)
        for task in ledger.call("missing", queue, ledger.settings.resurrection_batch_size, window=window)
    ]


class Missing:
    """Queued records without a message, and since when; each is sent again after a grace that doubles."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._due: dict[str, tuple[float, float]] = {}

    def overdue(self, ids: Iterable[str], now: float, *, hurry: bool = False) -> list[str]:
        """Those that have been missing for longer than their grace, or all of them in a hurry.

        Forgets those that are not missing any more.
        """
        self._due = {task: self._due.get(task, (now + self._grace, self._grace)) for task in ids}
        late = [task for task, (due, _) in self._due.items() if hurry or due <= now]
        for task in late:
            grace = min(self._due[task][1] * 2, LONGEST_GRACE)
            self._due[task] = (now + grace, grace)
        return late


class Resurrector:
    """The loop behind `rl run-resurrector`."""

    def __init__(self, settings: Settings | None = None, interval: float | None = None) -> None:
        self.settings = settings or get_settings()
        self.interval = interval or self.settings.resurrection_check_interval
        self.ledger = Ledger(self.settings)
        self.stop = threading.Event()
        self._missing = Missing(self.settings.unclaimed_grace)
        self._outage = False
        self._unclaimed: dict[str, tuple[float, float]] = {}
        self._next_sweep = time.monotonic() + SWEEP_INTERVAL

    def run(self) -> None:
        """Scan until `stop` is set. An unreachable Redis is waited for, never a reason to exit."""
        telemetry.watch(lambda: figures(self.ledger.client))
        next_scan = 0.0
        while not self.stop.is_set():
            try:
                pause = self._promote()
                if time.monotonic() >= next_scan:
                    self.scan()
                    systemd.ready()
                    next_scan = time.monotonic() + self.interval
                self.stop.wait(min(pause, max(0.0, next_scan - time.monotonic())))
            except (RedisError, OSError) as error:
                self._mark_outage(error)
                self.stop.wait(0.5)

    def scan(self) -> list[Revival]:
        """One pass: the silent, the provably dead, and records without a message."""
        dead = self._dead()
        revived = [task for holder, proven in dead for task in self._bury(holder, proven=proven)]
        self._resend(hurry=bool(dead))  # what the dead had fetched and not claimed need not wait for its grace
        self._watch(revived)
        telemetry.event("scans")
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + SWEEP_INTERVAL
            checkpoint.sweep()
            self._forget_nodes()
        return revived

    def _forget_nodes(self) -> None:
        """Drop workers that have not reported for a day, with their counters: pod names never come back."""
        client, oldest = self.ledger.client, time.time() - FORGET_SECONDS
        for name, entry in client.hgetall(keys.WORKERS).items():
            if json.loads(entry).get("seen", 0) < oldest:
                node = name.decode()
                client.hdel(keys.WORKERS, node)
                client.delete(*(f"{keys.WORKER_METRIC}{node}:{outcome}" for outcome in ("success", "failed")))

    def _mark_outage(self, error: Exception) -> None:
        if not self._outage:
            logger.warning("Redis is away (%s); waiting for it.", error)
        self._outage = True

    def _promote(self) -> float:
        """Put due tasks into line; returns seconds until it is worth looking again."""
        while self.ledger.call("promote", 1000, window=0)[0] == 1000:
            pass
        return PROMOTE_INTERVAL

    def _dead(self) -> list[tuple[str, bool]]:
        """Holders that are gone, and whether that is proven or only their silence speaks for it."""
        proven = [str(holder) for holder in holders(self.ledger) if holder.provably_dead()]
        return [(holder, True) for holder in proven] + [(holder, False) for holder in self._silent()]

    def _silent(self) -> list[str]:
        ttl = int(self.settings.heartbeat_ttl * 1000)
        gap = int(max(2 * self.interval + 1, self.settings.heartbeat_ttl / 2) * 1000)
        verdict, *rest = self.ledger.call("scan", ttl, gap, "1" if self._outage else "0", window=0)
        if verdict == b"grace":
            self._outage = False
            logger.info("Redis was away; holders have %d ms to report before anyone is called dead.", rest[0])
            return []
        return [holder.decode() for holder in rest]

    def _bury(self, holder: str, *, proven: bool) -> list[Revival]:
        return resurrect_all(self.ledger, holder, proven=proven, window=0)

    def _resend(self, *, hurry: bool) -> None:
        ids = missing(self.ledger, window=0)
        if late := self._missing.overdue(ids, time.monotonic(), hurry=hurry):
            sent = self.ledger.call("resend", *late, window=0)
            logger.info("Sent %d messages again for tasks that nobody claimed.", sent)

    def _watch(self, revived: list[Revival]) -> None:
        """Say so when resurrected tasks find no taker: usually no worker consumes their queue."""
        now = time.monotonic()
        for revival in revived:
            if revival.verdict == "requeued":
                self._unclaimed[revival.task_id] = (now, now + RECLAIM_WINDOW)
        for task, (since, due) in list(self._unclaimed.items()):
            if due > now:
                continue
            state: Any = self.ledger.client.hget(keys.record(task), "state")
            if state == b"queued":
                logger.warning("Resurrected task never claimed - releasing back to scan task=%s", task)
                self._unclaimed[task] = (since, now + LEASE_TTL)
            else:
                del self._unclaimed[task]
