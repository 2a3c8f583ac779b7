"""The rules behind `rl config validate`: one sentence for whatever does not hold in the settings or in Redis."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from relier.cli.errors import invalid_settings

if TYPE_CHECKING:
    from relier.settings import Settings

PREFIX = "RELIER_"
# What Kubernetes puts into every pod for a Service whose name begins with `relier-`.
SERVICE_LINK = re.compile(r"RELIER_\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_[A-Z]+(_(PROTO|PORT|ADDR))?)?)")
REFUSING = " Refusing to start."
TIMEOUT_MARGIN = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that does not hold. Only an `error` makes the command fail."""

    level: Literal["error", "warning"]
    rule: str
    message: str


def error(rule: str, message: str) -> Finding:
    return Finding("error", rule, message)


def warning(rule: str, message: str) -> Finding:
    return Finding("warning", rule, message)


def findings() -> Iterator[Finding]:
    """All of them. Rules for the live Redis need one that answers."""
    from pydantic import ValidationError

    from relier import preflight
    from relier.settings import get_settings

    yield from _unknown_variables()
    try:
        settings = get_settings()
    except ValidationError as invalid:
        for sentence in invalid_settings(invalid):
            yield error("settings", sentence)
        return
    yield from _settings_rules(settings)
    unfit = list(preflight.findings(settings))
    for sentence in unfit:
        yield error("redis", sentence.removesuffix(REFUSING))
    if not any("cannot reach Redis" in sentence for sentence in unfit):
        yield from _live_rules(settings)


def known_names() -> list[str]:
    from relier.settings import Settings

    return [PREFIX + name.upper() for name in Settings.model_fields]


