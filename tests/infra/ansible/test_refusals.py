"""Bad input ends a playbook with one sentence before anything is changed: real runs of `ansible-playbook`, no hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.infra.ansible.desk import Desk, refusal

SITE = ("site.yml", "--check")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_missing_secret_is_named_with_where_it_is_looked_for(desk: Desk) -> None:
    (desk.secrets / "redis_password.txt").unlink()
    said = refusal(desk.play(*SITE))
    assert "secret" in said and "redis" in said and "relier_redis_password" in said


def test_an_even_number_of_sentinels_is_refused(desk: Desk) -> None:
    del desk.groups["sentinel"]["hosts"]["redis-3"]
    said = refusal(desk.play(*SITE, relier_sentinel_nodes=["redis-1", "redis-2"]))
    assert "2 Sentinels" in said and "odd" in said


def test_an_inventory_and_a_topology_that_name_different_nodes_are_refused(desk: Desk) -> None:
    desk.groups["redis"]["hosts"]["redis-4"] = None
    said = refusal(desk.play(*SITE))
    assert "redis-4" in said and "topology" in said


def test_a_pool_without_enough_connections_is_named(desk: Desk) -> None:
    pool = {"name": "worker-poor", "argv": ["celery", "-c", "8"], "queues": ["default"], "memory_bytes": 1}
    pool["environment"] = {"RELIER_REDIS_MAX_CONNECTIONS": "8", "RELIER_CELERY_WORKER_CONCURRENCY": "8"}
    said = refusal(desk.play(*SITE, relier_pools=[pool]))
    assert "worker-poor" in said and "connections" in said


def test_two_resurrectors_are_one_too_many(desk: Desk) -> None:
    desk.groups["resurrector"]["hosts"]["worker-2"] = None
    assert "exactly one" in refusal(desk.play(*SITE))


def test_an_unsupported_system_is_refused_by_its_name(desk: Desk) -> None:
    said = refusal(desk.play(*SITE, preflight_distributions={"Plan9": ["4"]}))
    assert "Debian 12 and 13" in said


def test_an_unreachable_host_is_named(desk: Desk) -> None:
    desk.groups["workers"]["hosts"]["worker-2"] = {
        "ansible_connection": "ssh",
        "ansible_host": "127.0.0.1",
        "ansible_port": 1,
    }
    run = desk.play(*SITE)
    assert run.code != 0 and not run.changed
    assert any(row["host"] == "worker-2" for row in run.rows if row["kind"] == "unreachable")
    assert run.stats["worker-2"]["unreachable"] == 1


def test_a_wheel_that_is_not_there_is_refused_by_its_path(desk: Desk) -> None:
    assert "/nowhere/app.whl" in refusal(desk.play(*SITE, relier_release_wheel="/nowhere/app.whl"))


OPERATIONS = [
    ("deploy.yml", (), "Say what to deploy"),
    ("deploy.yml", ("-e", "relier_release_wheel=/nowhere.whl"), "/nowhere.whl"),
    ("deploy.yml", ("-e", "relier_release_wheel=a.whl", "-e", "relier_release_package=b==1"), "a.whl and b==1"),
    ("backup.yml", ("-e", "fetch_to=/nowhere"), "/nowhere"),
    ("destroy.yml", (), "confirm=yes"),
    ("restore.yml", (), "no backup"),
    ("restore.yml", ("--limit", "redis"), "leave --limit out"),
    ("rollback.yml", ("-e", "release=never"), "no release to go back from"),
    ("rotate_secrets.yml", (), "site.yml"),
    ("rotate_secrets.yml", ("--limit", "workers"), "leave --limit out"),
    ("validate.yml", ("-e", "stack=/nowhere.yaml"), "/nowhere.yaml"),
    ("upgrade_redis.yml", (), "neither master nor a replica"),
]


@pytest.mark.parametrize(("name", "arguments", "says"), OPERATIONS, ids=[f"{n}{''.join(a)}" for n, a, _ in OPERATIONS])
def test_an_operation_without_what_it_needs_says_so_in_one_sentence(
    desk: Desk, name: str, arguments: tuple[str, ...], says: str
) -> None:
    assert says in refusal(desk.play(f"playbooks/{name}", *arguments))
