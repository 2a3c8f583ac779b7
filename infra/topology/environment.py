"""The `RELIER_*` variables of each process, as the topology decides them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.topology.units import number

if TYPE_CHECKING:
    from infra.topology.model import Managed, Pool, Topology

COLLECTOR = "otel-collector"
OTLP_PORT = 4317
APP_USER = "app"
SECRETS_DIR = {"dev": "/run/secrets", "prod": "/run/secrets", "k8s": "/run/secrets/relier"}

#: Variables that a stack may not set itself, and the path that decides them.
OWNED = {
    "RELIER_REDIS_URL": "redis.nodes",
    "RELIER_REDIS_URL_FILE": "redis.managed.url",
    "RELIER_REDIS_USERNAME": "redis.acl",
    "RELIER_REDIS_PASSWORD": "secrets.redis",
    "RELIER_REDIS_PASSWORD_FILE": "secrets.redis",
    "RELIER_REDIS_MAX_CONNECTIONS": "workers.NAME.connections",
    "RELIER_REDIS_USE_SENTINEL": "sentinel",
    "RELIER_REDIS_SENTINEL_NODES": "sentinel.nodes",
    "RELIER_REDIS_SENTINEL_MASTER_NAME": "sentinel.master_name",
    "RELIER_REDIS_SENTINEL_USERNAME": "secrets.sentinel",
    "RELIER_REDIS_SENTINEL_PASSWORD": "secrets.sentinel",
    "RELIER_REDIS_SENTINEL_PASSWORD_FILE": "secrets.sentinel",
    "RELIER_REDIS_TLS": "redis.managed.url",
    "RELIER_REDIS_TLS_CA_FILE": "redis.managed.ca",
    "RELIER_SECRET_KEY": "secrets.secret_key",
    "RELIER_SECRET_KEY_FILE": "secrets.secret_key",
    "RELIER_SECRET_KEYS_PREVIOUS": "secrets.secret_keys_previous",
    "RELIER_SECRET_KEYS_PREVIOUS_FILE": "secrets.secret_keys_previous",
    "RELIER_DURABILITY": "durability",
    "RELIER_CELERY_WORKER_COUNT": "workers.NAME.replicas",
    "RELIER_CELERY_WORKER_CONCURRENCY": "workers.NAME.concurrency",
    "RELIER_HEARTBEAT_TTL": "resurrector.heartbeat_ttl",
    "RELIER_RESURRECTION_CHECK_INTERVAL": "resurrector.interval",
    "RELIER_IDEMPOTENCY_INFLIGHT_TTL": "timeouts.inflight",
    "RELIER_SOFT_TIMEOUT": "timeouts.soft",
    "RELIER_HARD_TIMEOUT": "timeouts.hard",
    "RELIER_GRACEFUL_SHUTDOWN_TIMEOUT": "drain",
    "RELIER_CHECKPOINT_BACKEND": "checkpoints.backend",
    "RELIER_CHECKPOINT_DIR": "checkpoints.dir",
    "RELIER_ADMISSION_LIMIT": "admission.limit",
    "RELIER_ADMISSION_WINDOW": "admission.window",
    "RELIER_OTEL_ENABLED": "telemetry.enabled",
    "RELIER_OTEL_EXPORTER_OTLP_ENDPOINT": "telemetry.endpoint",
    "RELIER_LOG_LEVEL": "app.log_level",
    "RELIER_RUNTIME_DIR": "tier",
}

#: What Compose takes from `.env` too: neither an address, nor tied to a container's limits, disks or grace.
TUNABLE = frozenset(
    {
        "RELIER_DURABILITY",
        "RELIER_HEARTBEAT_TTL",
        "RELIER_RESURRECTION_CHECK_INTERVAL",
        "RELIER_IDEMPOTENCY_INFLIGHT_TTL",
        "RELIER_SOFT_TIMEOUT",
        "RELIER_HARD_TIMEOUT",
        "RELIER_ADMISSION_LIMIT",
        "RELIER_ADMISSION_WINDOW",
        "RELIER_LOG_LEVEL",
        "RELIER_OTEL_ENABLED",
    }
)

DEBIANS = {"redis": "redis-server.service", "sentinel": "redis-sentinel.service"}


def secret_path(topology: Topology, workload: str, name: str) -> str:
    """Where a process finds a secret: Compose and Kubernetes mount it, systemd loads it as a credential."""
    folder = SECRETS_DIR.get(topology.tier, f"/run/credentials/{unit(topology, workload)}")
    return f"{folder}/{name}"


def unit(topology: Topology, workload: str) -> str:
    """The systemd unit of a workload. Servers run in Debian's own."""
    return DEBIANS.get(workload, f"{topology.name}-{workload}.service")


def address(topology: Topology, node: str) -> str:
    """How others reach a node: a pod through its headless service, anything else by its name."""
    return f"{node}.{node.rpartition('-')[0]}" if topology.tier == "k8s" else node


def redis_nodes(topology: Topology) -> str:
    """`host:port` of all data nodes, the first master first."""
    return ",".join(f"{address(topology, node)}:{topology.redis.port}" for node in topology.redis.nodes)


def sentinel_nodes(topology: Topology) -> str:
    """`host:port` of all Sentinels."""
    part = topology.sentinel
    return ",".join(f"{address(topology, node)}:{part.port}" for node in part.nodes) if part else ""


