"""The heartbeat: a thread with a connection of its own, so that a blocked loop or a long `def` body never looks dead.

Now and then it also compares what the ledger says this process holds with what the process really runs. A failover can
roll a commit back; without this check the task would stay "running" in a healthy process for ever.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from redis.exceptions import RedisError

from relier import keys
from relier.forks import PerProcess
from relier.holder import Holder
from relier.ledger import Ledger
from relier.settings import Settings, get_settings

logger = logging.getLogger("relier")
CHECK_EVERY = 3
RETRY_SECONDS = 0.25


def _impatient(settings: Settings) -> Settings:
    """A socket that went silent must cost no more than a part of the TTL, or the holder looks dead."""
    quarter = settings.heartbeat_ttl / 4
    timeouts = ("redis_socket_timeout", "redis_connect_timeout")
    return settings.model_copy(update={name: min(quarter, getattr(settings, name)) for name in timeouts})


class Heartbeat:
    """Keeps one holder alive and true."""

    def __init__(self, node: str) -> None:
        self.holder = Holder.of(node)
        self.running: set[str] = set()
        self._settings = get_settings()
        self._ledger = Ledger(_impatient(self._settings))
        self._suspects: set[str] = set()
        self._wake = threading.Event()
        threading.Thread(target=self._live, name="relier-heartbeat", daemon=True).start()

    def renew(self) -> None:
        """Go on under a new name, after this holder was declared dead while it lived."""
        logger.warning("Holder %s was declared dead but lives; going on as a new one.", self.holder)
        self.holder = self.holder.renewed()
        self._wake.set()

    def _live(self) -> None:
        interval, count = self._settings.heartbeat_ttl / 3.3, 0
        while True:
            try:
                self._beat(check=count % CHECK_EVERY == 0)
                count += 1
                self._wake.wait(interval)
            except (RedisError, OSError) as error:
                logger.debug("Heartbeat not delivered: %s", error)
                self._wake.wait(RETRY_SECONDS)
            self._wake.clear()

    def _beat(self, *, check: bool) -> None:
        holder, expected = str(self.holder), len(self.running)
        ttl = int(self._settings.heartbeat_ttl * 1000)
        held = self._ledger.call("beat", holder, ttl, "1" if check else "0", window=0)
        if check and (held > expected or self._suspects):
            self._compare(holder)

    def _compare(self, holder: str) -> None:
        """A task that the ledger twice says is held here, and that does not run here, is given back."""
        members: Any = self._ledger.client.smembers(keys.held(holder))
        lost = {member.decode() for member in members} - self.running
        if sure := lost & self._suspects:
            logger.warning("The ledger counts %d tasks here that do not run here; handing them off.", len(sure))
            self._ledger.call("handoff", holder, "0", *sure, window=0)
        self._suspects = lost - sure


#: This process's heartbeat for a node name; the first call starts it.
heartbeat = PerProcess(Heartbeat)
