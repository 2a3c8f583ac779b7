"""Clients for one Redis or for the master behind Sentinel, and the error policy that both colours share.

redis-py's own retries are off: it would repeat any command whose reply was lost. Relier repeats scripts itself,
because every script recognises its own second call; nothing else that writes is ever repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ConnectionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

if TYPE_CHECKING:
    from relier.settings import Settings

# Prefixes of replies that a node gives while roles change hands or data loads: asking again, soon, is right.
PASSING = ("READONLY", "NOREPLICAS", "LOADING", "MASTERDOWN", "TRYAGAIN", "UNBLOCKED")


def is_passing(error: RedisError | OSError) -> bool:
    """True when the same call can succeed a moment later, on this node or on the next master."""
    if isinstance(error, AuthenticationError | AuthorizationError):
        return False
    if isinstance(error, ConnectionError | TimeoutError | ReadOnlyError | OSError):
        return True
    return isinstance(error, ResponseError) and any(word in str(error) for word in PASSING)


def _common(settings: Settings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "socket_timeout": settings.redis_socket_timeout,
        "socket_connect_timeout": settings.redis_connect_timeout,
        "health_check_interval": settings.redis_health_check_interval,
        "socket_keepalive": True,
    }
    if settings.redis_username:
        options["username"] = settings.redis_username
    if password := settings.secret("redis_password"):
        options["password"] = password
    return options


def _tls(settings: Settings) -> dict[str, Any]:
    if not settings.redis_tls:
        return {}
    return {"ssl": True, "ssl_ca_certs": str(settings.redis_tls_ca_file or "") or None}


def encrypted(settings: Settings) -> str:
    """The Redis URL, with TLS when the settings ask for it."""
    url = settings.redis_url
    return url.replace("redis://", "rediss://", 1) if settings.redis_tls and url.startswith("redis://") else url


def _authority(settings: Settings) -> dict[str, Any]:
    """Whose certificates a `rediss://` connection accepts."""
    ca_file = settings.redis_tls_ca_file
    return {"ssl_ca_certs": str(ca_file)} if ca_file and encrypted(settings).startswith("rediss://") else {}


def sentinel_credentials(settings: Settings) -> dict[str, Any]:
    """How to talk to the Sentinels themselves. One that is away is not asked again: the next one is."""
    options: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": settings.redis_connect_timeout,
        "socket_connect_timeout": settings.redis_connect_timeout,
    }
    if settings.redis_sentinel_username:
        options["username"] = settings.redis_sentinel_username
    if password := settings.secret("redis_sentinel_password"):
        options["password"] = password
    return options | _tls(settings)


def connect(settings: Settings) -> redis.Redis:
    """A synchronous client; it opens no connection before its first command."""
    options = _common(settings) | {"retry": Retry(NoBackoff(), 0)}
    if not settings.redis_use_sentinel:
        return redis.Redis.from_url(encrypted(settings), **options, **_authority(settings))
    from redis.sentinel import Sentinel

    sentinel = Sentinel(settings.redis_sentinel_nodes, sentinel_kwargs=sentinel_credentials(settings), **_tls(settings))
    master: redis.Redis = sentinel.master_for(settings.redis_sentinel_master_name, **options, **_tls(settings))
    return master


def connect_async(settings: Settings) -> Any:
    """The same for asyncio; the client belongs to the loop that first uses it."""
    import redis.asyncio as aioredis
    from redis.asyncio.retry import Retry as AsyncRetry

    options = _common(settings) | {"retry": AsyncRetry(NoBackoff(), 0)}
    if not settings.redis_use_sentinel:
        return aioredis.Redis.from_url(encrypted(settings), **options, **_authority(settings))
    from redis.asyncio.sentinel import Sentinel

    credentials = sentinel_credentials(settings) | {"retry": AsyncRetry(NoBackoff(), 0)}
    sentinel = Sentinel(list(settings.redis_sentinel_nodes), sentinel_kwargs=credentials, **_tls(settings))
    return sentinel.master_for(settings.redis_sentinel_master_name, **options, **_tls(settings))
