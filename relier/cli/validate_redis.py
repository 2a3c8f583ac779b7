"""Rules of `rl config validate` for the live Redis: memory, persistence, replicas, Sentinels, connections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from relier.cli.finding import Finding, error, warning

if TYPE_CHECKING:
    from relier.settings import Settings

FULL = 0.9
# What a replica must have as the master has it: one day it leads.
ALIKE = ("maxmemory", "maxmemory-policy", "appendonly", "appendfsync", "min-replicas-to-write", "maxclients")


def rules(settings: Settings) -> Iterator[Finding]:
    """All of them, for a Redis that answers."""
    from relier.connection import connect

    client = connect(settings)
    info = client.info()
    yield from _persistence(client, info)
    yield from _memory(info)
    yield from _clients(client, info)
    if settings.durability == "replicated" and not info.get("connected_slaves"):
        yield error(
            "durability", "RELIER_DURABILITY is replicated, but Redis has no replica, so every push fails; add one."
        )
    if settings.redis_use_sentinel:
        yield from _replicas(settings, client, info)
        yield from _sentinels(settings)


def config(client: Any, name: str) -> str | None:
    """A server setting, or None where CONFIG is forbidden, as it is on managed services."""
    from redis.exceptions import RedisError

    try:
        value: bytes | str | None = next(iter(client.config_get(name).values()), None)
    except (RedisError, OSError):
        return None
    return value.decode() if isinstance(value, bytes) else value


def _persistence(client: Any, info: dict[str, Any]) -> Iterator[Finding]:
    if not info.get("aof_enabled"):
        yield error(
            "persistence",
            "Redis takes snapshots only, so a crash loses what came after the last one; set appendonly yes.",
        )
    elif config(client, "appendfsync") == "no":
        yield error("persistence", "Redis has appendfsync no, so a crash may lose many seconds; set everysec.")
    if config(client, "no-appendfsync-on-rewrite") == "yes":
        yield error(
            "persistence",
            "Redis has no-appendfsync-on-rewrite yes, so a crash during a rewrite loses all of it; set no.",
        )
    for name, what in (("aof_last_write_status", "append-only file"), ("rdb_last_bgsave_status", "last snapshot")):
        if info.get(name, "ok") != "ok":
            yield error("persistence", f"Redis could not write its {what} ({name} is {info[name]}); look at its disk.")


def _memory(info: dict[str, Any]) -> Iterator[Finding]:
    limit, used = int(info.get("maxmemory") or 0), int(info.get("used_memory") or 0)
    if not limit:
        yield warning("memory", "Redis has no maxmemory, so it may be killed for its size; set one, like 2gb.")
    elif used > FULL * limit:
        yield warning(
            "memory",
            f"Redis uses {used / limit:.0%} of its maxmemory ({limit} bytes), and refuses pushes when it is full; "
            "work the queues off, or raise maxmemory.",
        )


def _clients(client: Any, info: dict[str, Any]) -> Iterator[Finding]:
    idle, most, now = config(client, "timeout"), config(client, "maxclients"), int(info.get("connected_clients", 0))
    if idle not in (None, "0"):
        yield warning("clients", f"Redis has timeout {idle}, so it drops workers that wait for a task; set 0.")
    if most and now > FULL * int(most):
        yield warning(
            "clients", f"Redis has {now} connections of maxclients {most}, and refuses more; raise maxclients."
        )


def _replicas(settings: Settings, client: Any, info: dict[str, Any]) -> Iterator[Finding]:
    found, wanted = int(info.get("connected_slaves", 0)), config(client, "min-replicas-to-write")
    if wanted is None:
        wanted = "1" if "min_slaves_good_slaves" in info else "0"
    if not found:
        yield error("replicas", "Sentinel is used, but the master has no replica, so there is nothing to promote.")
    if wanted == "0":
        yield error(
            "replicas",
            "The master has min-replicas-to-write 0, so it takes writes that a failover will lose; set it to 1.",
        )
    elif int(wanted) > found:
        yield error("replicas", f"The master wants {wanted} replicas but has {found}, so it refuses writes.")
    for number in range(found):
        yield from _replica(settings, client, info.get(f"slave{number}", {}))


def _replica(settings: Settings, master: Any, row: dict[str, Any]) -> Iterator[Finding]:
    """Is it in step, and set as the master is?"""
    import redis
    from redis.exceptions import RedisError

    if not isinstance(row, dict) or "ip" not in row:
        return
    place = f"{row['ip']}:{row['port']}"
    if row.get("state") != "online":
        yield warning("replicas", f"The replica {place} is not in step yet (its state is {row.get('state')}).")
    try:
        with redis.Redis(host=row["ip"], port=int(row["port"]), **_login(settings)) as replica:
            replica.ping()
            for name in ALIKE:
                ours, theirs = config(master, name), config(replica, name)
                if None not in (ours, theirs) and ours != theirs:
                    yield error(
                        "replicas",
                        f"The replica {place} has {name} {theirs}, the master {ours}; "
                        "after a failover the replica's holds, so set both alike.",
                    )
    except (RedisError, OSError) as failure:
        yield warning("replicas", f"The replica {place} does not answer from here ({type(failure).__name__}).")


def _login(settings: Settings) -> dict[str, Any]:
    """How to talk to one data node: as to a Sentinel, but as the application's user."""
    from relier.connection import sentinel_credentials

    login = {"username": settings.redis_username, "password": settings.secret("redis_password")}
    return {**sentinel_credentials(settings), **login}


def _sentinels(settings: Settings) -> Iterator[Finding]:
    nodes = settings.redis_sentinel_nodes
    told: dict[str, str] = {}
    for host, port in nodes:
        yield from _sentinel(settings, host, port, told)
    if len(set(told.values())) > 1:
        said = ", ".join(f"{place} says {leader}" for place, leader in told.items())
        yield error("sentinel", f"The Sentinels do not agree on the master: {said}.")
    if len(nodes) < 3 or len(nodes) % 2 == 0:
        yield warning("sentinel", f"RELIER_REDIS_SENTINEL_NODES names {len(nodes)}; name an odd number, 3 or more.")


def _sentinel(settings: Settings, host: str, port: int, told: dict[str, str]) -> Iterator[Finding]:
    import redis
    from redis.exceptions import RedisError, ResponseError

    from relier.connection import sentinel_credentials

    name, place = settings.redis_sentinel_master_name, f"{host}:{port}"
    try:
        with redis.Redis(host=host, port=port, **sentinel_credentials(settings)) as sentinel:
            leader = sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
            if leader:
                told[place] = ":".join(str(part.decode() if isinstance(part, bytes) else part) for part in leader)
            sentinel.execute_command("SENTINEL", "CKQUORUM", name)
    except ResponseError as failure:
        yield error("sentinel", f"Sentinel {place} could not fail {name} over: {failure}.")
    except (RedisError, OSError) as failure:
        yield warning("sentinel", f"Sentinel {place} does not answer ({type(failure).__name__}).")
