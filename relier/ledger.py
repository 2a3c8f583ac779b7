"""The ledger: the only way to change a task's state, one atomic script per transition.

A call is repeated while Redis is away or changes its master, up to a window in seconds; scripts make repeats safe.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from redis.exceptions import NoScriptError, RedisError, ResponseError

from relier.connection import connect, connect_async, is_passing
from relier.errors import DurabilityError
from relier.scripts import Script, load
from relier.settings import Settings, get_settings

FOREVER = float("inf")
PAUSES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)
OnRetry = Callable[[Exception], None]


class Attempts:
    """How often and how long to repeat a call. One per call, made only once something failed."""

    def __init__(self, window: float) -> None:
        self._deadline = time.monotonic() + window
        self._made = 0

    def pause(self, error: Exception, on_retry: OnRetry | None) -> float:
        """Seconds to wait before the next try; raises `error` when the window is over.

        The first repeat is at once and unannounced: an idle connection that the server closed is no outage.
        """
        if time.monotonic() >= self._deadline:
            raise error
        self._made += 1
        if on_retry and self._made > 1:
            on_retry(error)
        return PAUSES[min(self._made, len(PAUSES)) - 1]

    def choose(self, args: tuple[Any, ...], retry_args: tuple[Any, ...] | None) -> tuple[Any, ...]:
        return retry_args if retry_args and self._made > 1 else args


def wait_command(durability: str, settings: Settings) -> tuple[Any, ...] | None:
    """The command after a write that makes Redis confirm it, or None for `local`."""
    milliseconds = int(settings.durability_timeout * 1000)
    if durability == "replicated":
        return ("WAIT", 1, milliseconds)
    if durability == "fsynced":
        return ("WAITAOF", 1, 1 if settings.redis_use_sentinel else 0, milliseconds)
    return None


def confirmed(reply: Any) -> bool:
    """Did WAIT or WAITAOF count what was asked for?"""
    if isinstance(reply, list):
        return int(reply[0]) >= 1
    return int(reply) >= 1


def _unconfirmed(wait: tuple[Any, ...]) -> DurabilityError:
    return DurabilityError(f"{wait[0]} was not confirmed within {wait[-1]} ms; the call may be repeated safely.")


class Ledger:
    """Runs scripts from threads. Holds at most `redis_max_connections` connections."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client: Any = connect(settings)
        self._slots = threading.BoundedSemaphore(settings.redis_max_connections)
        self._idle: deque[Any] = deque()

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
                if not (isinstance(error, DurabilityError) or is_passing(error)):
                    raise
                attempts = attempts or Attempts(window)
                time.sleep(attempts.pause(error, on_retry))
                args = attempts.choose(args, retry_args)

    def _once(self, script: Script, args: tuple[Any, ...], wait: tuple[Any, ...] | None) -> Any:
        with self._slots:
            connection = self._connection()
            try:
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
    connection.send_packed_command(connection.pack_commands([command, wait]))
    failure = reply = None
    try:
        reply = connection.read_response()
    except ResponseError as error:
        failure = error
    seen = connection.read_response()
    if failure:
        raise failure
    if not confirmed(seen):
        raise _unconfirmed(wait)
    return reply


class AsyncLedger:
    """Runs scripts from one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = connect_async(settings)
        self._slots = asyncio.Semaphore(settings.redis_max_connections)
        self._idle: list[Any] = []

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
                if not (isinstance(error, DurabilityError) or is_passing(error)):
                    raise
                attempts = attempts or Attempts(window)
                await asyncio.sleep(attempts.pause(error, on_retry))
                args = attempts.choose(args, retry_args)

    async def _once(self, script: Script, args: tuple[Any, ...], wait: tuple[Any, ...] | None) -> Any:
        async with self._slots:
            connection = self._idle.pop() if self._idle else self.client.connection_pool.make_connection()
            try:
                return await _exchange_async(connection, script, args, wait)
            except BaseException as error:
                if not isinstance(error, ResponseError) or self.settings.redis_use_sentinel:
                    await connection.disconnect(nowait=True)
                raise
            finally:
                self._idle.append(connection)


async def _exchange_async(connection: Any, script: Script, args: tuple[Any, ...], wait: tuple[Any, ...] | None) -> Any:
    for command in (("EVALSHA", script.sha, 0, *args), ("EVAL", script.source, 0, *args)):
        try:
            return await _send_async(connection, command, wait)
        except NoScriptError:
            continue
    raise NoScriptError(f"Redis does not keep the script {script.name}.")


async def _send_async(connection: Any, command: tuple[Any, ...], wait: tuple[Any, ...] | None) -> Any:
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
    if wait and not confirmed(seen):
        raise _unconfirmed(wait)
    return reply


@lru_cache(maxsize=1)
def get_ledger() -> Ledger:
    """This process's ledger. A fork starts with none, for connections must not be shared."""
    return Ledger(get_settings())


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
    get_ledger.cache_clear()
    _per_loop.clear()


os.register_at_fork(after_in_child=forget)
