"""Preflight: is this Redis fit to keep the promise? Asks for `INFO` only, so that managed services pass too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from redis.exceptions import AuthenticationError, RedisError, ResponseError

from relier.connection import connect
from relier.errors import PreflightError
from relier.settings import Settings

OLDEST = (6, 2)
WAITAOF_SINCE = (7, 2)


def check(settings: Settings) -> None:
    """Raise `PreflightError` with the first finding, or return when Redis is fit."""
    for finding in findings(settings):
        raise PreflightError(finding)


def findings(settings: Settings) -> Iterator[str]:
    """Every reason to refuse, each one sentence that says what to do."""
    with connect(_hasty(settings)) as client:
        try:
            info = client.info()
        except AuthenticationError as error:
            yield _unreachable(settings, f"it refuses the credentials ({error}); set RELIER_REDIS_PASSWORD")
        except (RedisError, OSError) as error:
            yield _unreachable(settings, _reason(settings, error))
        else:
            yield from _unfit(settings, info | _schedule(client, info))


def _hasty(settings: Settings) -> Settings:
    """The same Redis with timeouts so short that three silent Sentinels in turn still leave time to say so."""
    connect_timeout = 2.0 / max(1, len(settings.redis_sentinel_nodes)) if settings.redis_use_sentinel else 2.0
    return settings.model_copy(update={"redis_socket_timeout": 2.0, "redis_connect_timeout": connect_timeout})


def _unreachable(settings: Settings, reason: str) -> str:
    return f"Relier cannot reach Redis ({settings.endpoint}). {reason[:1].upper()}{reason[1:]}. Refusing to start."


def _reason(settings: Settings, error: Exception) -> str:
    if isinstance(error, ResponseError):
        return f"it answers with an error ({error})"
    if settings.redis_use_sentinel and "No master found" in str(error):
        return (
            f"no Sentinel knows a healthy master named '{settings.redis_sentinel_master_name}'; check "
            "RELIER_REDIS_SENTINEL_MASTER_NAME, RELIER_REDIS_SENTINEL_NODES and RELIER_REDIS_SENTINEL_PASSWORD"
        )
    return f"{type(error).__name__}: {str(error).rstrip('.')}; start Redis or fix RELIER_REDIS_URL"


def version_of(info: dict[str, Any]) -> tuple[int, int]:
    """The Redis version a server is compatible with; Valkey says 7.2 for itself here, which is what counts."""
    major, minor, *_ = str(info.get("valkey_version") or info.get("redis_version", "0.0")).split(".")
    return int(major), int(minor)


def _unfit(settings: Settings, info: dict[str, Any]) -> Iterator[str]:
    version = version_of(info)
    if version < OLDEST:
        yield f"Relier requires Redis 6.2 or newer, but got {version[0]}.{version[1]}. Refusing to start."
    policy = info.get("maxmemory_policy")
    if policy != "noeviction":
        yield (
            f"Relier requires Redis maxmemory-policy='noeviction', but got '{policy}'. "
            "Set it with CONFIG SET maxmemory-policy noeviction (and in redis.conf). Refusing to start."
        )
    if not (info.get("aof_enabled") or info.get("rdb_saves")):
        yield (
            "Relier requires Redis persistence, but this server has neither AOF nor RDB snapshots. "
            "Set appendonly yes (scripts/redis/redis.conf does). Refusing to start."
        )
    if settings.durability == "fsynced" and version < WAITAOF_SINCE:
        yield (
            f"RELIER_DURABILITY=fsynced needs WAITAOF (Redis 7.2 or newer), but this server is "
            f"{version[0]}.{version[1]}. Use replicated or local, or upgrade Redis. Refusing to start."
        )


def _schedule(client: Any, info: dict[str, Any]) -> dict[str, Any]:
    """Snapshots that are planned count as much as those that INFO has seen, if we may ask for the plan."""
    if info.get("aof_enabled"):
        return {}
    try:
        return {"rdb_saves": 1} if client.config_get("save").get("save") else {"rdb_saves": 0}
    except (RedisError, OSError):
        return {}