def client(topology: Topology) -> dict[str, str]:
    """How to find Redis, and as whom."""
    part, managed = topology.sentinel, topology.redis.managed
    if managed:
        return managed_client(managed)
    named = {"RELIER_REDIS_USERNAME": APP_USER} if topology.redis.acl else {}
    if part is None:
        return {"RELIER_REDIS_URL": f"redis://{redis_nodes(topology)}/0", **named}
    return {
        "RELIER_REDIS_USE_SENTINEL": "true",
        "RELIER_REDIS_SENTINEL_NODES": sentinel_nodes(topology),
        "RELIER_REDIS_SENTINEL_MASTER_NAME": part.master_name,
        **named,
    }


def managed_client(part: Managed) -> dict[str, str]:
    """An address that is written down; one that is kept in a secret is a file."""
    address = {} if part.referred else {"RELIER_REDIS_URL": part.url}
    return address | ({"RELIER_REDIS_USERNAME": part.username} if part.username else {})


def secret_names(topology: Topology) -> dict[str, str]:
    """Names of the secrets that an application process reads, and the setting that takes the path."""
    wanted = {
        "redis": "RELIER_REDIS_PASSWORD_FILE",
        "secret_key": "RELIER_SECRET_KEY_FILE",
        "secret_keys_previous": "RELIER_SECRET_KEYS_PREVIOUS_FILE",
    }
    if topology.sentinel:
        wanted["sentinel"] = "RELIER_REDIS_SENTINEL_PASSWORD_FILE"
    if topology.redis.managed:
        wanted |= {"redis_url": "RELIER_REDIS_URL_FILE", "redis_ca": "RELIER_REDIS_TLS_CA_FILE"}
    return {name: variable for name, variable in wanted.items() if reference_of(topology, name)}


def reference_of(topology: Topology, name: str) -> str | None:
    """Where a secret is kept, if it is given. A managed service's address and authority are kept like one."""
    managed = topology.redis.managed
    if name == "redis_ca":
        return managed.ca if managed else None
    if name == "redis_url":
        return managed.url if managed and managed.referred else None
    reference: str | None = getattr(topology.secrets, name)
    return reference


def secret_files(topology: Topology, workload: str) -> dict[str, str]:
    """The `*_FILE` variables of one process."""
    return {var: secret_path(topology, workload, name) for name, var in secret_names(topology).items()}


def behaviour(topology: Topology) -> dict[str, str]:
    """What every process must agree on."""
    times = topology.timeouts
    return {
        "RELIER_DURABILITY": topology.durability,
        "RELIER_HEARTBEAT_TTL": number(topology.resurrector.heartbeat_ttl),
        "RELIER_RESURRECTION_CHECK_INTERVAL": number(topology.resurrector.interval),
        "RELIER_SOFT_TIMEOUT": number(times.soft),
        "RELIER_HARD_TIMEOUT": number(times.hard),
        "RELIER_IDEMPOTENCY_INFLIGHT_TTL": number(times.inflight),
        "RELIER_GRACEFUL_SHUTDOWN_TIMEOUT": number(topology.drain),
        "RELIER_ADMISSION_LIMIT": str(topology.admission.limit),
        "RELIER_ADMISSION_WINDOW": number(topology.admission.window),
        "RELIER_LOG_LEVEL": topology.app.log_level,
    }


def checkpoints(topology: Topology) -> dict[str, str]:
    """Where checkpoints go when they are large."""
    part = topology.checkpoints
    if part.backend == "inline":
        return {"RELIER_CHECKPOINT_BACKEND": "inline"}
    return {"RELIER_CHECKPOINT_BACKEND": "filesystem", "RELIER_CHECKPOINT_DIR": part.dir}


def otlp_endpoint(topology: Topology) -> str | None:
    """Where telemetry goes: the given endpoint, or the collector of this deployment."""
    part = topology.telemetry
    return part.endpoint or (f"http://{COLLECTOR}:{OTLP_PORT}" if part.collector else None)


def telemetry(topology: Topology) -> dict[str, str]:
    """On or off, and where to."""
    if not topology.telemetry.enabled:
        return {"RELIER_OTEL_ENABLED": "false"}
    return {
        "RELIER_OTEL_ENABLED": "true",
        "RELIER_OTEL_EXPORTER_OTLP_ENDPOINT": otlp_endpoint(topology) or "",
    }


def runtime(topology: Topology) -> dict[str, str]:
    """Pulse files: a unit's own /tmp would hide them from probes that run outside it."""
    return {} if topology.containers else {"RELIER_RUNTIME_DIR": f"/run/{topology.name}/pulse"}


def common(topology: Topology) -> dict[str, str]:
    """What workers and resurrector share; without secrets, whose place depends on the process."""
    parts = (client, behaviour, checkpoints, telemetry, runtime)
    return {name: value for part in parts for name, value in part(topology).items()} | dict(topology.env)


def of_worker(topology: Topology, name: str, pool: Pool) -> dict[str, str]:
    """All variables of a worker. Not the fleet's size: no worker reads it, and to scale one pool would restart all."""
    return ordered(
        common(topology)
        | secret_files(topology, name)
        | {
            "RELIER_CELERY_WORKER_CONCURRENCY": str(pool.concurrency),
            "RELIER_REDIS_MAX_CONNECTIONS": str(pool.links),
        }
    )


def of_resurrector(topology: Topology, name: str) -> dict[str, str]:
    """All variables of the resurrector."""
    links = {"RELIER_REDIS_MAX_CONNECTIONS": str(topology.resurrector.connections)}
    return ordered(common(topology) | secret_files(topology, name) | links)


def ordered(variables: dict[str, str]) -> dict[str, str]:
    """By name, so that what is emitted never changes without a reason."""
    return dict(sorted(variables.items()))
