"""The workloads of the application: workers and the resurrector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from infra.topology import environment
from infra.topology.build_redis import NETWORK, image_of, networks, redis_is_up
from infra.topology.workload import FileMount, Kind, Probe, SecretMount, VolumeMount, Workload

if TYPE_CHECKING:
    from infra.topology.model import Pool, Resurrector, Topology

APP_UID = "10001:10001"
SOURCE = FileMount("relier", "/app/relier")
PATIENCE = 10.0  # a probe is a Python program: on a host out of breath it starts late, and nobody should die of that


def user(topology: Topology) -> str:
    """Who the application runs as."""
    return APP_UID if topology.containers else topology.name


def secrets(topology: Topology, workload: str) -> tuple[SecretMount, ...]:
    """The files behind the `*_FILE` variables."""
    return tuple(
        SecretMount(name, reference, environment.secret_path(topology, workload, name))
        for name in environment.secret_names(topology)
        if (reference := environment.reference_of(topology, name))
    )


def volumes(topology: Topology) -> tuple[VolumeMount, ...]:
    """Large checkpoints: the same disk for whoever writes and whoever resumes."""
    part = topology.checkpoints
    if part.backend == "inline":
        return ()
    shared = part.access == "rwx"
    return (VolumeMount("redis_checkpoints", part.dir, part.size, shared=shared, storage_class=part.storage_class),)


def app_networks(topology: Topology) -> tuple[str, ...]:
    """Redis, and the way out that tasks take."""
    return networks(topology, NETWORK, "edge")


def celery(topology: Topology, name: str, pool: Pool) -> tuple[str, ...]:
    """The worker's command line. `%h` is for Celery: the host's name makes the node's name unique."""
    argv = ("celery", "-A", "relier.tasks.app", "worker", "-l", topology.app.log_level.lower(), "-n", f"{name}@%h")
    include = (f"--include={','.join(topology.app.include)}",) if topology.app.include else ()
    return (*argv, "-Q", ",".join(pool.queues), "-P", pool.pool, "-c", str(pool.concurrency), *include)


def probe(topology: Topology, kind: str, name: str) -> tuple[str, ...]:
    """`rl probe`. A container has one worker, a host several: there the node is named (`%h`: the host's name)."""
    return ("rl", "probe", kind, *(() if topology.containers else ("--node", f"{name}@%h")))


def process(topology: Topology, name: str, kind: Kind, size: Pool | Resurrector, argv: tuple[str, ...]) -> Workload:
    """What worker and resurrector have in common: the image, the limits of `size`, secrets, checkpoints and Redis."""
    return Workload(
        name=name,
        kind=kind,
        image=image_of(topology, topology.app.image),
        argv=argv,
        user=user(topology),
        memory=size.memory,
        memory_request=size.memory_request,
        cpus=size.cpus,
        cpu_request=size.cpu_request,
        grace=size.grace,
        secrets=secrets(topology, name),
        volumes=volumes(topology),
        files=(SOURCE,) if topology.app.bind_source else (),
        networks=app_networks(topology),
        depends_on=redis_is_up(topology),
    )


def workers(topology: Topology) -> Iterator[Workload]:
    """One workload a pool. Liveness never asks Redis: its outage must not restart the fleet."""
    for name, pool in topology.workers.items():
        live, ready = probe(topology, "live", name), probe(topology, "ready", name)
        yield replace(
            process(topology, name, "worker", pool, celery(topology, name, pool)),
            pre_stop=pool.pre_stop,
            env=environment.of_worker(topology, name, pool),
            live=Probe(live, every=30.0, timeout=PATIENCE),
            ready=Probe(ready, every=15.0, timeout=PATIENCE, start_period=60.0),
            start=Probe(live, every=5.0, timeout=PATIENCE, failures=24),
            replicas=topology.copies(pool),
            queues=pool.queues,
            concurrency=pool.concurrency,
            connections=pool.links,
        )


def resurrector(topology: Topology) -> Workload:
    """The one process that finds the dead. It has no pulse, so that nothing but its own end restarts it."""
    part, name = topology.resurrector, "resurrector"
    argv = ("rl", "run-resurrector", "--loglevel", loglevel(topology))
    return replace(
        process(topology, name, "resurrector", part, argv),
        env=environment.of_resurrector(topology, name),
        ready=Probe(("rl", "doctor"), every=15.0, timeout=PATIENCE, start_period=60.0),
        update="recreate",
        connections=part.connections,
    )


def loglevel(topology: Topology) -> str:
    """The resurrector knows no level above error."""
    return topology.app.log_level.lower().replace("critical", "error")
