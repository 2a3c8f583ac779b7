"""Rules of workers and resurrector: queues, connections, memory, grace, time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from infra.topology.rules.finding import Finding, rule, wrong
from infra.topology.units import size, span
from relier.keys import ALL_QUEUES

if TYPE_CHECKING:
    from infra.topology.model import Pool, Resurrector, Topology

CONNECTIONS_A_TASK = 3
GRACE_BEYOND_DRAIN = 30.0
INFLIGHT_BEYOND_TIMEOUT = 10.0
PROCESS_MEMORY = 64 * 1024**2
CHILD_MEMORY = 32 * 1024**2  # measured: 30 MB of its own before the first task
VISIBILITY_TIMEOUT = 3600.0  # relier.tasks.app has it; a test compares them, so that Celery need not be imported here


@rule
def every_queue_has_a_consumer(topology: Topology) -> Iterator[Finding]:
    """`re-queue` included: what is resurrected must run somewhere."""
    consumed = {queue for pool in topology.workers.values() for queue in pool.queues}
    for queue in ALL_QUEUES:
        if queue not in consumed:
            names = ", ".join(sorted(consumed))
            yield wrong(
                "workers", f"consuming {names}", f"so nobody consumes {queue}", f"add {queue} to a pool's queues"
            )


@rule
def bare_hosts_know_one_name(topology: Topology) -> Iterator[Finding]:
    """Roles read variables, and playbooks folders and units, of that name."""
    if topology.tier == "bare" and topology.name != "relier":
        yield wrong("name", topology.name, "but the playbooks of tier bare know one name", "write relier")


@rule
def a_pool_names_a_queue_once(topology: Topology) -> Iterator[Finding]:
    for name, pool in topology.workers.items():
        if len(set(pool.queues)) < len(pool.queues):
            once = ", ".join(dict.fromkeys(pool.queues))
            yield wrong(f"workers.{name}.queues", ", ".join(pool.queues), "which repeats a queue", f"write {once}")


@rule
def connections_cover_the_concurrency(topology: Topology) -> Iterator[Finding]:
    for name, pool in topology.workers.items():
        needed = CONNECTIONS_A_TASK * pool.concurrency
        if pool.links < needed:
            why = f"below {CONNECTIONS_A_TASK} × concurrency ({needed})"
            yield wrong(f"workers.{name}.connections", pool.links, why, f"write {needed} or more")


@rule
def connections_fit_the_server(topology: Topology) -> Iterator[Finding]:
    wanted = client_connections(topology)
    if wanted > topology.redis.maxclients:
        parts = f"below the sum of all connections ({wanted}, {topology.redis.reserved_clients} of them reserved)"
        yield wrong("redis.maxclients", topology.redis.maxclients, parts, f"write {wanted} or more, or fewer workers")


def client_connections(topology: Topology) -> int:
    """Connections that the deployment may hold to one Redis node at once."""
    pools = sum(topology.copies(pool) * pool.links for pool in topology.workers.values())
    return pools + topology.resurrector.connections + topology.redis.reserved_clients


@rule
def grace_outlasts_the_drain(topology: Topology) -> Iterator[Finding]:
    """A worker that is killed while it drains leaves its tasks to the resurrector."""
    for name, pool in topology.workers.items():
        needed = topology.drain + max(GRACE_BEYOND_DRAIN, pool.pre_stop + 1)
        if pool.grace < needed:
            why = f"too short for a drain of {span(topology.drain)} and a pre_stop of {span(pool.pre_stop)}"
            yield wrong(f"workers.{name}.grace", span(pool.grace), why, f"write {span(needed)} or more")


@rule
def workers_have_memory_to_start(topology: Topology) -> Iterator[Finding]:
    for name, pool in topology.workers.items():
        needed = PROCESS_MEMORY + CHILD_MEMORY * (pool.concurrency if pool.pool == "prefork" else 1)
        if pool.memory < needed:
            why = f"too little for {pool.concurrency} tasks at once"
            yield wrong(f"workers.{name}.memory", size(pool.memory), why, f"write {size(needed)} or more")


@rule
def requests_stay_within_limits(topology: Topology) -> Iterator[Finding]:
    for path, part in processes(topology):
        if part.memory_request and part.memory_request > part.memory:
            limit = size(part.memory)
            yield wrong(
                f"{path}.memory_request",
                size(part.memory_request),
                f"above the limit ({limit})",
                f"write {limit} or less",
            )
        if part.cpu_request and part.cpus and part.cpu_request > part.cpus:
            yield wrong(
                f"{path}.cpu_request", part.cpu_request, f"above cpus ({part.cpus:g})", f"write {part.cpus:g} or less"
            )


def processes(topology: Topology) -> Iterator[tuple[str, Pool | Resurrector]]:
    """Path and part of every process of the application."""
    yield from ((f"workers.{name}", pool) for name, pool in topology.workers.items())
    yield "resurrector", topology.resurrector


@rule
def a_solo_pool_runs_one_task(topology: Topology) -> Iterator[Finding]:
    for name, pool in topology.workers.items():
        if pool.pool == "solo" and pool.concurrency != 1:
            yield wrong(f"workers.{name}.concurrency", pool.concurrency, "but a solo pool runs one task", "write 1")


@rule
def one_resurrector_never_two(topology: Topology) -> Iterator[Finding]:
    part = topology.resurrector
    if part.replicas != 1:
        yield wrong("resurrector.replicas", part.replicas, "but exactly one is deployed", "write 1")
    if part.strategy != "recreate":
        yield wrong("resurrector.strategy", part.strategy, "so two would overlap in an update", "write recreate")


@rule
def the_dead_are_found_in_time(topology: Topology) -> Iterator[Finding]:
    part = topology.resurrector
    if part.interval >= part.heartbeat_ttl:
        why, ttl = "not below resurrector.heartbeat_ttl", span(part.heartbeat_ttl)
        yield wrong("resurrector.interval", span(part.interval), f"{why} ({ttl})", "write 2s, or less than the ttl")


@rule
def timeouts_are_in_order(topology: Topology) -> Iterator[Finding]:
    times = topology.timeouts
    if times.soft >= times.hard:
        why = f"not below timeouts.hard ({span(times.hard)})"
        yield wrong("timeouts.soft", span(times.soft), why, f"write less than {span(times.hard)}")
    if times.longest_task < times.hard:
        why = f"below timeouts.hard ({span(times.hard)})"
        yield wrong("timeouts.longest", span(times.longest_task), why, f"write {span(times.hard)} or more")
    if times.inflight < times.longest_task + INFLIGHT_BEYOND_TIMEOUT:
        least = span(times.longest_task + INFLIGHT_BEYOND_TIMEOUT)
        why = f"too short for a task of {span(times.longest_task)}"
        yield wrong("timeouts.inflight", span(times.inflight), why, f"write {least} or more")


@rule
def settings_take_whole_seconds(topology: Topology) -> Iterator[Finding]:
    for path, value in counted_seconds(topology).items():
        if value != int(value):
            yield wrong(path, span(value), "but must be whole seconds", f"write {span(int(value) + 1)}")


def counted_seconds(topology: Topology) -> dict[str, float]:
    """Spans of settings that are whole numbers, and of scripts whose shell knows no others."""
    found = {"timeouts.inflight": topology.timeouts.inflight, "admission.window": topology.admission.window}
    if part := topology.backup:
        found |= {f"backup.{name}": getattr(part, name) for name in ("every", "keep", "alert_after")}
    return found | ({"drill.every": topology.drill.every} if topology.drill else {})


@rule
def no_task_outlives_its_message(topology: Topology) -> Iterator[Finding]:
    """Past the visibility timeout the broker delivers an unacknowledged message again."""
    longest = topology.timeouts.longest_task
    if longest >= VISIBILITY_TIMEOUT:
        why = f"not below the broker's visibility timeout ({span(VISIBILITY_TIMEOUT)})"
        path = "timeouts.longest" if topology.timeouts.longest else "timeouts.hard"
        yield wrong(path, span(longest), why, "write less, and split longer tasks with checkpoints")


@rule
def limits_fit_the_host(topology: Topology) -> Iterator[Finding]:
    if topology.host_memory is None:
        return
    if topology.tier in ("k8s", "bare") or topology.hosts > 1:
        why = f"but tier {topology.tier} may spread over hosts"
        yield wrong("host_memory", size(topology.host_memory), why, "remove it")
        return
    needed = container_memory(topology)
    if needed > topology.host_memory:
        why = f"below the sum of all limits ({size(needed)})"
        yield wrong("host_memory", size(topology.host_memory), why, "write more, or lower the limits")


def container_memory(topology: Topology) -> int:
    """The sum of every container's limit on a single host."""
    from infra.topology.plan import plan_of

    return plan_of(topology).memory


