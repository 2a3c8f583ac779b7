"""The topology: what a deployment is made of. Frozen, strict, and unable to break the rules of `infra.topology.rules`.

Sizes are bytes and durations seconds inside; a stack writes them as `512mb` and `60s`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

from pydantic import Field, model_validator

from infra.topology.model_redis import Managed, Persistence, Redis, Sentinel
from infra.topology.parts import (
    FORMS,
    REFERENCES,
    FrozenMap,
    Module,
    Name,
    Part,
    Path,
    Publish,
    Reference,
    Subnet,
    Text,
    Variable,
    broken_rules,
)
from infra.topology.units import Count, Pause, Seconds, Size
from relier.settings import Durability

__all__ = ["FORMS", "REFERENCES", "Managed", "Part", "Persistence", "Redis", "Sentinel", "Topology"]

Tier = Literal["dev", "prod", "k8s", "bare"]
Queue = Literal["high_priority", "default", "low_priority", "re-queue"]


class App(Part):
    """The application: Relier together with the user's tasks."""

    image: Text | None = Field(
        default=None, description="The image of workers and resurrector.", examples=["relier:1.0.0"]
    )
    package: Text | None = Field(
        default=None, description="What a host installs where there are no images.", examples=["relier==1.0.0"]
    )
    include: tuple[Module, ...] = Field(default=(), description="Modules with tasks.", examples=[["shop.tasks"]])
    bind_source: bool = Field(
        default=False, description="Mount the source into the containers (dev only).", examples=[True]
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(default="INFO", examples=["INFO"])


class Pool(Part):
    """One kind of worker: its queues, its size and how long it may take to leave."""

    queues: tuple[Queue, ...] = Field(min_length=1, examples=[["default"]])
    replicas: Count = Field(default=1, description="How many workers of this kind.", examples=[1])
    concurrency: Count = Field(default=8, description="Tasks at once in one worker.", examples=[8])
    pool: Literal["prefork", "threads", "solo"] = Field(default="prefork", examples=["prefork"])
    connections: Count | None = Field(
        default=None, description="Connections of one worker; default: three a task and a quarter more.", examples=[30]
    )
    memory: Size = Field(default=1024**3, description="The limit of one worker.", examples=["1gb"])
    memory_request: Size | None = Field(default=None, description="What the scheduler sets aside.", examples=["512mb"])
    cpus: float | None = Field(
        default=None, gt=0, le=1024, description="The limit of one worker in CPUs.", examples=[2]
    )
    cpu_request: float | None = Field(default=None, gt=0, le=1024, examples=[0.5])
    grace: Seconds = Field(default=60.0, description="From SIGTERM to SIGKILL.", examples=["60s"])
    pre_stop: Pause = Field(
        default=0.0, description="Pause before SIGTERM, while routes are withdrawn.", examples=["5s"]
    )

    @property
    def links(self) -> int:
        """The connections that are meant."""
        return self.connections or recommended_connections(self.concurrency)


def recommended_connections(concurrency: int) -> int:
    """Three a task (heartbeat, ledger, idempotency) and a quarter more: 15 for 4, 30 for 8."""
    return -(-3 * concurrency * 5 // 4)


class Resurrector(Part):
    """The process that finds dead workers. One, and never two during an update."""

    replicas: int = Field(default=1, examples=[1])
    strategy: Literal["recreate", "rolling"] = Field(default="recreate", examples=["recreate"])
    interval: Seconds = Field(default=2.0, description="From scan to scan.", examples=["2s"])
    heartbeat_ttl: Seconds = Field(default=10.0, description="Silence after which a worker is dead.", examples=["10s"])
    connections: Count = Field(default=10, examples=[10])
    memory: Size = Field(default=256 * 1024**2, examples=["256mb"])
    memory_request: Size | None = Field(default=None, examples=["128mb"])
    cpus: float | None = Field(default=None, gt=0, le=1024, examples=[0.5])
    cpu_request: float | None = Field(default=None, gt=0, le=1024, examples=[0.1])
    grace: Seconds = Field(default=10.0, examples=["10s"])


class Timeouts(Part):
    """How long tasks may take; `longest` is the largest `hard_timeout` that any task declares."""

    soft: Seconds = Field(default=25.0, examples=["25s"])
    hard: Seconds = Field(default=30.0, examples=["30s"])
    longest: Seconds | None = Field(default=None, examples=["100s"])
    inflight: Seconds = Field(default=120.0, description="Life of an idempotency claim.", examples=["120s"])

    @property
    def longest_task(self) -> float:
        """Seconds of the longest task."""
        return self.longest or self.hard


class Admission(Part):
    """How many pushes are let in within any span of one window."""

    limit: Count = Field(default=5000, examples=[5000])
    window: Seconds = Field(default=10.0, examples=["10s"])


class Checkpoints(Part):
    """Where checkpoints over 256 KB go."""

    backend: Literal["inline", "filesystem"] = Field(default="inline", examples=["filesystem"])
    dir: Path = Field(default="/var/lib/relier/checkpoints", examples=["/var/lib/relier/checkpoints"])
    access: Literal["rwo", "rwx"] = Field(
        default="rwo", description="rwx: many hosts write it at once.", examples=["rwx"]
    )
    size: Size = Field(default=5 * 1024**3, examples=["5gb"])
    storage_class: Text | None = Field(default=None, examples=["standard"])


class Offsite(Part):
    """An S3-compatible place for copies of backups."""

    bucket: Text = Field(examples=["s3://relier-backups/prod"])
    endpoint: Text | None = Field(default=None, examples=["https://s3.example.org"])


class Backup(Part):
    """Snapshots taken over the wire from a healthy replica."""

    image: Text | None = Field(
        default=None,
        description="One with Redis and an S3 client, for copies offsite; default: the Redis image.",
        examples=["relier-backup:1.0.0"],
    )
    every: Seconds = Field(default=3600.0, examples=["1h"])
    keep: Seconds = Field(default=604_800.0, examples=["7d"])
    alert_after: Seconds = Field(
        default=7200.0, description="Age of the newest backup that is an alarm.", examples=["2h"]
    )
    dir: Path = Field(default="/var/backups/relier", examples=["/var/backups/relier"])
    storage: Size = Field(default=20 * 1024**3, examples=["20gb"])
    memory: Size | None = Field(
        default=None, description="It must hold the largest key; default: redis.maxmemory.", examples=["2gb"]
    )
    offsite: Offsite | None = None


class Drill(Part):
    """The rehearsal: the newest backup is loaded into a throw-away server and counted."""

    every: Seconds = Field(default=604_800.0, examples=["7d"])
    memory: Size | None = Field(
        default=None, description="It must hold the data; default: half more than redis.maxmemory.", examples=["3gb"]
    )


class Telemetry(Part):
    """OpenTelemetry, and what shows it."""

    enabled: bool = Field(default=False, examples=[True])
    endpoint: Text | None = Field(default=None, examples=["http://otel-collector:4317"])
    collector: Text | None = Field(default=None, examples=["otel/opentelemetry-collector-contrib:0.120.0"])
    prometheus: Text | None = Field(default=None, examples=["prom/prometheus:v2.53.3"])
    grafana: Text | None = Field(default=None, examples=["grafana/grafana:11.5.2"])
    redis_exporter: Text | None = Field(default=None, examples=["oliver006/redis_exporter:v1.69.0"])
    anonymous: bool = Field(
        default=False, description="Grafana shows itself without a login (dev only).", examples=[True]
    )
    publish_prometheus: Publish | None = Field(default=None, examples=["127.0.0.1:9090"])
    publish_grafana: Publish | None = Field(default=None, examples=["127.0.0.1:3000"])
    memory: Size = Field(default=256 * 1024**2, description="The limit of each of these services.", examples=["256mb"])


class Secrets(Part):
    """Where secrets are, never what they are. All but `sentinel` and the keys are passwords of users under ACL."""

    redis: Reference | None = Field(default=None, examples=["env:REDIS_PASSWORD"])
    sentinel: Reference | None = Field(default=None, examples=["env:SENTINEL_PASSWORD"])
    redis_second: Reference | None = Field(
        default=None,
        description="Accepted beside `redis` while that one is changed.",
        examples=["k8s:relier-secrets/redis-second"],
    )
    sentinel_second: Reference | None = Field(
        default=None,
        description="Accepted beside `sentinel` while that one is changed.",
        examples=["k8s:relier-secrets/sentinel-second"],
    )
    admin: Reference | None = Field(default=None, examples=["vault:relier_admin_password"])
    replica: Reference | None = Field(default=None, examples=["env:REDIS_REPLICA_PASSWORD"])
    backup: Reference | None = Field(default=None, examples=["env:REDIS_BACKUP_PASSWORD"])
    probe: Reference | None = Field(default=None, examples=["env:REDIS_PROBE_PASSWORD"])
    secret_key: Reference | None = Field(default=None, examples=["file:/etc/relier/secret.key"])
    secret_keys_previous: Reference | None = Field(default=None, examples=["file:/etc/relier/secret.keys.previous"])
    grafana: Reference | None = Field(default=None, examples=["env:GRAFANA_ADMIN_PASSWORD"])
    offsite: Reference | None = Field(default=None, examples=["file:/etc/relier/s3.credentials"])


class Topology(Part):
    """A whole deployment. To build one from a stack use `infra.topology.read`."""

    tier: Tier = Field(examples=["dev"])
    name: Name = Field(default="relier", description="Prefix of what the tier creates.", examples=["relier"])
    hosts: Count = Field(default=1, description="How many hosts workers run on.", examples=[1])
    host_memory: Size | None = Field(
        default=None, description="Memory of the one host, if there is one.", examples=["8gb"]
    )
    app: App
    redis: Redis
    sentinel: Sentinel | None = None
    subnet: Subnet | None = Field(
        default=None,
        description="The data network of a Docker tier with Sentinels, where nodes keep their addresses.",
        examples=["10.87.30.0/24"],
    )
    workers: FrozenMap[Name, Pool] = Field(min_length=1, examples=[{"worker": {"queues": ["default"]}}])
    resurrector: Resurrector = Resurrector()
    durability: Durability = Field(default="local", examples=["replicated"])
    drain: Seconds = Field(default=30.0, description="What a stopping worker waits for its tasks.", examples=["30s"])
    timeouts: Timeouts = Timeouts()
    admission: Admission = Admission()
    checkpoints: Checkpoints = Checkpoints()
    backup: Backup | None = None
    drill: Drill | None = None
    telemetry: Telemetry = Telemetry()
    secrets: Secrets = Secrets()
    env: FrozenMap[Variable, str] = Field(
        default_factory=lambda: MappingProxyType({}),
        description="Further variables of workers and resurrector; RELIER_ names must be settings.",
        examples=[{"RELIER_MAX_RESURRECTIONS": "5"}],
    )
    public: tuple[Literal["prometheus", "grafana"], ...] = Field(
        default=(), description="Services whose port may leave the loopback.", examples=[["grafana"]]
    )
    require_digests: bool = Field(default=False, description="Refuse images without @sha256.", examples=[True])

    @model_validator(mode="after")
    def _keeps_the_rules(self) -> Topology:
        from infra.topology.rules import broken

        if findings := tuple(broken(self)):
            raise broken_rules(findings)
        return self

    def copies(self, pool: Pool) -> int:
        """How many workers of a pool there are; plain hosts run every pool on every host."""
        return pool.replicas * (self.hosts if self.tier == "bare" else 1)

    @property
    def containers(self) -> bool:
        """Does the tier run images?"""
        return self.tier != "bare"

    @property
    def on_docker(self) -> bool:
        """Is it all on one engine? That has networks and knows who waits for whom, but has no timers."""
        return self.tier in ("dev", "prod")
