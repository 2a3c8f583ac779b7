"""Rules of a Redis that somebody else runs: one address, a password, and nothing of what only our own nodes have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from infra.topology.rules.finding import Finding, missing, rule, without_login, wrong
from infra.topology.units import size, span

if TYPE_CHECKING:
    from infra.topology.model import Topology

ADDRESS = re.compile(r"rediss?://[A-Za-z0-9.-]+(:\d{1,5})?(/\d{1,4})?")
SECRET = re.compile(r"k8s:[a-z0-9][a-z0-9.-]*/[\w.-]+")
#: What the service decides itself, or nobody can: written beside `managed` it would be ignored.
OWN = (
    "image",
    "nodes",
    "port",
    "memory",
    "maxmemory",
    "min_replicas_to_write",
    "min_replicas_max_lag",
    "persistence",
    "acl",
    "grace",
    "storage",
    "publish",
)
SIZES = {"memory", "maxmemory", "storage"}
SPANS = {"min_replicas_max_lag", "grace"}


@rule
def a_managed_redis_brings_its_own(topology: Topology) -> Iterator[Finding]:
    redis = topology.redis
    if redis.managed is None:
        return
    for name in OWN:
        if name in redis.model_fields_set:
            why = "which the managed service decides"
            yield wrong(f"redis.{name}", _said(name, getattr(redis, name)), why, "remove it, or redis.managed")
    if topology.sentinel:
        why = "but a managed service has one address and elects by itself"
        yield wrong("sentinel", "given", why, "remove it, or redis.managed")


def _said(name: str, value: object) -> str:
    """A value as the stack writes it; what has parts is merely given."""
    if name == "persistence":
        return "given"
    if isinstance(value, int | float) and name in SIZES | SPANS:
        return size(int(value)) if name in SIZES else span(value)
    return ", ".join(value) if isinstance(value, tuple) else str(value).lower() if value is True else str(value)


@rule
def a_managed_redis_is_watched_by_its_service(topology: Topology) -> Iterator[Finding]:
    exporter = topology.telemetry.redis_exporter
    if topology.redis.managed and exporter:
        why = "but a managed service shows its own figures"
        yield wrong("telemetry.redis_exporter", exporter, why, "remove it")


@rule
def a_managed_redis_is_backed_up_by_its_service(topology: Topology) -> Iterator[Finding]:
    """A snapshot over the wire needs SYNC, which no such service answers."""
    for name, part in (("backup", topology.backup), ("drill", topology.drill)):
        if topology.redis.managed and part:
            why = "but a managed Redis answers no SYNC to copy it with"
            yield wrong(name, "given", why, "remove it and turn on the service's own snapshots")


@rule
def a_managed_redis_has_an_address(topology: Topology) -> Iterator[Finding]:
    part = topology.redis.managed
    if part is None:
        return
    path, shown = "redis.managed.url", without_login(part.url).partition("?")[0]
    if not (ADDRESS if "://" in part.url else SECRET).fullmatch(part.url):
        why = "no address without a login"
        yield wrong(path, shown, why, "write rediss://host:6379/0 or k8s:secret/key, and its password as secrets.redis")
    elif part.url.startswith("redis://") and not part.plaintext:
        why = "so passwords and payloads travel in the clear"
        yield wrong(path, shown, why, "write rediss://, or redis.managed.plaintext: true in a private network")


@rule
def a_managed_redis_is_encrypted_or_not(topology: Topology) -> Iterator[Finding]:
    part = topology.redis.managed
    if part and part.plaintext and (part.url.startswith("rediss://") or part.ca):
        instead = "remove it" if not part.url.startswith("redis://") else "remove it and redis.managed.ca"
        yield wrong("redis.managed.plaintext", True, "but TLS is asked for", instead)


@rule
def a_managed_redis_knows_who_signed_it(topology: Topology) -> Iterator[Finding]:
    part = topology.redis.managed
    if part and part.ca and not part.ca.startswith("k8s:"):
        yield wrong("redis.managed.ca", part.ca, "which tier k8s cannot read", "write k8s:secret/key")


@rule
def a_managed_redis_asks_for_a_password(topology: Topology) -> Iterator[Finding]:
    if topology.redis.managed and topology.secrets.redis is None:
        yield missing("secrets.redis", "but a managed Redis asks for a password", "write one such as k8s:secret/key")


@rule
def a_managed_redis_promises_no_fsync(topology: Topology) -> Iterator[Finding]:
    """WAITAOF is not among the commands that these services document."""
    if topology.redis.managed and topology.durability == "fsynced":
        instead = "write replicated with redis.managed.replicas, or local"
        yield wrong("durability", "fsynced", "but a managed Redis may not answer WAITAOF", instead)
