"""What Relier adds to a Celery worker: preflight, a registry entry and a pulse, burial of dead children, the drain."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from queue import Empty
from typing import Any

from celery import bootsteps, signals
from celery.worker.state import active_requests
from redis.exceptions import RedisError

from relier import keys, preflight, telemetry
from relier.errors import PreflightError
from relier.heartbeat import heartbeat
from relier.ledger import Ledger
from relier.pulse import pulse_file
from relier.settings import get_settings
from relier.tasks import drain
from relier.tasks.broker import BRPOP_SECONDS
from relier.tasks.children import Children
from relier.tasks.request import LedgerRequest

logger = logging.getLogger("relier")
PULSE_SECONDS = 5.0
EVENT_SECONDS = 10.0
MANY_THREADS = 32
STALLED_SECONDS = 30.0
FETCH_SECONDS = BRPOP_SECONDS + 0.2
LAST_SECONDS = 15.0
IDLE_SECONDS = 4.0  # longer than a clean stop takes after the last task


class Guardian(bootsteps.StartStopStep):  # type: ignore[misc]
    """Watches over one worker from its parent process."""

    requires = ("celery.worker.components:Pool", "celery.worker.components:Hub")

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.worker = worker
        self.ticked = time.monotonic()
        _temper(worker)
        self._children: Children | None = None
        self._timer: Any = None
        self._last: Any = None
        self._held: set[str] = set()
        self._counted = threading.Lock()

    def start(self, worker: Any) -> None:
        """Celery's hook, with the pool and the event loop already there; the worker is registered from here on."""
        _guardians.append(self)
        worker.wait_for_soft_shutdown = self.leave_now
        if not type(worker.pool).__module__.endswith("prefork"):
            heartbeat(worker.hostname)  # before its threads race to start it: two would each miss the other's tasks
        self._registration = Registration(self)

    def _count(self, kind: str) -> None:
        """Celery's thread sees a drain that ends by itself, `leave` one that does not; the first one counts."""
        if not self._counted.acquire(blocking=False):
            return
        telemetry.event("drains", type=kind, worker=self.worker.hostname)

    def gone(self) -> None:
        """The worker has stopped: nothing runs here any more."""
        if drain.draining():
            self._count("clean")
        self._registration.end()
        _unregister(self.worker.hostname)

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Runs at every (re)connection, when the hub has forgotten its readers."""
        if self._timer:
            self._timer.cancel()
        self._timer = hub.call_repeatedly(1.0, self._tick)
        pool = getattr(worker.pool, "_pool", None)
        if hasattr(pool, "maintain_pool"):
            self._children = Children(worker.hostname, pool, hub, self._children)

    @property
    def alive(self) -> bool:
        """The event loop turns, or stands still for a good reason: a body (solo), or a Redis that is away."""
        busy = self.solo and bool(heartbeat(self.worker.hostname).running)
        return busy or not self.connected or time.monotonic() - self.ticked < STALLED_SECONDS

    @property
    def connected(self) -> bool:
        """False while the worker waits for its Redis to come back."""
        return getattr(self.worker.consumer, "connection", None) is not None

    @property
    def solo(self) -> bool:
        """The pool whose bodies run in the event loop itself, which stands still meanwhile."""
        return type(self.worker.pool).__module__.endswith("solo")

    def _tick(self) -> None:
        self.ticked = time.monotonic()
        if not drain.draining() and (channel := self._channel()):
            channel.qos.refill_below = 2 * self.worker.concurrency
        if self._children:
            self._children.watch()

    def leave(self, patience: float) -> None:
        """Give back what is not claimed at once, and what is not finished after `patience` seconds; then go."""
        ledger, deadline = Ledger(get_settings()), time.monotonic() + patience
        self._give_back(ledger)
        time.sleep(min(patience, FETCH_SECONDS))  # a fetch that was under way has brought its message by then
        self._give_back(ledger)
        self._wait_until_idle(ledger, deadline)
        holders = self._children.kill() if self._children else [heartbeat(self.worker.hostname).holder]
        self._hang_up()
        self._give_back(ledger)
        self._restore_plain()
        handed = sum(len(_try(ledger, "handoff", str(holder), "1")) for holder in holders)
        self._count("forced" if handed else "clean")
        if handed:
            logger.warning("The drain is over after %g s; %d tasks that still ran were handed off.", patience, handed)
        self.gone()
        telemetry.flush()
        sys.stderr.flush()
        os._exit(0)

    def _wait_until_idle(self, ledger: Ledger, deadline: float) -> None:
        """Normally the worker ends by itself when its last task does. A prefork pool that was sent tasks in the moment
        of the signal may wait for them in vain, so a worker that stays idle is ended.
        """
        idle_since = time.monotonic()
        while (now := time.monotonic()) < min(deadline, idle_since + IDLE_SECONDS):
            if self._busy(ledger):
                idle_since = now
            time.sleep(0.2)

    def _busy(self, ledger: Ledger) -> bool:
        if any(not isinstance(request, LedgerRequest) for request in list(active_requests)):
            return True
        if not self._children:
            return bool(heartbeat(self.worker.hostname).running)
        try:
            return any(ledger.client.scard(keys.held(str(child))) for child in self._children.holders())
        except (RedisError, OSError):
            return True

    def leave_now(self) -> None:
        """In place of Celery's cold shutdown, which cancels task by task and cannot do so on solo and threads."""
        type(self.worker).wait_for_soft_shutdown(self.worker)
        _leave(how="Cold")
        threading.Event().wait(LAST_SECONDS)
        os._exit(1)

    def stop_fetching(self) -> None:
        """Note what is held and what still comes: given back even if it is turned away and acknowledged meanwhile."""
        if (channel := self._channel()) and self._last is None:
            self._last = channel.qos
            self._last.refill_below = 0
            self._held |= set(self._last.unclaimed())
            self._last.append = self._noting(self._last.append)

    def _noting(self, append: Callable[[Any, str], None]) -> Callable[[Any, str], None]:
        def note_and_append(message: Any, delivery_tag: str) -> None:
            """Noted before Celery sees it, which may turn it away."""
            self._held.add(message.headers.get("id", ""))
            append(message, delivery_tag)

        return note_and_append

    def close(self, worker: Any) -> None:
        """The event loop is over. A fetch that it left under way may have taken messages from Redis: read them."""
        if self._last and self._last.channel._in_poll:
            try:
                self._last.channel._brpop_read()
            except (Empty, RedisError, OSError) as error:
                logger.debug("Nothing came with the last fetch: %r", error)

    def _channel(self) -> Any:
        consumer = getattr(self.worker.consumer, "task_consumer", None)
        return consumer.channel if consumer else None

    def _hang_up(self) -> None:
        """A fetch that still waits would be the first to get what is handed off, and nobody would read it."""
        if self._last and (connection := self._last.channel._in_poll):
            connection.disconnect()

    def _give_back(self, ledger: Ledger) -> None:
        _try(ledger, "resend", *self._held)

    def _restore_plain(self) -> None:
        """Messages without a record: kombu puts them back at its own farewell, which does not come any more."""
        try:
            if self._last:
                self._last.restore_unacked()
        except Exception as error:
            logger.warning("Plain Celery messages were not put back (%r); their visibility timeout brings them.", error)


