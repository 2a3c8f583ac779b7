"""Rules of Redis and Sentinel: memory, persistence, replicas, quorum."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from infra.topology.rules.finding import Finding, missing, rule, wrong
from infra.topology.units import milliseconds, number, size, span

if TYPE_CHECKING:
    from infra.topology.model import Redis, Topology

FEWEST_SENTINELS = 3
OURS = ("nodes", "memory", "maxmemory")


def undescribed(redis: Redis) -> Iterator[Finding]:
    """What nodes of our own cannot do without. No rule of a topology: there is none to judge yet."""
    for name in OURS:
        if not getattr(redis, name):
            example = json.dumps(type(redis).model_fields[name].examples[0]).strip('"')  # type: ignore[index]
            yield Finding(f"redis.{name}", "missing", f"redis.{name} is missing; add it, such as {example}.")


@rule
def maxmemory_leaves_room_for_a_fork(topology: Topology) -> Iterator[Finding]:
    """Rewriting the append-only file forks, and a fork may double the memory."""
    redis = topology.redis
    if redis.maxmemory > redis.memory // 2:
        why = f"more than half of redis.memory ({size(redis.memory)})"
        yield wrong("redis.maxmemory", size(redis.maxmemory), why, f"write {size(redis.memory // 2)} or less")


@rule
def acknowledged_writes_reach_the_disk(topology: Topology) -> Iterator[Finding]:
    part, path = topology.redis.persistence, "redis.persistence"
    if not part.appendonly:
        yield wrong(f"{path}.appendonly", False, "so a restart loses acknowledged tasks", "write true")
    if part.appendfsync == "no":
        yield wrong(f"{path}.appendfsync", "no", "so a crash loses many seconds", "write everysec or always")
    if part.no_appendfsync_on_rewrite:
        why = "so a crash during a rewrite loses all of it"
        yield wrong(f"{path}.no_appendfsync_on_rewrite", True, why, "write false")


@rule
def backups_have_snapshots(topology: Topology) -> Iterator[Finding]:
    if not topology.redis.persistence.snapshots:
        why = "so a damaged append-only file leaves nothing to start from"
        yield wrong("redis.persistence.snapshots", "empty", why, "write at least one pair such as [3600, 1]")


@rule
def sentinels_are_an_odd_number(topology: Topology) -> Iterator[Finding]:
    """An even number tolerates no more failures than one fewer, and can tie."""
    if topology.sentinel is None:
        return
    count = len(topology.sentinel.nodes)
    if count < FEWEST_SENTINELS or count % 2 == 0:
        better = max(FEWEST_SENTINELS, count + 1)
        yield wrong(
            "sentinel.nodes", f"{count} names", "but an election takes an odd number, 3 or more", f"name {better}"
        )


@rule
def the_quorum_is_a_majority(topology: Topology) -> Iterator[Finding]:
    part = topology.sentinel
    if part and not part.majority <= part.votes <= len(part.nodes):
        why = f"but {len(part.nodes)} Sentinels have a majority of {part.majority}"
        yield wrong("sentinel.quorum", part.votes, why, f"write {part.majority}, or leave it out")


@rule
def nodes_keep_their_addresses(topology: Topology) -> Iterator[Finding]:
    """Docker's names end with their container, and a Sentinel that waits for a resolver elects nobody."""
    subnet, docker = topology.subnet, topology.on_docker
    instead = "write a private one such as 10.87.30.0/24"
    if subnet is None:
        if docker and topology.sentinel:
            yield missing("subnet", "but Sentinels need addresses that outlive a node", instead)
    elif not docker or topology.sentinel is None:
        where = f"tier {topology.tier} gives no addresses" if not docker else "nothing here needs fixed addresses"
        yield wrong("subnet", subnet, f"but {where}", "remove it")
    elif not _private(subnet):
        yield wrong("subnet", subnet, "which is not private", instead)


def _private(subnet: str) -> bool:
    try:
        return IPv4Network(subnet).is_private
    except ValueError:
        return False


@rule
def sentinels_have_someone_to_promote(topology: Topology) -> Iterator[Finding]:
    nodes = len(topology.redis.nodes)
    if topology.redis.managed:
        return
    if topology.sentinel and nodes == 1:
        yield wrong("redis.nodes", "one name", "so Sentinel has no replica to promote", "name 2 or more")
    if not topology.sentinel and nodes > 1:
        yield wrong(
            "redis.nodes",
            f"{nodes} names",
            "but without Sentinels nobody promotes a replica",
            "add sentinel, or name 1",
        )


@rule
def writes_wait_for_replicas(topology: Topology) -> Iterator[Finding]:
    """A master that is cut off must stop taking writes, and one lost replica must not stop them."""
    redis, path = topology.redis, "redis.min_replicas_to_write"
    if redis.min_replicas_to_write > redis.replicas:
        why = f"but there are {redis.replicas} replicas, so every write would be refused"
        yield wrong(path, redis.min_replicas_to_write, why, f"write {min(1, redis.replicas)}")
    elif redis.replicas and not redis.managed and not redis.min_replicas_to_write:
        yield wrong(path, 0, "so a cut-off master takes writes that a failover loses", "write 1")