@rule
def checkpoints_are_shared(topology: Topology) -> Iterator[Finding]:
    """A checkpoint that one worker wrote is read by another, wherever that runs."""
    part = topology.checkpoints
    if part.backend == "filesystem" and part.access != "rwx" and topology.hosts > 1:
        why = f"but workers span {topology.hosts} hosts"
        yield wrong("checkpoints.access", part.access, why, "write rwx and a storage that many hosts write at once")


@rule
def one_engine_is_one_host(topology: Topology) -> Iterator[Finding]:
    if topology.on_docker and topology.hosts != 1:
        yield wrong(
            "hosts", topology.hosts, f"but tier {topology.tier} is one Docker engine", "write 1, or tier k8s or bare"
        )


@rule
def a_host_runs_a_pool_once(topology: Topology) -> Iterator[Finding]:
    """A pool is one systemd unit; a second worker of its kind on a host is another pool."""
    for name, pool in topology.workers.items():
        if topology.tier == "bare" and pool.replicas != 1:
            why = "but tier bare runs each pool once on every host"
            yield wrong(f"workers.{name}.replicas", pool.replicas, why, "write 1, and hosts or concurrency for more")


@rule
def workloads_have_names_of_their_own(topology: Topology) -> Iterator[Finding]:
    for name in topology.workers:
        if name in taken_names(topology):
            yield wrong(f"workers.{name}", "a pool", "but that name belongs to another service", f"write worker-{name}")


def taken_names(topology: Topology) -> set[str]:
    """Names that are not to be had for pools."""
    fixed = {
        "redis",
        "sentinel",
        "resurrector",
        "backup",
        "drill",
        "otel-collector",
        "prometheus",
        "grafana",
        "redis-exporter",
    }
    return fixed | set(topology.redis.nodes) | set(topology.sentinel.nodes if topology.sentinel else ())


@rule
def replicated_needs_a_replica(topology: Topology) -> Iterator[Finding]:
    if topology.durability == "replicated" and not topology.redis.replicas:
        managed = topology.redis.managed
        why = "but redis.managed.replicas is 0" if managed else "but redis.nodes has no replica"
        instead = "write local, or how many it has" if managed else "write local, or add a node and Sentinels"
        yield wrong("durability", "replicated", why, instead)