class Registration:
    """Says every few seconds that the worker is there, in Redis and in its pulse file."""

    def __init__(self, guardian: Guardian) -> None:
        self._guardian = guardian
        self._ledger = Ledger(get_settings())
        self._since = time.time()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relier-registration", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Waits up to a second for an entry under way, which would outlive the worker."""
        self._over.set()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        while not self._over.is_set():
            if self._guardian.alive:
                self._pulse()
            pause = PULSE_SECONDS
            try:
                pause = self._register()
            except (RedisError, OSError) as error:
                logger.debug("Registration not delivered: %s", error)
            self._over.wait(pause)

    def _pulse(self) -> None:
        path = pulse_file(get_settings(), self._guardian.worker.hostname)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(f"{os.getpid()} {time.monotonic():.0f}\n")

    def _register(self) -> float:
        """One script: the entry, the queues, and what is due; returns seconds until the next call.

        Promotion here lets retries run without a resurrector too.
        """
        worker = self._guardian.worker
        queues = sorted(worker.app.amqp.queues.consume_from)
        entry = json.dumps(self._entry(worker, queues))
        next_due = self._ledger.call("register", worker.hostname, entry, *queues, window=0)
        if next_due == 0:
            self._ledger.call("promote", 1000, window=0)
        return min(PULSE_SECONDS, max(0.25, next_due / 1000)) if next_due >= 0 else PULSE_SECONDS

    def _entry(self, worker: Any, queues: list[str]) -> dict[str, Any]:
        consuming = self._guardian.connected and getattr(worker.consumer, "task_consumer", None) is not None
        return {
            "queues": queues,
            "pool": type(worker.pool).__module__.rpartition(".")[2],
            "concurrency": worker.concurrency,
            "pid": os.getpid(),
            "since": self._since,
            "seen": time.time(),
            "state": "draining" if drain.draining() else "consuming" if consuming else "connecting",
        }


