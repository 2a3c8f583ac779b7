"""The workloads of Redis: data nodes, Sentinels, backup and drill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from infra.topology import environment
from infra.topology.units import milliseconds, number
from infra.topology.workload import Dependency, FileMount, Port, Probe, SecretMount, VolumeMount, Workload

if TYPE_CHECKING:
    from infra.topology.model import Backup, Drill, Sentinel, Topology

REDIS_UID = "999:999"
HOME = "/etc/relier"
SCRIPTS = "scripts/redis"
DATA = "/data"
NETWORK = "data"
# `redis-cli` ends with 0 whatever the answer is, so the answer is read. Passwords come from files.
ASK = "timeout 4 redis-cli {options}-p {port} {command} | {reading}"
LOGIN = 'REDISCLI_AUTH="$(cat {secret})" '
ANSWERS = 'grep -qE "^({})"'
# A server that refuses is alive: its disk is full, a script runs long, or its password's file is newer than itself.
ALIVE = ANSWERS.format("PONG|LOADING|MASTERDOWN|MISCONF|BUSY|NOAUTH|WRONGPASS")
READY = ANSWERS.format("PONG")
# Where pods are rolled by readiness, a Sentinel must see the master with its password; of a node `entrypoint` knows.
SEES = "grep -x -A 1 flags | grep -qx master"
PATIENCE = 10.0  # it asks all Sentinels, and one that is gone does not answer at once
LOADING = 600.0  # a node with much data reads that long before it answers
LEAST = 128 * 1024**2  # of what runs Redis' programs, however little the data may be
# Under an ACL each user takes a password of its own, or shares the one it falls back to.
USERS = ("probe",)
SECOND = ("redis_second", "sentinel_second")  # accepted too, while pods with the old and the new one run side by side
FALLBACK = {"replica": "redis", "backup": "redis", "probe": "redis"}


def user(topology: Topology) -> str:
    """Who Redis runs as: the image's user, or the distribution's."""
    return REDIS_UID if topology.containers else "redis"


def image_of(topology: Topology, reference: str | None) -> str | None:
    """What a container is made from. A host takes the distribution's packages instead."""
    return reference if topology.containers else None


def networks(topology: Topology, *names: str) -> tuple[str, ...]:
    """Compose has networks; elsewhere addresses and policies do their work."""
    return names if topology.on_docker else ()


def mount(topology: Topology, workload: str, name: str) -> Iterator[SecretMount]:
    """A secret as a file, or the one it falls back to, or nothing."""
    secrets = topology.secrets
    if reference := getattr(secrets, name) or getattr(secrets, FALLBACK.get(name, name)):
        yield SecretMount(name, reference, environment.secret_path(topology, workload, name))


def mounts(topology: Topology, workload: str, *names: str) -> tuple[SecretMount, ...]:
    """Several secrets."""
    return tuple(found for name in names for found in mount(topology, workload, name))


def scripts(*names: str) -> tuple[FileMount, ...]:
    """Files of `scripts/redis`, where the images expect them."""
    return tuple(FileMount(f"{SCRIPTS}/{name}", f"{HOME}/{name}") for name in names)


def overlay_source(topology: Topology) -> str:
    """Where the tier's overlay is kept."""
    return f"{SCRIPTS}/overlays/{topology.tier}.conf"


def ask(
    topology: Topology, workload: str, port: int, secret: str, reading: str, command: str = "ping"
) -> tuple[str, ...]:
    """A probe's command line that holds no password."""
    options = f"--user {secret} " if topology.redis.acl and secret in USERS else ""
    login = "".join(LOGIN.format(secret=found.path) for found in mount(topology, workload, secret))
    return ("sh", "-c", login + ASK.format(options=options, port=port, command=command, reading=reading))


def redis_probes(topology: Topology, name: str) -> tuple[Probe, Probe, Probe]:
    """Alive, ready and begun. A pod is ready only once it leads or follows, for an update then takes the next one.

    Docker has one check, which counts no failure in its start period: there that gives the time to load.
    """
    where = (topology, name, topology.redis.port, "probe")
    alive, pong = ask(*where, ALIVE), ask(*where, READY)
    ready, start = Probe(pong, start_period=LOADING), Probe(pong, every=5.0, failures=round(LOADING / 5))
    if topology.tier == "k8s":
        ready = replace(ready, command=(f"{HOME}/entrypoint", "ready"), timeout=PATIENCE)
        start = replace(start, command=alive)
    return Probe(alive), ready, start


def sentinel_probes(topology: Topology, name: str, part: Sentinel) -> tuple[Probe, Probe]:
    """Alive and ready. A pod is ready only while it sees the master."""
    where = (topology, name, part.port, "sentinel")
    seen = ask(*where, SEES, f"sentinel master {part.master_name}")
    ready = seen if topology.tier == "k8s" else ask(*where, READY)
    return Probe(ask(*where, ALIVE)), Probe(ready, start_period=30.0)


