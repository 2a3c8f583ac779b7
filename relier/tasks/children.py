"""The pool children of a prefork worker, watched by pidfd.

The pool's own exit notice can be five seconds late for a child that replaced another; a pidfd tells at once.
"""

from __future__ import annotations

import logging
import os
import signal
from typing import Any

from relier.holder import Holder
from relier.tasks import undertaker

logger = logging.getLogger("relier")


class Children:
    """Buries each child when it dies, and has the pool replace it."""

    def __init__(self, node: str, pool: Any, hub: Any, before: Children | None = None) -> None:
        self._node = node
        self._pool = pool
        self._hub = hub
        self._watched: dict[int, tuple[Holder, int]] = before._watched if before else {}
        for pid, (_, pidfd) in self._watched.items():
            hub.add_reader(pidfd, self._on_exit, pid)
        self.watch()

    def watch(self) -> None:
        """Begin to watch the children that are new."""
        if not hasattr(os, "pidfd_open"):
            return  # not Linux: the pool's own notices and the heartbeat must do
        for process in list(self._pool._pool):
            if process.pid is not None and process.pid not in self._watched:
                self._add(process.pid)

    def holders(self) -> list[Holder]:
        """The holders that the children are."""
        return [holder for holder, _ in list(self._watched.values())]

    def kill(self) -> list[Holder]:
        """Kill them all; returns the holders they were."""
        holders, watched = [], dict(self._watched)
        self._watched.clear()  # their exit is no death to report
        for pid, (holder, pidfd) in watched.items():
            try:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            except ProcessLookupError:
                logger.debug("Child %d is gone already.", pid)
            holders.append(holder)
        return holders

    def _add(self, pid: int) -> None:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        self._watched[pid] = (Holder.of(self._node, pid), pidfd)
        self._hub.add_reader(pidfd, self._on_exit, pid)

    def _on_exit(self, pid: int) -> None:
        if pid not in self._watched:
            return
        holder, pidfd = self._watched.pop(pid)
        self._hub.remove(pidfd)
        os.close(pidfd)
        undertaker.bury(holder)
        self._pool.maintain_pool()
        self.watch()
