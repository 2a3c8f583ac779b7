"""What a plan is made of: frozen, and in nobody's idiom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

Kind = Literal[
    "redis", "sentinel", "worker", "resurrector", "backup", "drill", "collector", "prometheus", "grafana", "exporter"
]


@dataclass(frozen=True, slots=True)
class Probe:
    """A command that says by its exit code how a process is. Times in seconds."""

    command: tuple[str, ...]
    every: float = 10.0
    timeout: float = 5.0
    failures: int = 3
    start_period: float = 0.0

    @property
    def patience(self) -> float:
        """Seconds after which a process that never answered is given up."""
        return self.start_period + self.failures * (self.every + self.timeout)


@dataclass(frozen=True, slots=True)
class SecretMount:
    """A secret as a file. `reference` says where its value is kept.

    With `keys` the file is a JSON object that gives the value to each of them.
    """

    name: str
    reference: str
    path: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VolumeMount:
    """Durable disk. `shared` means that several hosts write it at once. Size in bytes."""

    volume: str
    path: str
    size: int
    read_only: bool = False
    shared: bool = False
    storage_class: str | None = None


@dataclass(frozen=True, slots=True)
class FileMount:
    """A file or folder of the project, read-only. `source` is relative to its root."""

    source: str
    path: str


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a process, and the address on the host where it is published, if anywhere."""

    port: int
    published: str | None = None


@dataclass(frozen=True, slots=True)
class Dependency:
    """What must be there first: `healthy` or merely `started`."""

    name: str
    condition: Literal["healthy", "started"] = "healthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One service: a process, its limits and what it needs. Memory in bytes, times in seconds."""

    name: str
    kind: Kind
    image: str | None
    argv: tuple[str, ...]
    user: str
    memory: int
    grace: float
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[SecretMount, ...] = ()
    volumes: tuple[VolumeMount, ...] = ()
    files: tuple[FileMount, ...] = ()
    tmpfs: tuple[str, ...] = ("/tmp",)  # noqa: S108  a path inside the container
    ports: tuple[Port, ...] = ()
    networks: tuple[str, ...] = ()
    address: str | None = None  # on the data network
    hosts: Mapping[str, str] = field(default_factory=dict)  # names that must be known also while their node is dead
    depends_on: tuple[Dependency, ...] = ()
    live: Probe | None = None
    ready: Probe | None = None
    start: Probe | None = None
    replicas: int = 1
    nodes: tuple[str, ...] = ()
    update: Literal["rolling", "recreate"] = "rolling"
    restart: Literal["unless-stopped", "no"] = "unless-stopped"
    schedule: float | None = None
    read_only: bool = True
    memory_request: int | None = None
    cpus: float | None = None
    cpu_request: float | None = None
    pre_stop: float = 0.0
    queues: tuple[str, ...] = ()
    concurrency: int | None = None
    connections: int = 0

    @property
    def health(self) -> Probe | None:
        """The one check where a tier knows only one: is it ready? Nothing is restarted for it there."""
        return self.ready or self.live

    @property
    def total_memory(self) -> int:
        """Bytes of all replicas."""
        return self.replicas * self.memory

    @property
    def total_connections(self) -> int:
        """Connections to one Redis node of all replicas."""
        return self.replicas * self.connections


@dataclass(frozen=True, slots=True)
class Network:
    """Who can talk to whom. `internal` has no way out; `free` is the part of `subnet` that the engine may give away."""

    name: str
    internal: bool = False
    subnet: str | None = None
    free: str | None = None


@dataclass(frozen=True)
class Plan:
    """All workloads of a deployment, in the order in which they start."""

    name: str
    tier: str
    workloads: tuple[Workload, ...]
    networks: tuple[Network, ...] = ()
    maxclients: int = 0
    reserved_clients: int = 0
    log_size: int = field(default=10 * 1024**2)
    log_files: int = field(default=5)

    def __getitem__(self, name: str) -> Workload:
        return next(workload for workload in self.workloads if workload.name == name)

    def of_kind(self, *kinds: Kind) -> tuple[Workload, ...]:
        """The workloads of some kinds."""
        return tuple(workload for workload in self.workloads if workload.kind in kinds)

    @cached_property
    def memory(self) -> int:
        """Bytes: the sum of all limits, a rehearsal under way included."""
        return sum(workload.total_memory for workload in self.workloads)

    @cached_property
    def connections(self) -> int:
        """Connections to one Redis node, the reserved ones included."""
        return sum(workload.total_connections for workload in self.workloads) + self.reserved_clients

    @cached_property
    def queues(self) -> dict[str, tuple[str, ...]]:
        """Each queue with the workers that consume it."""
        names = dict.fromkeys(queue for workload in self.workloads for queue in workload.queues)
        return {queue: tuple(w.name for w in self.workloads if queue in w.queues) for queue in sorted(names)}

    @cached_property
    def volumes(self) -> tuple[VolumeMount, ...]:
        """Every volume once."""
        mounts = (mount for workload in self.workloads for mount in workload.volumes)
        return tuple({mount.volume: mount for mount in mounts}.values())

    @cached_property
    def secrets(self) -> dict[str, str]:
        """Every secret with its reference."""
        return {mount.name: mount.reference for workload in self.workloads for mount in workload.secrets}