@rule
def a_failover_is_quicker_than_a_false_death(topology: Topology) -> Iterator[Finding]:
    part, ttl = topology.sentinel, topology.resurrector.heartbeat_ttl
    if part and part.down_after >= ttl:
        why = f"not below resurrector.heartbeat_ttl ({span(ttl)})"
        yield wrong("sentinel.down_after", span(part.down_after), why, f"write less than {span(ttl)}, such as 5s")
    if part and part.failover_timeout < part.down_after:
        why = f"below sentinel.down_after ({span(part.down_after)})"
        yield wrong("sentinel.failover_timeout", span(part.failover_timeout), why, "write 15s or more")


@rule
def sentinel_takes_whole_milliseconds(topology: Topology) -> Iterator[Finding]:
    for name in ("down_after", "failover_timeout") if topology.sentinel else ():
        value = milliseconds(getattr(topology.sentinel, name))
        if value != int(value):
            shown, instead = f"{number(value)}ms", f"write {int(value) + 1}ms"
            yield wrong(f"sentinel.{name}", shown, "but must be whole milliseconds", instead)


@rule
def production_survives_a_node(topology: Topology) -> Iterator[Finding]:
    if topology.tier == "prod" and topology.sentinel is None:
        yield missing("sentinel", "but tier prod survives the loss of a node", "name three Sentinels and two replicas")


@rule
def production_has_backups(topology: Topology) -> Iterator[Finding]:
    for name, part in (("backup", topology.backup), ("drill", topology.drill)):
        if topology.tier == "prod" and part is None:
            yield missing(name, "but tier prod must be able to restore", f"write {name}: {{}} for the defaults")


@rule
def backups_add_up(topology: Topology) -> Iterator[Finding]:
    part = topology.backup
    if part is None:
        return
    if part.keep < part.every:
        why = f"below backup.every ({span(part.every)}), so there would be times without any"
        yield wrong("backup.keep", span(part.keep), why, f"write {span(part.every)} or more, such as 7d")
    if part.alert_after <= part.every:
        why = f"not above backup.every ({span(part.every)}), so it would always alarm"
        yield wrong("backup.alert_after", span(part.alert_after), why, f"write {span(2 * part.every)}")


@rule
def a_backup_has_room_for_its_check(topology: Topology) -> Iterator[Finding]:
    """`redis-check-rdb` loads each key whole, and one long list or hash may be nearly all of the data."""
    part, most = topology.backup, topology.redis.maxmemory
    if part and part.memory and part.memory < most:
        why = f"below redis.maxmemory ({size(most)}), and the check loads each key whole"
        yield wrong("backup.memory", size(part.memory), why, f"write {size(most)} or more, or leave it out")


@rule
def a_drill_has_a_backup_and_room(topology: Topology) -> Iterator[Finding]:
    drill, redis = topology.drill, topology.redis
    if drill and not topology.backup:
        yield missing("backup", "but drill loads the newest one", "write backup: {} for the defaults, or remove drill")
    if drill and drill.memory and drill.memory < redis.footprint:
        why = f"below 1.5 × redis.maxmemory ({size(redis.maxmemory)}), so a full backup does not load"
        yield wrong("drill.memory", size(drill.memory), why, f"write {size(redis.footprint)} or more, or leave it out")


@rule
def node_names_are_names_of_their_own(topology: Topology) -> Iterator[Finding]:
    """Containers and pods need a name each; on plain hosts a Sentinel may live beside a data node."""
    redis, sentinels = topology.redis.nodes, topology.sentinel.nodes if topology.sentinel else ()
    for path, names in (("redis.nodes", redis), ("sentinel.nodes", sentinels)):
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield wrong(path, f"naming {name} twice", "but each node is one", "give every node a name of its own")
    for name in sorted(set(redis) & set(sentinels) if topology.containers else ()):
        yield wrong("sentinel.nodes", f"naming {name}", "which redis.nodes names too", f"write sentinel-{name}")


@rule
def pods_are_numbered_from_zero(topology: Topology) -> Iterator[Finding]:
    """A StatefulSet names its pods so; nothing else would resolve."""
    if topology.tier != "k8s":
        return
    parts = {
        "redis.nodes": topology.redis.nodes,
        "sentinel.nodes": topology.sentinel.nodes if topology.sentinel else (),
    }
    for path, names in parts.items():
        base = names[0].removesuffix("-0") if names else ""
        wanted = tuple(f"{base}-{number}" for number in range(len(names)))
        if names != wanted:
            yield wrong(path, ", ".join(names), "but pods are numbered from 0", f"write {', '.join(wanted)}")


@rule
def ports_do_not_collide(topology: Topology) -> Iterator[Finding]:
    if topology.sentinel and topology.sentinel.port == topology.redis.port:
        yield wrong("sentinel.port", topology.sentinel.port, "which is redis.port too", "write 26379")