def sides(topology: Topology, service: str, nodes: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Workload names with their nodes: a container a node, or one StatefulSet or unit for all of them."""
    if not nodes:
        return
    if topology.on_docker:
        yield from ((node, (node,)) for node in nodes)
    elif topology.tier == "k8s":
        yield nodes[0].rpartition("-")[0], nodes
    else:
        yield service, nodes


def redis_environment(topology: Topology, nodes: tuple[str, ...]) -> dict[str, str]:
    """What the entrypoint of a data node must know before it believes its own file."""
    known = {"REDIS_NODES": environment.redis_nodes(topology), "REDIS_PORT": str(topology.redis.port)}
    if len(nodes) == 1:
        known["REDIS_NODE"] = environment.address(topology, nodes[0])
    if part := topology.sentinel:
        known |= {"REDIS_SENTINELS": environment.sentinel_nodes(topology), "REDIS_MASTER_NAME": part.master_name}
    return environment.ordered(known | {"REDIS_ACL": "true" if topology.redis.acl else "false"})


def data_nodes(topology: Topology) -> Iterator[Workload]:
    """Redis itself."""
    redis = topology.redis
    for place, (name, nodes) in enumerate(sides(topology, "redis", redis.nodes)):
        live, ready, start = redis_probes(topology, name)
        yield Workload(
            name=name,
            kind="redis",
            image=image_of(topology, redis.image),
            argv=(f"{HOME}/entrypoint", "redis"),
            user=user(topology),
            memory=redis.memory,
            grace=redis.grace,
            env=redis_environment(topology, nodes),
            secrets=mounts(topology, name, "redis", "admin", "replica", "backup", "probe", "sentinel", *SECOND),
            volumes=(VolumeMount(f"{name.replace('-', '_')}_data", data_dir(topology), redis.storage),),
            files=redis_files(topology),
            ports=(Port(redis.port, dict(enumerate(redis.publish)).get(place)),),
            networks=networks(topology, NETWORK, *(["edge"] if redis.publish else [])),
            replicas=len(nodes),
            nodes=nodes,
            live=live,
            ready=ready,
            start=start,
        )


def data_dir(topology: Topology, service: str = "redis") -> str:
    """Where a node keeps its files. On a host two servers share a disk, and each locks a directory of its own."""
    return DATA if topology.containers else f"/var/lib/{service}"


def redis_files(topology: Topology) -> tuple[FileMount, ...]:
    """The baseline, the tier's overlay and what starts them."""
    overlay = FileMount(overlay_source(topology), f"{HOME}/overlay.conf")
    return (*scripts("redis.conf"), overlay, *scripts("users.acl.template", "entrypoint"))


def sentinel_environment(topology: Topology, nodes: tuple[str, ...]) -> dict[str, str]:
    """What a Sentinel's file is seeded with, once."""
    part = topology.sentinel
    if part is None:
        return {}
    known = {
        "REDIS_NODES": environment.redis_nodes(topology),
        "REDIS_SENTINELS": environment.sentinel_nodes(topology),
        "REDIS_MASTER_NAME": part.master_name,
        "REDIS_ACL": "true" if topology.redis.acl else "false",
        "SENTINEL_PORT": str(part.port),
        "SENTINEL_QUORUM": str(part.votes),
        "SENTINEL_DOWN_AFTER_MS": number(milliseconds(part.down_after)),
        "SENTINEL_FAILOVER_TIMEOUT_MS": number(milliseconds(part.failover_timeout)),
    }
    named = {"SENTINEL_NODE": environment.address(topology, nodes[0])} if len(nodes) == 1 else {}
    return environment.ordered(known | named)


def sentinels(topology: Topology) -> Iterator[Workload]:
    """Who watches the master."""
    part = topology.sentinel
    if part is None:
        return
    for place, (name, nodes) in enumerate(sides(topology, "sentinel", part.nodes)):
        live, ready = sentinel_probes(topology, name, part)
        yield Workload(
            name=name,
            kind="sentinel",
            image=image_of(topology, part.image),
            argv=(f"{HOME}/entrypoint", "sentinel"),
            user=user(topology),
            memory=part.memory,
            grace=10.0,
            env=sentinel_environment(topology, nodes),
            secrets=mounts(topology, name, "sentinel", "sentinel_second", *([] if topology.redis.acl else ["redis"])),
            volumes=(
                VolumeMount(f"{name.replace('-', '_')}_state", data_dir(topology, "redis-sentinel"), 64 * 1024**2),
            ),
            files=scripts("sentinel.conf", "entrypoint"),
            ports=(Port(part.port, dict(enumerate(part.publish)).get(place)),),
            networks=networks(topology, NETWORK, *(["edge"] if part.publish else [])),
            depends_on=tuple(Dependency(node, "started") for node in topology.redis.nodes if topology.tier == "prod"),
            replicas=len(nodes),
            nodes=nodes,
            live=live,
            ready=ready,
        )


def looped(topology: Topology, script: str, every: float) -> tuple[str, ...]:
    """A sidecar waits by itself; timers and CronJobs call once."""
    waits = ("--every", number(every)) if topology.on_docker else ()
    return (f"{HOME}/{script}", *waits)


def chore(topology: Topology, name: Literal["backup", "drill"], part: Backup | Drill, needs: int) -> Workload:
    """What runs a script of that name now and then, with the tools of Redis's image; never twice at once."""
    return Workload(
        name=name,
        kind=name,
        image=image_of(topology, topology.redis.image),
        argv=looped(topology, name, part.every),
        user=user(topology),
        memory=part.memory or max(needs, LEAST),
        grace=10.0,
        schedule=part.every,
        update="recreate",
    )


def backup_environment(topology: Topology) -> dict[str, str]:
    """Where backups come from, where they go, and how long they stay."""
    part = topology.backup
    if part is None:
        return {}
    known = {
        "BACKUP_DIR": backup_dir(topology, part),
        "BACKUP_KEEP_SECONDS": number(part.keep),
        "BACKUP_ALERT_SECONDS": number(part.alert_after),
        "REDIS_NODES": environment.redis_nodes(topology),
        "REDIS_ACL": "true" if topology.redis.acl else "false",
    }
    if sentinel := topology.sentinel:
        known |= {"REDIS_SENTINELS": environment.sentinel_nodes(topology), "REDIS_MASTER_NAME": sentinel.master_name}
    if place := part.offsite:
        known |= {"OFFSITE_BUCKET": place.bucket} | ({"OFFSITE_ENDPOINT": place.endpoint} if place.endpoint else {})
    return environment.ordered(known)


def backup_dir(topology: Topology, part: Backup) -> str:
    """In a container the image's own data directory: a volume takes its owner from there, and is root's elsewhere."""
    return DATA if topology.containers else part.dir


def backups(topology: Topology) -> Iterator[Workload]:
    """The copy that leaves the machine. Its check loads a key at once; few keys are large, so little is set aside."""
    part = topology.backup
    if part is None:
        return
    job = chore(topology, "backup", part, topology.redis.maxmemory)
    yield replace(
        job,
        image=image_of(topology, part.image or topology.redis.image),
        memory_request=min(LEAST, job.memory) if topology.tier == "k8s" else None,
        grace=30.0,
        env=backup_environment(topology),
        secrets=mounts(topology, "backup", "backup", "sentinel", "offsite"),
        volumes=(VolumeMount("redis_backups", backup_dir(topology, part), part.storage),),
        files=scripts("backup", "restore"),
        networks=networks(topology, NETWORK, *(["edge"] if part.offsite else [])),
        depends_on=redis_is_up(topology),
        ready=has_a_fresh_backup(part) if topology.on_docker else None,
    )


def has_a_fresh_backup(part: Backup) -> Probe:
    """A sidecar runs all day; what matters is whether it has something to show. The first one waits for Redis."""
    minutes = number(-(-part.alert_after // 60))
    newest = f"find {DATA} -maxdepth 1 -name 'relier-*.rdb' -mmin -{minutes} | grep -q ."
    return Probe(("sh", "-c", newest), start_period=LOADING + 60)


def drills(topology: Topology) -> Iterator[Workload]:
    """The rehearsal. It talks to nobody: what it loads, it loads into a server of its own."""
    part, source = topology.drill, topology.backup
    if part is None or source is None:
        return
    yield replace(
        chore(topology, "drill", part, topology.redis.footprint),
        argv=looped(topology, "drill", part.every),
        env=drill_environment(topology, source),
        volumes=drill_volumes(topology, source),
        files=scripts("drill", "restore", "redis.conf"),
        # Started, not healthy: it waits by itself for a fresh backup, and one that is late stops nobody else.
        depends_on=(Dependency("backup", "started"),) if topology.on_docker else (),
    )


def drill_environment(topology: Topology, source: Backup) -> dict[str, str]:
    """Which backups, how old the newest may be, and where there is disk: a restored server in /tmp would be memory."""
    known = {"BACKUP_DIR": source.dir, "BACKUP_ALERT_SECONDS": number(source.alert_after)}
    return environment.ordered(known | ({"TMPDIR": DATA, "METRICS_DIR": DATA} if topology.containers else {}))


def drill_volumes(topology: Topology, source: Backup) -> tuple[VolumeMount, ...]:
    """The backups to read, and room for what is restored."""
    backups_to_read = VolumeMount("redis_backups", source.dir, source.storage, read_only=True)
    room = VolumeMount("drill_scratch", DATA, topology.redis.storage)
    return (backups_to_read, room) if topology.containers else (backups_to_read,)


def redis_is_up(topology: Topology) -> tuple[Dependency, ...]:
    """What a client of Redis waits for, where a tier can wait."""
    if not topology.on_docker:
        return ()
    sentinels_of = topology.sentinel.nodes if topology.sentinel else ()
    return tuple(Dependency(node) for node in (*topology.redis.nodes, *sentinels_of))
