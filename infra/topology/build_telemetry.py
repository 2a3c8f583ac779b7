"""The workloads that watch: collector, Prometheus, Grafana and the Redis exporter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from infra.topology import environment
from infra.topology.build_redis import NETWORK, image_of, mounts, networks, redis_is_up
from infra.topology.workload import Dependency, FileMount, Port, Probe, SecretMount, VolumeMount, Workload

if TYPE_CHECKING:
    from infra.topology.model import Topology

FILES = "infra/compose/telemetry"
GRACE = 10.0
DISK = 5 * 1024**3
COLLECTOR_METRICS = 8889
EXPORTER_PORT = 9121
TEXTFILES = "/textfiles"
PROBE = "probe"


def watchers(topology: Topology) -> Iterator[Workload]:
    """All of them that the topology names."""
    part = topology.telemetry
    if part.collector:
        yield collector(topology, part.collector)
    if part.prometheus:
        yield prometheus(topology, part.prometheus)
    if part.grafana:
        yield grafana(topology, part.grafana)
    if part.redis_exporter:
        yield exporter(topology, part.redis_exporter)


def collector(topology: Topology, image: str) -> Workload:
    """Takes OTLP from workers and shows it to Prometheus. Its image has no shell, so no probe runs inside."""
    return Workload(
        name=environment.COLLECTOR,
        kind="collector",
        image=image,
        argv=("--config=/etc/otelcol/config.yaml",),
        user="10001:10001",
        memory=topology.telemetry.memory,
        grace=GRACE,
        files=(FileMount(f"{FILES}/otel-collector.yaml", "/etc/otelcol/config.yaml"),),
        ports=(Port(environment.OTLP_PORT), Port(COLLECTOR_METRICS)),
        networks=networks(topology, "edge"),
    )


def prometheus(topology: Topology, image: str) -> Workload:
    """Keeps what was measured."""
    folder = "/etc/prometheus"
    return Workload(
        name="prometheus",
        kind="prometheus",
        image=image,
        argv=(
            f"--config.file={folder}/prometheus.yml",
            "--storage.tsdb.path=/prometheus",
            "--storage.tsdb.retention.time=15d",
            f"--web.user-assets={TEXTFILES}",  # Prometheus itself serves what backup and drill have written
            "--enable-feature=created-timestamp-zero-ingestion",  # else rate() misses what a new child did first
        ),
        user="65534:65534",
        memory=topology.telemetry.memory,
        grace=GRACE,
        volumes=(VolumeMount("prometheus_data", "/prometheus", DISK), *textfiles(topology)),
        files=(
            FileMount(f"{FILES}/prometheus.yml", f"{folder}/prometheus.yml"),
            FileMount(f"{FILES}/rules.yml", f"{folder}/rules.yml"),
            FileMount(f"{FILES}/targets/{topology.tier}.json", f"{folder}/redis.json"),
        ),
        ports=(Port(9090, topology.telemetry.publish_prometheus),),
        networks=networks(topology, "edge"),
        ready=Probe(("promtool", "check", "healthy", "--url=http://localhost:9090"), every=15.0, start_period=15.0),
    )


def textfiles(topology: Topology) -> Iterator[VolumeMount]:
    """Where backup and drill leave figures that anyone may read; the backups beside them are their owner's alone."""
    if source := topology.backup:
        yield VolumeMount("redis_backups", f"{TEXTFILES}/backup", source.storage, read_only=True)
        if topology.drill:
            yield VolumeMount("drill_scratch", f"{TEXTFILES}/drill", topology.redis.storage, read_only=True)


def grafana(topology: Topology, image: str) -> Workload:
    """Shows it. Without a login only where the stack says so, and then without an administrator."""
    return Workload(
        name="grafana",
        kind="grafana",
        image=image,
        argv=(),
        user="472:0",
        memory=topology.telemetry.memory,
        grace=GRACE,
        env=grafana_environment(topology),
        secrets=mounts(topology, "grafana", "grafana"),
        volumes=(VolumeMount("grafana_data", "/var/lib/grafana", 1024**3),),
        files=(
            FileMount(f"{FILES}/grafana/provisioning", "/etc/grafana/provisioning"),
            FileMount(f"{FILES}/grafana/dashboards", "/etc/grafana/dashboards"),
        ),
        ports=(Port(3000, topology.telemetry.publish_grafana),),
        networks=networks(topology, "edge"),
        depends_on=(Dependency("prometheus", "started"),) if topology.on_docker else (),
        ready=Probe(
            ("wget", "-q", "-O", "/dev/null", "http://localhost:3000/api/health"), every=15.0, start_period=30.0
        ),
    )


def grafana_environment(topology: Topology) -> dict[str, str]:
    """Anonymous viewer, or an administrator whose password is in a file."""
    if topology.telemetry.anonymous:
        return {
            "GF_AUTH_ANONYMOUS_ENABLED": "true",
            "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
            "GF_AUTH_DISABLE_LOGIN_FORM": "true",
            "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true",
        }
    path = environment.secret_path(topology, "grafana", "grafana")
    return {"GF_AUTH_ANONYMOUS_ENABLED": "false", "GF_SECURITY_ADMIN_PASSWORD__FILE": path}


def exporter(topology: Topology, image: str) -> Workload:
    """Redis's own figures, read by the probe's user, without what that user may not ask."""
    passwords = exporter_passwords(topology)
    login = {"REDIS_PASSWORD_FILE": passwords[0].path} if passwords else {}
    login |= {"REDIS_USER": PROBE} if topology.redis.acl else {}
    spared = {"REDIS_EXPORTER_CONFIG_COMMAND": "-", "REDIS_EXPORTER_EXCLUDE_LATENCY_HISTOGRAM_METRICS": "true"}
    first = environment.redis_nodes(topology).partition(",")[0]
    return Workload(
        name="redis-exporter",
        kind="exporter",
        image=image_of(topology, image),
        argv=(),
        user="59000:59000" if topology.containers else "nobody",
        memory=64 * 1024**2,
        grace=GRACE,
        env=environment.ordered({"REDIS_ADDR": f"redis://{first}", **spared, **login}),
        secrets=passwords,
        ports=(Port(EXPORTER_PORT),),
        networks=networks(topology, NETWORK, "edge"),
        depends_on=redis_is_up(topology),
    )


def exporter_passwords(topology: Topology) -> tuple[SecretMount, ...]:
    """The exporter's file maps `redis://user@host:port` to a password; with all nodes in it, each can be asked for."""
    user = f"{PROBE}@" if topology.redis.acl else ""
    keys = tuple(f"redis://{user}{node}" for node in environment.redis_nodes(topology).split(","))
    path = environment.secret_path(topology, "redis-exporter", "exporter")
    return tuple(
        SecretMount("exporter", mount.reference, path, keys) for mount in mounts(topology, "redis-exporter", PROBE)
    )
