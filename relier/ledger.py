"""The ledger: the only way to change a task's state, one atomic script per transition.

A call is repeated while Redis is away or changes its master, up to a window in seconds; scripts make repeats safe.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError, ResponseError

from relier.connection import connect, connect_async, is_passing
from relier.durability import (
    BARRIER,
    PROBE,
    FsyncUnavailableError,
    confirmed,
    is_repeat,
    unconfirmed,
    wait_command,
)
from relier.errors import DurabilityError
from relier.forks import PerProcess, after_fork
from relier.scripts import Script, load
from relier.settings import Settings, get_settings

FOREVER = float("inf")
PAUSES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)
OnRetry = Callable[[Exception], None]


def _full(error: Exception) -> bool:
    """Redis refuses writes because its memory or its disk is full: a worker waits for that to pass."""
    if isinstance(error, OutOfMemoryError):
        return True
    return isinstance(error, ResponseError) and any(word in str(error) for word in ("OOM", "MISCONF"))


def _patience(error: Exception, window: float, settings: Settings) -> float:
    """A write that stands and only lacks its confirmation is never waited for without end."""
    return min(window, settings.push_retry_window) if isinstance(error, DurabilityError) else window


class Attempts:
    """How often and how long to repeat a call. One per call, made only once something failed."""

    def __init__(self) -> None:
        self._deadlines: dict[bool, float] = {}
        self._made = 0

    def pause(self, error: Exception, window: float, on_retry: OnRetry | None) -> float:
        """Seconds to wait before the next try; raises `error` when the window of its kind is over.

        The first repeat is at once and unannounced: an idle connection that the server closed is no outage.
        """
        now = time.monotonic()
        if now >= self._deadlines.setdefault(isinstance(error, DurabilityError), now + window):
            raise error
        self._made += 1
        if on_retry and self._made > 1:
            on_retry(error)
        return PAUSES[min(self._made, len(PAUSES)) - 1]

    def choose(self, args: tuple[Any, ...], retry_args: tuple[Any, ...] | None) -> tuple[Any, ...]:
        """The first repeat goes out unchanged: as a rule only an idle connection was closed."""
        return retry_args if retry_args and self._made > 1 else args


def _may_repeat(error: RedisError | OSError | DurabilityError) -> bool:
    if isinstance(error, DurabilityError):
        return not isinstance(error, FsyncUnavailableError)
    return is_passing(error)


def _is_stale(connection: Any, pool: Any) -> bool:
    """Behind Sentinel: is this connection open to a node that is no longer the master, as far as we have heard?"""
    master = getattr(pool, "master_address", None)
    return bool(master) and connection.is_connected and (connection.host, connection.port) != master


def _share(settings: Settings) -> int:
    """Half of the connections for threads, half for the event loop: a process may use both."""
    return max(1, settings.redis_max_connections // 2)


class Ledger:
    """Runs scripts from threads. Holds at most half of `redis_max_connections`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client: Any = connect(settings)
        self._slots = threading.BoundedSemaphore(_share(settings))
        self._idle: deque[Any] = deque()
        self._can_fsync = False

    def call(
        self,
        name: str,
        *args: Any,
        window: float = 5.0,
        durability: str = "local",
        on_retry: OnRetry | None = None,
        retry_args: tuple[Any, ...] | None = None,
    ) -> Any:
        """Run a script and return its reply.

        `window`: seconds to go on trying while Redis is away. Raises the last `RedisError` after that, and
        `DurabilityError` when the write stands but was not confirmed as `durability` asks. `on_retry` hears of each
        repeat after the first; `retry_args` then replace `args`.
        """
        script, wait = load(name), wait_command(durability, self.settings)
        attempts: Attempts | None = None
        while True:
            try:
                return self._once(script, args, wait)
            except (RedisError, OSError, DurabilityError) as error:
                if not (_may_repeat(error) or (window == FOREVER and _full(error))):
                    raise
                attempts = attempts or Attempts()
                time.sleep(attempts.pause(error, _patience(error, window, self.settings), on_retry))
                args = attempts.choose(args, retry_args)

    def _once(self, script: Script, args: tuple[Any, ...], wait: tuple[Any, ...] | None) -> Any:
        with self._slots:
            connection = self._connection()
            try:
                self._prepare(connection, wait)
                return _exchange(connection, script, args, wait)
            except BaseException as error:
                if not isinstance(error, ResponseError) or self.settings.redis_use_sentinel:
                    connection.disconnect()
                raise
            finally:
                self._idle.append(connection)

    def _connection(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return self.client.connection_pool.make_connection()

    def _prepare(self, connection: Any, wait: tuple[Any, ...] | None) -> None:
        """Open it to today's master: by itself, a connection that sends reconnects without asking Sentinel."""
        if _is_stale(connection, self.client.connection_pool):
            connection.disconnect()
        if not connection.is_connected:
            connection.connect()
        if wait and wait[0] == "WAITAOF" and not self._can_fsync:
            self._probe(connection)

    def _probe(self, connection: Any) -> None:
        """Asked before the first write, so that a push that cannot be kept as it should be does not exist either."""
        connection.send_command(*PROBE)
        try:
            connection.read_response()
        except ResponseError as error:
            raise FsyncUnavailableError(error) from None
        self._can_fsync = True


def _exchange(connection: Any, script: Script, args: tuple[Any, ...], wait: tuple[Any, ...] | None) -> Any:
    if wait is None:
        connection.send_command("EVALSHA", script.sha, 0, *args)
        try:
            return connection.read_response()
        except NoScriptError:
            connection.send_command("EVAL", script.source, 0, *args)
            return connection.read_response()
    try:
        return _exchange_and_wait(connection, ("EVALSHA", script.sha, 0, *args), wait)
    except NoScriptError:
        return _exchange_and_wait(connection, ("EVAL", script.source, 0, *args), wait)


def _exchange_and_wait(connection: Any, command: tuple[Any, ...], wait: tuple[Any, ...]) -> Any:
    reply, seen = _both(connection, command, wait)
    if is_repeat(reply):
        _, seen = _both(connection, BARRIER, wait)
    if not confirmed(seen, wait):
        raise unconfirmed(wait)
    return reply


def _both(connection: Any, command: tuple[Any, ...], wait: tuple[Any, ...]) -> tuple[Any, Any]:
    """Both replies of a command and its WAIT, sent at once."""
    connection.send_packed_command(connection.pack_commands([command, wait]))
    failure = reply = None
    try:
        reply = connection.read_response()
    except ResponseError as error:
        failure = error
    seen = connection.read_response()
    if failure:
        raise failure
    return reply, seen


class AsyncLedger:
    """Runs scripts from one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = connect_async(settings)
        self._slots = asyncio.Semaphore(_share(settings))
        self._idle: list[Any] = []
        self._can_fsync = False

    async def call(
        self,
        name: str,
        *args: Any,
        window: float = 5.0,
        durability: str = "local",
        on_retry: OnRetry | None = None,
        retry_args: tuple[Any, ...] | None = None,
    ) -> Any:
        """As `Ledger.call`."""
        script, wait = load(name), wait_command(durability, self.settings)
        attempts: Attempts | None = None
        while True:
            try:
                return await self._once(script, args, wait)
            except (RedisError, OSError, DurabilityError) as error:
                if not (_may_repeat(error) or (window == FOREVER and _full(error))):
                    raise
                attempts = attempts or Attempts()
                await asyncio.sleep(attempts.pause(error, _patience(error, window, self.settings), on_retry))
                args = attempts.choose(args, retry_args)

    async def _once(self, script: Script, args: tuple[Any, ...], wait: tuple[Any, ...] | None) -> Any:
        async with self._slots:
            connection = self._idle.pop() if self._idle else self.client.connection_pool.make_connection()
            try:
                await self._prepare(connection, wait)
                return await _exchange_async(connection, script, args, wait)
            except BaseException as error:
                if not isinstance(error, ResponseError) or self.settings.redis_use_sentinel:
                    await connection.disconnect(nowait=True)
                raise
            finally:
                self._idle.append(connection)

    async def _prepare(self, connection: Any, wait: tuple[Any, ...] | None) -> None:
        """As `Ledger._prepare`."""
        if _is_stale(connection, self.client.connection_pool):
            await connection.disconnect(nowait=True)
        if not connection.is_connected:
            await connection.connect()
        if wait and wait[0] == "WAITAOF" and not self._can_fsync:
            await self._probe(connection)

    async def _probe(self, connection: Any) -> None:
        """As `Ledger._probe`."""
        await connection.send_command(*PROBE)
        try:
            await connection.read_response()
        except ResponseError as error:
            raise FsyncUnavailableError(error) from None
        self._can_fsync = True


async def _exchange_async(connection: Any, script: Script, args: tuple[Any, ...], wait: tuple[Any, ...] | None) -> Any:
    for command in (("EVALSHA", script.sha, 0, *args), ("EVAL", script.source, 0, *args)):
        try:
            return await _send_async(connection, command, wait)
        except NoScriptError:
            continue
    raise NoScriptError(f"Redis does not keep the script {script.name}.")


async def _send_async(connection: Any, command: tuple[Any, ...], wait: tuple[Any, ...] | None) -> Any:
    reply, seen = await _both_async(connection, command, wait)
    if wait and is_repeat(reply):
        _, seen = await _both_async(connection, BARRIER, wait)
    if wait and not confirmed(seen, wait):
        raise unconfirmed(wait)
    return reply


async def _both_async(connection: Any, command: tuple[Any, ...], wait: tuple[Any, ...] | None) -> tuple[Any, Any]:
    commands = [command] if wait is None else [command, wait]
    await connection.send_packed_command(connection.pack_commands(commands))
    failure = reply = None
    try:
        reply = await connection.read_response()
    except ResponseError as error:
        failure = error
    seen = await connection.read_response() if wait else None
    if failure:
        raise failure
    return reply, seen


#: This process's ledger. A forked child has one of its own, for connections must not be shared.
get_ledger = PerProcess(lambda: Ledger(get_settings()))


_per_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncLedger] = weakref.WeakKeyDictionary()


def get_async_ledger() -> AsyncLedger:
    """The ledger of the running loop."""
    loop = asyncio.get_running_loop()
    ledger = _per_loop.get(loop)
    if ledger is None:
        ledger = _per_loop[loop] = AsyncLedger(get_settings())
    return ledger


def forget() -> None:
    """Drop this process's ledgers, after a fork or when settings changed in a test."""
    get_ledger.forget()
    _per_loop.clear()


after_fork(forget)
