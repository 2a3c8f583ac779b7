"""A Redis that others run, on a real cluster: workers find it, and refuse one that does not keep the promise."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.load import Load
from tests.infra.kubernetes.cluster import SMALL, Namespace
from tests.infra.kubernetes.test_cluster import SUITE, conforms, judge, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
OURS = ("redis", "backup", "drill")
#: What a service would have set: a password, eviction off, persistence on. Nothing of ours is in it.
SERVE = """
{ printf 'requirepass %s\\n' "$(cat /run/secrets/service/password)"
  printf '%s\\n' 'dir /data' 'appendonly yes' 'maxmemory 64mb' 'maxmemory-policy noeviction' 'protected-mode no'
} >/data/redis.conf && exec redis-server /data/redis.conf
"""


def service(image: str) -> list[dict[str, Any]]:
    """A Redis as others would run it."""
    secure = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    mounts = [{"name": "secret", "mountPath": "/run/secrets/service"}, {"name": "data", "mountPath": "/data"}]
    container = {"name": "redis", "image": image, "command": ["sh", "-c", SERVE], "volumeMounts": mounts}
    user = {"runAsNonRoot": True, "runAsUser": 999, "fsGroup": 999, "seccompProfile": {"type": "RuntimeDefault"}}
    volumes = [{"name": "secret", "secret": {"secretName": "relier-redis"}}, {"name": "data", "emptyDir": {}}]
    spec = {"securityContext": user, "containers": [{**container, "securityContext": secure}], "volumes": volumes}
    port = {"selector": {"app": "store"}, "ports": [{"port": 6379}]}
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "store", "labels": {"app": "store"}}, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "store"}, "spec": port},
    ]


@pytest.fixture(scope="module")
def managed() -> Iterator[Namespace]:
    """The stack k8s-managed beside such a service."""
    small = {key: value for key, value in SMALL.items() if key not in OURS}
    redis = {"maxclients": 1000, "managed": {"replicas": 0}}
    over = {**small, "redis": redis, "durability": "local"}
    made = Namespace("k8s-managed", over, {"redis_url": "redis://store:6379/0"}, network_policies=False)
    try:
        made.apply()
        made.run(
            "apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": service("redis:8.0")})
        )
        made.run("wait", "pod/store", "--for=condition=Ready", "--timeout=120s")
        print(f"\n{made.name}: everything ready {made.ready():.1f} s after its Redis.")
        yield made
    finally:
        made.remove()


def command(managed: Namespace, *words: str) -> str:
    """Said to the service by its owner."""
    login = 'REDISCLI_AUTH="$(cat /run/secrets/service/password)" redis-cli "$@"'
    return managed.ask("store", "sh", "-c", login, "redis-cli", *words)


def test_workers_find_it_by_an_address_that_is_kept_in_a_secret(managed: Namespace) -> None:
    load = Load(managed.inside(managed.names("resurrector")[0]), rate=40.0).start()
    time.sleep(3)
    judge(load)


def test_no_password_is_in_the_environment(managed: Namespace) -> None:
    assert managed.passwords["redis_password"] not in managed.ask("deploy/worker", "env")


def test_what_is_ours_of_it_keeps_the_contract(managed: Namespace, tmp_path: Path) -> None:
    """The service itself is a pod beside it here, which nobody planned."""
    stranger = f"--deselect={SUITE}/test_workloads.py::test_nothing_runs_that_is_not_planned"
    conforms(managed, tmp_path, SUITE, stranger)


def test_a_service_that_may_evict_is_refused_by_every_process_that_starts(managed: Namespace) -> None:
    command(managed, "config", "set", "maxmemory-policy", "allkeys-lru")
    pod = managed.names("worker")[0]
    managed.run("delete", "pod", pod, "--wait=false")

    def refused() -> bool:
        logs = [managed.logs(name) for name in managed.names("worker") if name != pod]
        return any("requires Redis maxmemory-policy='noeviction', but got 'allkeys-lru'" in text for text in logs)

    until(refused, 120, "the new worker says why it does not start")
    command(managed, "config", "set", "maxmemory-policy", "noeviction")
    began = time.monotonic()
    managed.ready(["deployment/worker"])
    print(f"\nthe worker started {time.monotonic() - began:.1f} s after the service was set right.")
