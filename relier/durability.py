"""How Redis confirms a write: WAIT for `replicated`, WAITAOF for `fsynced`."""

from __future__ import annotations

from typing import Any

from redis.exceptions import ResponseError

from relier import keys
from relier.errors import DurabilityError
from relier.settings import Settings

# From 7.2 on, WAIT looks no further than the last write of its own connection. A call that repeats one whose reply was
# lost writes nothing, so this write goes before its WAIT and covers everything older.
BARRIER = ("SET", keys.BARRIER, "1")
PROBE = ("WAITAOF", 1, 0, 1)


def wait_command(durability: str, settings: Settings) -> tuple[Any, ...] | None:
    """The command after a write that makes Redis confirm it, or None for `local`."""
    milliseconds = int(settings.durability_timeout * 1000)
    if durability == "replicated":
        return ("WAIT", 1, milliseconds)
    if durability == "fsynced":
        return ("WAITAOF", 1, 1 if settings.redis_use_sentinel else 0, milliseconds)
    return None


def confirmed(reply: Any, wait: tuple[Any, ...]) -> bool:
    """Did WAIT or WAITAOF count as many servers as it was asked for?"""
    counts = reply if isinstance(reply, list) else [reply]
    return all(int(count) >= asked for count, asked in zip(counts, wait[1:], strict=False))


def is_repeat(reply: Any) -> bool:
    """Did the script recognise its own second call, and so write nothing?"""
    return bool((reply[0] if isinstance(reply, list) and reply else reply) == b"again")


def unconfirmed(wait: tuple[Any, ...]) -> DurabilityError:
    """To raise after a WAIT that fell short; the last word of `wait` is its milliseconds."""
    return DurabilityError(f"{wait[0]} was not confirmed within {wait[-1]} ms; the call may be repeated safely.")


class FsyncUnavailableError(DurabilityError):
    """This Redis cannot confirm an fsync."""

    def __init__(self, error: ResponseError) -> None:
        super().__init__(
            "durability='fsynced' needs WAITAOF, which takes Redis 7.2 or newer and appendonly yes; this server "
            f"refuses it ({str(error).split(',')[0]}). Nothing was written. Use 'replicated', 'local' or a newer Redis."
        )
