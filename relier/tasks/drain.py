"""One byte that a worker and its pool children share: set, it says that nothing new may be claimed here."""

from __future__ import annotations

import mmap

from celery.exceptions import Ignore

# Anonymous shared memory, made before the pool forks: children see at once what the parent writes.
_flag = mmap.mmap(-1, 1)


def start() -> None:
    """For good: a worker that drains never takes tasks again."""
    _flag[0] = 1


def draining() -> bool:
    """Asks shared memory, so it costs a claim nothing and a pool's children know at once."""
    return _flag[0] == 1


def give_up(error: Exception) -> None:
    """Between two tries of a claim: a worker that drains stops waiting for Redis."""
    if draining():
        raise Ignore() from error