def nearest(name: str) -> str:
    """` Did you mean X?`, or nothing."""
    close = difflib.get_close_matches(name.upper(), known_names(), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else "; see rl config show for the names."


def _unknown_variables() -> Iterator[Finding]:
    known = set(known_names())
    for place, names in (("the environment", list(os.environ)), (".env", _dotenv_names())):
        for name in sorted(names):
            upper = name.upper()
            if upper.startswith(PREFIX) and upper not in known and not SERVICE_LINK.fullmatch(upper):
                yield error("variables", f"{name} in {place} is no setting of Relier{nearest(name)}")


def _dotenv_names() -> list[str]:
    if not Path(".env").is_file():
        return []
    from dotenv import dotenv_values

    return list(dotenv_values(".env"))


def _settings_rules(settings: Settings) -> Iterator[Finding]:
    needed = 3 * settings.celery_worker_concurrency
    if settings.redis_max_connections < needed:
        yield warning(
            "connections",
            f"RELIER_REDIS_MAX_CONNECTIONS is {settings.redis_max_connections}, but a concurrency of "
            f"{settings.celery_worker_concurrency} may need {needed}; set it to {needed} or more.",
        )
    if settings.soft_timeout >= settings.hard_timeout:
        yield error(
            "timeouts",
            f"RELIER_SOFT_TIMEOUT ({settings.soft_timeout:g} s) must be less than RELIER_HARD_TIMEOUT "
            f"({settings.hard_timeout:g} s).",
        )
    if settings.hard_timeout > settings.idempotency_inflight_ttl - TIMEOUT_MARGIN:
        yield warning(
            "timeouts",
            f"RELIER_HARD_TIMEOUT ({settings.hard_timeout:g} s) should stay {TIMEOUT_MARGIN} s below "
            f"RELIER_IDEMPOTENCY_INFLIGHT_TTL ({settings.idempotency_inflight_ttl} s).",
        )
    if settings.checkpoint_backend == "filesystem" and not os.access(settings.checkpoint_dir, os.W_OK):
        yield error(
            "checkpoints",
            f"RELIER_CHECKPOINT_DIR {settings.checkpoint_dir} is not a folder that can be written here; "
            "create it on storage that all workers share.",
        )


def _live_rules(settings: Settings) -> Iterator[Finding]:
    from relier.connection import connect

    client = connect(settings)
    info = client.info()
    yield from _memory_rules(client, info)
    if settings.redis_use_sentinel:
        yield from _replica_rules(client, info)
        yield from _sentinel_rules(settings)
    yield from _process_rules(settings)


def _config(client: Any, name: str) -> str | None:
    """A server setting, or None where CONFIG is forbidden, as it is on managed services."""
    from redis.exceptions import ResponseError

    try:
        value: bytes | str | None = next(iter(client.config_get(name).values()), None)
    except ResponseError:
        return None
    return value.decode() if isinstance(value, bytes) else value


def _memory_rules(client: Any, info: dict[str, Any]) -> Iterator[Finding]:
    if not info.get("aof_enabled"):
        yield warning(
            "persistence",
            "Redis takes snapshots only, so a crash loses what came after the last one; set appendonly yes.",
        )
    elif _config(client, "appendfsync") == "no":
        yield warning("persistence", "Redis has appendfsync no, so a crash may lose many seconds; set everysec.")
    if not info.get("maxmemory"):
        yield warning("memory", "Redis has no maxmemory, so it may be killed for its size; set one, like 2gb.")


def _replica_rules(client: Any, info: dict[str, Any]) -> Iterator[Finding]:
    replicas, wanted = int(info.get("connected_slaves", 0)), _config(client, "min-replicas-to-write")
    if wanted is None:
        wanted = "1" if "min_slaves_good_slaves" in info else "0"
    if not replicas:
        yield error("replicas", "Sentinel is used, but the master has no replica, so there is nothing to promote.")
    if wanted == "0":
        yield error(
            "replicas",
            "The master has min-replicas-to-write 0, so it takes writes that a failover will lose; set it to 1.",
        )
    elif int(wanted) > replicas:
        yield error("replicas", f"The master wants {wanted} replicas but has {replicas}, so it refuses writes.")


def _sentinel_rules(settings: Settings) -> Iterator[Finding]:
    import redis
    from redis.exceptions import RedisError, ResponseError

    from relier.connection import sentinel_credentials

    name, nodes = settings.redis_sentinel_master_name, settings.redis_sentinel_nodes
    for host, port in nodes:
        try:
            sentinel = redis.Redis(host=host, port=port, **sentinel_credentials(settings))
            sentinel.execute_command("SENTINEL", "CKQUORUM", name)
        except ResponseError as failure:
            yield error("sentinel", f"Sentinel {host}:{port} could not fail {name} over: {failure}.")
        except (RedisError, OSError) as failure:
            yield warning("sentinel", f"Sentinel {host}:{port} does not answer ({type(failure).__name__}).")
    if len(nodes) < 3 or len(nodes) % 2 == 0:
        yield warning("sentinel", f"RELIER_REDIS_SENTINEL_NODES names {len(nodes)}; name an odd number, 3 or more.")


def _process_rules(settings: Settings) -> Iterator[Finding]:
    from relier import keys
    from relier.cli import fleet

    online = [row for row in fleet.workers() if row.state == "ONLINE"]
    if not online:
        yield warning("workers", "No worker consumes; start one with celery -A relier.tasks.app worker.")
    consumed = {queue for row in online for queue in row.queues}
    for queue, depth in fleet.depths().items():
        if online and queue not in consumed and (queue in keys.ALL_QUEUES or depth.waiting):
            yield warning("queues", f"No worker consumes {queue} ({depth.waiting} tasks wait); add it to one's -Q.")
    yield from _resurrector_rule(settings)


def _resurrector_rule(settings: Settings) -> Iterator[Finding]:
    from relier.cli.fleet import client

    last = client().get("rl:pulse")
    seconds, micros = client().time()
    age = seconds + micros / 1e6 - int(last) / 1000 if last else None
    if age is None or age > 3 * settings.resurrection_check_interval + 5:
        since = "has ever scanned" if age is None else f"has scanned for {age:.0f} s"
        yield warning("resurrector", f"No resurrector {since}; start one with rl run-resurrector.")
