"""`idempotency_lock`: idempotency under a key of your own choice."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from typing import Any

from redis.exceptions import RedisError

from relier.context import current_run
from relier.envelope import dumps, loads
from relier.errors import FencedError, IdempotencyInFlightError
from relier.ledger import FOREVER, get_async_ledger, get_ledger
from relier.settings import get_settings

__all__ = ["IdempotencyInFlightError", "idempotency_lock"]
logger = logging.getLogger("relier")


class idempotency_lock:
    """Run an operation once per key: `async with idempotency_lock(key, ttl) as lock`, or plain `with`.

    `ttl`: seconds that a committed result stays known (default `RELIER_IDEMPOTENCY_DEFAULT_TTL`). Inside a task the
    claim lives as long as the task's record; elsewhere it is renewed while the block runs. Raises
    `IdempotencyInFlightError` when a twin is running. A clean exit commits the result (None unless one was set), an
    exception releases the key. When a run has been committed, `already_executed` is true and `cached_result` holds its
    value. Leaving raises `FencedError` when the lock was lost meanwhile: then nothing was committed.
    """

    def __init__(self, key: str, ttl: int | None = None) -> None:
        if ttl is not None and ttl <= 0:
            raise ValueError(f"ttl is {ttl}; give the seconds (> 0) that a committed result stays known.")
        self.key = key
        self.ttl = ttl or get_settings().idempotency_default_ttl
        self.already_executed = False
        self.cached_result: Any = None
        run = current_run.get()
        self._owner = run.task_id if run else f"lock-{uuid.uuid4()}"
        self._lease_ms = 0 if run else get_settings().idempotency_inflight_ttl * 1000
        self._result = "null"
        self._left = threading.Event()

    def set_result(self, value: Any) -> None:
        """Stage the value that a clean exit commits. Raises `TypeError` when it is no JSON."""
        self._result = dumps(value)

    def commit(self, value: Any) -> None:
        """Another name for `set_result`."""
        self.set_result(value)

    def _entered(self, reply: list[bytes]) -> idempotency_lock:
        if reply[0] == b"busy":
            raise IdempotencyInFlightError(f"The operation '{self.key}' is in flight elsewhere.")
        if reply[0] == b"done":
            self.already_executed = True
            self.cached_result = loads(reply[1])
        elif self._lease_ms:
            threading.Thread(target=self._renew, name="relier-lock", daemon=True).start()
        return self

    def _renew(self) -> None:
        while not self._left.wait(self._lease_ms / 3000):
            try:
                get_ledger().call("unlock", self.key, self._owner, "renew", "", self._lease_ms)
            except (RedisError, OSError) as error:
                logger.warning("The lock '%s' was not renewed: %s", self.key, error)

    def _ending(self, failed: bool) -> tuple[Any, ...]:
        if failed:
            return (self.key, self._owner, "release", "", 0)
        return (self.key, self._owner, "commit", self._result, self.ttl)

    def _ended(self, reply: bytes, failed: bool) -> None:
        if reply == b"lost" and not failed:
            raise FencedError(f"The lock '{self.key}' was lost while its block ran; the result was not committed.")

    def __enter__(self) -> idempotency_lock:
        return self._entered(get_ledger().call("lock", self.key, self._owner, self._lease_ms))

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._left.set()
        if not self.already_executed:
            reply = get_ledger().call("unlock", *self._ending(kind is not None), window=FOREVER)
            self._ended(reply, kind is not None)

    async def __aenter__(self) -> idempotency_lock:
        return self._entered(await get_async_ledger().call("lock", self.key, self._owner, self._lease_ms))

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._left.set()
        if not self.already_executed:
            call = get_async_ledger().call("unlock", *self._ending(kind is not None), window=FOREVER)
            self._ended(await asyncio.shield(call), kind is not None)
