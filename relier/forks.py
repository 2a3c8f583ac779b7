"""What a forked child must not share with its parent: connections, threads, event loops."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


def after_fork(forget: Callable[[], None]) -> None:
    """Call `forget` in every child that this process forks. Where nothing forks, nothing needs forgetting."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forget)


class PerProcess(Generic[T]):
    """One thing per process, made by the first thread that asks, and made anew after a fork.

    `functools.cache` would let a hundred threads that ask at once make a hundred.
    """

    def __init__(self, make: Callable[..., T]) -> None:
        self._make = make
        self.forget()
        after_fork(self.forget)

    def __call__(self, *args: object) -> T:
        thing = self._things.get(args)
        if thing is None:
            with self._lock:
                thing = self._things.get(args) or self._things.setdefault(args, self._make(*args))
        return thing

    def known(self, *args: object) -> T | None:
        """The thing, if it was made already."""
        return self._things.get(args)

    def forget(self) -> None:
        """Drop everything unclosed: after a fork, the connections are the parent's to close."""
        self._things: dict[tuple[object, ...], T] = {}
        self._lock = threading.Lock()
