"""What a change of the configuration touches, and what it must leave as it is."""

from __future__ import annotations

from typing import Any

import pytest

from infra.pulumi.program import main
from tests.infra.kubernetes.stacks import PASSWORDS, Made, made
from tests.infra.pulumi.recorder import record, reveal


def asked(stack: Made) -> dict[tuple[str, str], Any]:
    """Of each object, what a cluster is asked for and what comes before it."""
    return {key: (reveal(entry.inputs), set(entry.depends_on)) for key, entry in stack.objects.items()}


def touched(before: Made, after: Made) -> set[tuple[str, str]]:
    """Objects that are there in one only, or that are asked for otherwise."""
    first, second = asked(before), asked(after)
    return {key for key in {*first, *second} if first.get(key) != second.get(key)}


SIZES = [{"replicas": 5}, {"concurrency": 2}, {"memory": "3gb"}]


@pytest.mark.parametrize("pool", ["worker", "worker-recovery"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_another_size_of_a_pool_touches_that_pool_and_nothing_else(pool: str, size: dict[str, Any]) -> None:
    after = made(overrides={"workers": {pool: size}})
    assert touched(made(), after) == {("Deployment", pool)}


def test_another_number_of_workers_changes_the_number_and_nothing_of_their_pods() -> None:
    before = made().spec("Deployment", "worker")
    after = made(overrides={"workers": {"worker": {"replicas": 5}}}).spec("Deployment", "worker")
    assert after == before | {"replicas": 5}


def test_more_tasks_at_once_reach_the_command_line_and_the_variables_of_that_pool() -> None:
    after = made(overrides={"workers": {"worker": {"concurrency": 2}}}).container("worker")
    assert after["args"][-2:] == ["-c", "2"]
    assert {"name": "RELIER_CELERY_WORKER_CONCURRENCY", "value": "2"} in after["env"]


def test_the_same_configuration_twice_asks_for_the_same() -> None:
    assert touched(made(), Made(made().plan, record(main, stack="k8s", secrets=PASSWORDS["k8s"]))) == set()


def test_a_claim_that_is_there_stays_whatever_class_and_access_are_written_later() -> None:
    """The provider replaces a claim for either, and both have names of their own: it would delete the old one first."""
    for name in ("redis-checkpoints", "redis-backups"):
        ignored = made().objects["PersistentVolumeClaim", name].request.ignoreChanges
        assert list(ignored) == ["spec.accessModes", "spec.storageClassName"]


def test_another_size_of_disk_replaces_no_set_of_nodes() -> None:
    """The provider would delete the set, and all of its pods with it, and make it anew around the old claims."""
    for name in ("relier-redis", "relier-sentinel"):
        assert list(made().objects["StatefulSet", name].request.ignoreChanges) == ["spec.volumeClaimTemplates"]


def annotations(stack_made: Any, name: str) -> dict[str, str]:
    kind = next(kind for kind in ("Deployment", "StatefulSet") if (kind, name) in stack_made.objects)
    found: dict[str, str] = stack_made.spec(kind, name)["template"]["metadata"].get("annotations", {})
    return found


def test_another_password_is_a_new_pod_for_who_reads_it_and_for_nobody_else() -> None:
    other = {**PASSWORDS["k8s"], "sentinel_password": "hunter2-other"}
    after = Made(made().plan, record(main, stack="k8s", secrets=other))
    for workload in made().plan.workloads:
        if workload.schedule is None:
            read = "k8s:relier-secrets/sentinel-password" in {mount.reference for mount in workload.secrets}
            assert (annotations(made(), workload.name) != annotations(after, workload.name)) == read, workload.name


def test_a_changed_secret_or_script_is_a_new_pod() -> None:
    before = annotations(made(), "relier-redis")
    assert set(before) == {"relier.dev/files-checksum", "relier.dev/secrets-checksum"}
    after = annotations(made(overrides={"redis": {"maxclients": 9000}}), "relier-redis")
    assert after["relier.dev/files-checksum"] != before["relier.dev/files-checksum"]
    assert after["relier.dev/secrets-checksum"] == before["relier.dev/secrets-checksum"]
    assert set(annotations(made(), "worker")) == {"relier.dev/secrets-checksum"}


SECOND = {"redis_second": "k8s:relier-secrets/redis-second", "sentinel_second": "k8s:relier-secrets/sentinel-second"}


def test_a_second_password_is_a_new_pod_of_servers_only_and_a_key_of_the_secret() -> None:
    more = {"redis_second_password": "hunter2-second", "sentinel_second_password": "hunter2-other"}
    before, after = made(), made(more=more, overrides={"secrets": SECOND})
    assert set(reveal(after.objects["Secret", "relier-secrets"].inputs["stringData"])) == {
        "redis-password",
        "sentinel-password",
        "redis-second",
        "sentinel-second",
    }
    pods = [name for kind in ("Deployment", "StatefulSet") for name in after.of_kind(kind)]
    renewed = {name for name in pods if annotations(before, name) != annotations(after, name)}
    assert renewed == {"relier-redis", "relier-sentinel"}