def _temper(worker: Any) -> None:
    """Fewer idle events than Celery's one in two seconds, and no hoard of messages behind a thousand threads."""
    worker.options["without_mingle"] = True  # two seconds at every start, for revokes that the ledger knows anyway
    worker.options["heartbeat_interval"] = worker.options.get("heartbeat_interval") or EVENT_SECONDS
    if worker.concurrency > MANY_THREADS:
        worker.prefetch_multiplier = min(worker.prefetch_multiplier, 1)


_guardians: list[Guardian] = []


def _try(ledger: Ledger, script: str, *args: str) -> Any:
    """While leaving, a Redis that is away only means that Phoenix finds the tasks instead."""
    try:
        return ledger.call(script, *args, window=2.0)
    except (RedisError, OSError) as error:
        logger.warning("Could not hand everything over (%s); Phoenix brings the rest back.", error)
        return ()


def _unregister(node: str) -> None:
    pulse_file(get_settings(), node).unlink(missing_ok=True)
    try:
        Ledger(get_settings()).client.hdel(keys.WORKERS, node)
    except (RedisError, OSError) as error:
        logger.debug("Registration not withdrawn: %s", error)


def _preflight(sender: Any = None, **_: Any) -> None:
    """Refuse to start on a Redis that cannot keep the promise, in one line and within seconds."""
    try:
        preflight.check(get_settings())
    except PreflightError as error:
        sys.exit(f"RuntimeError: {error}")


def _warm(sender: Any = None, **_: Any) -> None:
    telemetry.warm()


def _flush(sender: Any = None, **_: Any) -> None:
    telemetry.flush()  # a pool child ends without the interpreter's own farewell


def _leave(sender: Any = None, how: str = "Warm", **_: Any) -> None:
    patience = 0.0 if how == "Cold" else get_settings().graceful_shutdown_timeout
    for guardian in _guardians:
        guardian.stop_fetching()
    drain.start()
    for guardian in _guardians:
        threading.Thread(target=guardian.leave, args=(patience,), name="relier-drain", daemon=True).start()


def _gone(sender: Any = None, **_: Any) -> None:
    for guardian in _guardians:
        guardian.gone()


def install(app: Any) -> None:
    """Add Relier's steps and control commands to the workers of an app."""
    from relier.tasks import control  # noqa: F401

    app.steps["worker"].add(Guardian)
    signals.worker_init.connect(_preflight, dispatch_uid="relier.preflight")
    signals.worker_init.connect(_warm, dispatch_uid="relier.warm")
    signals.worker_process_shutdown.connect(_flush, dispatch_uid="relier.flush")
    signals.worker_shutdown.connect(_gone, dispatch_uid="relier.gone")
    signals.worker_shutting_down.connect(_leave, dispatch_uid="relier.drain")
