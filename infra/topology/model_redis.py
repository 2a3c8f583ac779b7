"""Redis and Sentinel in the topology: nodes of our own, or a service that somebody else runs."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from infra.topology.parts import Name, Part, Publish, Reference, Text, broken_rules
from infra.topology.units import Count, Seconds, Size

RESERVED = 128
MIB = 1024**2


class Persistence(Part):
    """What Redis writes to disk, and when."""

    appendonly: bool = Field(default=True, description="The append-only file; the promise needs it.", examples=[True])
    appendfsync: Literal["everysec", "always", "no"] = Field(default="everysec", examples=["everysec"])
    no_appendfsync_on_rewrite: bool = Field(
        default=False, description="Skips syncs during a rewrite.", examples=[False]
    )
    rewrite_percentage: Count = Field(default=100, description="Growth before the file is rewritten.", examples=[100])
    rewrite_min_size: Size = Field(default=64 * 1024**2, description="No rewrite below this size.", examples=["64mb"])
    snapshots: tuple[tuple[Count, Count], ...] = Field(
        default=((3600, 1), (300, 100), (60, 10_000)),
        description="Pairs of seconds and changes after which a snapshot is taken.",
        examples=[[[3600, 1]]],
    )


class Managed(Part):
    """A Redis that somebody else runs: ElastiCache, Memorystore, Upstash. It has one address, failover or not."""

    url: Text = Field(
        description="Its address without a login, or a secret that holds such an address.",
        examples=["rediss://redis.example.org:6379/0"],
    )
    username: Text | None = Field(default=None, description="The ACL user, where it has users.", examples=["app"])
    ca: Reference | None = Field(
        default=None,
        description="Who signed its certificate, if nobody public.",
        examples=["k8s:relier-redis/ca"],
    )
    replicas: int = Field(default=0, ge=0, le=100, description="Replicas that WAIT can count on.", examples=[1])
    plaintext: bool = Field(default=False, description="Allow redis:// in a private network.", examples=[True])

    @property
    def referred(self) -> bool:
        """Is the address itself kept in a secret?"""
        return "://" not in self.url


class Redis(Part):
    """The data nodes, or the managed service in their place. The first node is the master of a first start."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["managed"]}, {"required": ["nodes", "memory", "maxmemory"]}]}
    )

    managed: Managed | None = Field(
        default=None,
        examples=[{"url": "rediss://redis.example.org:6379/0"}],
        description="Instead of nodes of our own.",
    )
    image: Text = Field(default="redis:8.0", examples=["redis:8.0"])
    nodes: tuple[Name, ...] = Field(
        default_factory=tuple, description="Node names, the first master first.", min_length=1, examples=[["redis"]]
    )
    port: int = Field(default=6379, ge=1, le=65_535, examples=[6379])
    memory: Size = Field(default_factory=int, description="The limit of one node.", examples=["2gb"])
    maxmemory: Size = Field(default_factory=int, description="What data may use; a fork doubles it.", examples=["1gb"])
    maxmemory_policy: Literal["noeviction"] = Field(default="noeviction", examples=["noeviction"])
    maxclients: Count = Field(default=10_000, examples=[10_000])
    reserved_clients: Count = Field(
        default=RESERVED, description="Kept for producers, replicas, Sentinels, probes and people.", examples=[RESERVED]
    )
    min_replicas_to_write: int = Field(default=0, ge=0, le=100, examples=[1])
    min_replicas_max_lag: Seconds = Field(default=10.0, examples=["10s"])
    persistence: Persistence = Persistence()
    acl: bool = Field(default=False, description="Users with least privilege; no default user.", examples=[True])
    grace: Seconds = Field(default=60.0, description="Time to write the last snapshot.", examples=["60s"])
    storage: Size = Field(default=10 * 1024**3, description="Disk of one node.", examples=["10gb"])
    publish: tuple[Publish, ...] = Field(default=(), examples=[["127.0.0.1:6379"]])

    @model_validator(mode="after")
    def _is_ours_or_managed(self) -> Redis:
        from infra.topology.rules.redis import undescribed

        if not self.managed and (findings := tuple(undescribed(self))):
            raise broken_rules(findings)
        return self

    @property
    def replicas(self) -> int:
        """How many nodes follow the master."""
        return self.managed.replicas if self.managed else len(self.nodes) - 1

    @property
    def footprint(self) -> int:
        """Bytes of a server that holds all data, in whole MiB: its pages are never full, so it takes half more."""
        return -(-3 * self.maxmemory // (2 * MIB)) * MIB


class Sentinel(Part):
    """Who watches the master and elects the next one."""

    image: Text = Field(default="redis:8.0", examples=["redis:8.0"])
    nodes: tuple[Name, ...] = Field(
        description="Node names, an odd number.", min_length=1, examples=[["s-1", "s-2", "s-3"]]
    )
    port: int = Field(default=26_379, ge=1, le=65_535, examples=[26_379])
    master_name: Text = Field(default="relier-master", examples=["relier-master"])
    quorum: Count | None = Field(
        default=None, description="Votes that declare the master down; default: a majority.", examples=[2]
    )
    down_after: Seconds = Field(default=5.0, examples=["5s"])
    failover_timeout: Seconds = Field(default=15.0, examples=["15s"])
    memory: Size = Field(default=128 * 1024**2, examples=["128mb"])
    publish: tuple[Publish, ...] = Field(default=(), examples=[["127.0.0.1:26379"]])

    @property
    def majority(self) -> int:
        """The fewest votes that two halves cannot both have."""
        return len(self.nodes) // 2 + 1

    @property
    def votes(self) -> int:
        """The quorum that is meant."""
        return self.quorum or self.majority
