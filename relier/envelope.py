"""The envelope: a task's arguments as they travel, signed together with the task's id and name.

With `RELIER_SECRET_KEY` the signature is an HMAC-SHA256 that names its key; without one it is a plain checksum, which
finds corruption but no forger. With a key, unsigned envelopes and plain Celery messages are refused, unless
`RELIER_ACCEPT_UNSIGNED` is true while a key is being introduced. Keys in `RELIER_SECRET_KEYS_PREVIOUS`, separated by
commas, still verify, for rotation.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from kombu.utils.json import JSONEncoder, object_hook

from relier.errors import PayloadIntegrityError
from relier.settings import get_settings

_encoder = JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def dumps(value: Any) -> str:
    """JSON with Celery's extensions (datetime, UUID, Decimal)."""
    return _encoder.encode(value)


def loads(text: str | bytes) -> Any:
    """The inverse of `dumps`. The hook costs a call per object, so it runs only where a marker occurs."""
    marker = b"__type__" if isinstance(text, bytes) else "__type__"
    return json.loads(text, object_hook=object_hook) if marker in text else json.loads(text)  # type: ignore[operator]


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a task was pushed with. `enqueued_at` is Unix time in seconds."""

    version: int
    args: list[Any]
    kwargs: dict[str, Any]
    enqueued_at: float
    options: dict[str, Any] = field(default_factory=dict)
    trace: dict[str, str] = field(default_factory=dict)

    def encode(self) -> str:
        """The JSON text that is signed; options and trace are left out where there are none."""
        body: dict[str, Any] = {
            "v": self.version,
            "args": self.args,
            "kwargs": self.kwargs,
            "at": self.enqueued_at,
        }
        if self.options:
            body["opt"] = self.options
        if self.trace:
            body["trace"] = self.trace
        return dumps(body)

    @classmethod
    def decode(cls, text: str | bytes) -> Envelope:
        """Raises `PayloadIntegrityError` when the text is no envelope."""
        try:
            body = loads(text)
            return cls(body["v"], body["args"], body["kwargs"], body["at"], body.get("opt", {}), body.get("trace", {}))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PayloadIntegrityError(f"The envelope is unreadable ({type(error).__name__}: {error}).") from None


@dataclass(frozen=True, slots=True)
class Keyring:
    """The signing key and the keys that still verify, by their key ids."""

    current: str | None
    keys: dict[str, bytes]


def key_id(key: str) -> str:
    """The public name of a secret key."""
    return hashlib.sha256(b"relier key id:" + key.encode()).hexdigest()[:8]


@lru_cache(maxsize=1)
def keyring() -> Keyring:
    """The keys of this process's settings, read once: a rotation takes a restart."""
    settings = get_settings()
    current = settings.secret("secret_key")
    previous = (settings.secret("secret_keys_previous") or "").split(",")
    keys = [key for key in (current, *map(str.strip, previous)) if key]
    return Keyring(key_id(current) if current else None, {key_id(key): key.encode() for key in keys})


def _bound(task_id: str, name: str, body: str | bytes) -> bytes:
    raw = body if isinstance(body, bytes) else body.encode()
    return b"\0".join((task_id.encode(), name.encode(), raw))


def sign(task_id: str, name: str, body: str | bytes) -> str:
    """`hmac:<key id>:<hex>` or `sha256:<hex>`; it covers the task's id and name too."""
    ring = keyring()
    if ring.current is None:
        return checksum(task_id, name, body)
    text = _bound(task_id, name, body)
    return f"hmac:{ring.current}:{hmac.digest(ring.keys[ring.current], text, 'sha256').hex()}"


def checksum(task_id: str, name: str, body: str | bytes) -> str:
    """`sha256:<hex>`: shows corruption, stops no forger."""
    return "sha256:" + hashlib.sha256(_bound(task_id, name, body)).hexdigest()


def verify(task_id: str, name: str, body: str | bytes, signature: str) -> None:
    """Raises `PayloadIntegrityError` unless this exact task was signed with a key that is still accepted."""
    ring, text = keyring(), _bound(task_id, name, body)
    kind, _, rest = signature.partition(":")
    if kind == "sha256" and (ring.current is None or get_settings().accept_unsigned):
        expected = hashlib.sha256(text).hexdigest()
    elif kind == "sha256":
        raise PayloadIntegrityError(
            "The envelope is not signed, but RELIER_SECRET_KEY is set (RELIER_ACCEPT_UNSIGNED=true lets it pass)."
        )
    else:
        name_of_key, _, rest = rest.partition(":")
        key = ring.keys.get(name_of_key)
        if kind != "hmac" or key is None:
            raise PayloadIntegrityError(f"The envelope is signed with an unknown or retired key ({signature[:13]}).")
        expected = hmac.digest(key, text, "sha256").hex()
    if not hmac.compare_digest(expected.encode(), rest.encode()):
        raise PayloadIntegrityError("The envelope does not match its signature.")


def idempotency_key(name: str, args: Any, kwargs: Any) -> str:
    """The key of an operation: a digest of the task's full name and its arguments, in any keyword order."""
    text = json.dumps([name, args, kwargs], sort_keys=True, separators=(",", ":"), cls=JSONEncoder)
    return f"{name}:{hashlib.sha256(text.encode()).hexdigest()[:32]}"
