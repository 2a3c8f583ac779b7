"""Cases for the rules of a Redis that somebody else runs."""

from __future__ import annotations

from typing import Any

from tests.infra.topology.stacks import GONE, Case

STACK = "k8s-managed"
URL = "redis.managed.url"


def case(rule: str, good: dict[str, Any], bad: dict[str, Any], says: str) -> Case:
    return Case(f"a_managed_redis_{rule}", STACK, good, bad, says)


def ours(name: str, value: Any, said: str) -> Case:
    """A setting that only nodes of our own have."""
    why = "which the managed service decides; remove it, or redis.managed."
    good = {"redis.maxclients": 5000, "redis.maxmemory_policy": "noeviction"}
    return case("brings_its_own", good, {f"redis.{name}": value}, f"redis.{name} is {said}, {why}")


CASES = [
    ours("image", "redis:8.0", "redis:8.0"),
    ours("nodes", ["r-0", "r-1"], "r-0, r-1"),
    ours("port", 6380, "6380"),
    ours("memory", "4gb", "4gb"),
    ours("maxmemory", "2gb", "2gb"),
    ours("min_replicas_to_write", 1, "1"),
    ours("min_replicas_max_lag", "5s", "5s"),
    ours("persistence", {"appendfsync": "always"}, "given"),
    ours("acl", True, "true"),
    ours("grace", "90s", "90s"),
    ours("storage", "10gb", "10gb"),
    ours("publish", ["127.0.0.1:6379"], "127.0.0.1:6379"),
    case(
        "brings_its_own",
        {},
        {"sentinel": {"nodes": ["s-0", "s-1", "s-2"]}},
        "sentinel is given, but a managed service has one address and elects by itself; remove it, or redis.managed.",
    ),
    case(
        "is_watched_by_its_service",
        {},
        {"telemetry.redis_exporter": "oliver006/redis_exporter:v1.69.0"},
        "telemetry.redis_exporter is oliver006/redis_exporter:v1.69.0, but a managed service shows its own figures;",
    ),
    case(
        "is_backed_up_by_its_service",
        {},
        {"backup": {}},
        "backup is given, but a managed Redis answers no SYNC to copy it with; remove it and turn on the service's",
    ),
    case(
        "is_backed_up_by_its_service", {}, {"backup": {}, "drill": {"memory": "1gb"}}, "drill is given, but a managed"
    ),
    case(
        "has_an_address",
        {URL: "rediss://r.example.org:6379/0"},
        {URL: "rediss://app:hunter2@r.example.org:6379/0"},
        "redis.managed.url is rediss://…@r.example.org:6379/0, no address without a login; write rediss://",
    ),
    case(
        "has_an_address",
        {URL: "rediss://r"},
        {URL: "r.example.org:6379"},
        "redis.managed.url is r.example.org:6379, no",
    ),
    case(
        "has_an_address", {}, {URL: "env:REDIS_URL"}, "redis.managed.url is env:REDIS_URL, no address without a login;"
    ),
    case("has_an_address", {}, {URL: "rediss://r?db=hunter2"}, "redis.managed.url is rediss://r, no address without"),
    case(
        "has_an_address",
        {URL: "redis://10.0.0.3:6379", "redis.managed.plaintext": True},
        {URL: "redis://10.0.0.3:6379"},
        "redis.managed.url is redis://10.0.0.3:6379, so passwords and payloads travel in the clear; write rediss://,",
    ),
    case(
        "is_encrypted_or_not",
        {URL: "redis://10.0.0.3", "redis.managed.plaintext": True},
        {URL: "rediss://10.0.0.3", "redis.managed.plaintext": True},
        "redis.managed.plaintext is true, but TLS is asked for; remove it.",
    ),
    case(
        "is_encrypted_or_not",
        {},
        {URL: "redis://10.0.0.3", "redis.managed.plaintext": True, "redis.managed.ca": "k8s:relier-redis/ca"},
        "redis.managed.plaintext is true, but TLS is asked for; remove it and redis.managed.ca.",
    ),
    case(
        "knows_who_signed_it",
        {"redis.managed.ca": "k8s:relier-redis/ca"},
        {"redis.managed.ca": "file:/etc/ssl/ca.pem"},
        "redis.managed.ca is file:/etc/ssl/ca.pem, which tier k8s cannot read; write k8s:secret/key.",
    ),
    case(
        "asks_for_a_password",
        {"secrets.redis": "k8s:other/password"},
        {"secrets.redis": GONE},
        "secrets.redis is missing, but a managed Redis asks for a password; write one such as k8s:secret/key.",
    ),
    case(
        "promises_no_fsync",
        {"durability": "local"},
        {"durability": "fsynced"},
        "durability is fsynced, but a managed Redis may not answer WAITAOF; write replicated with redis",
    ),
    Case(
        "replicated_needs_a_replica",
        STACK,
        {"redis.managed.replicas": 1},
        {"redis.managed.replicas": 0},
        "durability is replicated, but redis.managed.replicas is 0; write local, or how many it has.",
    ),
]
