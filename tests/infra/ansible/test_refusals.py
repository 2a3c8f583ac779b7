"""Bad input ends a playbook with one sentence before anything is changed: real runs of `ansible-playbook`, no hosts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.infra.ansible.desk import Desk, refusal

SITE = ("site.yml", "--check")
NEWLINE = b"\n"
ALONE = "../../tests/infra/ansible/alone.yml"


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
    (
        "deploy.yml",
        ("-e", "relier_release_wheel=a.whl", "-e", "relier_release_git=git+b@1"),
        "-e relier_release_wheel=",
    ),
    ("deploy.yml", ("-e", "relier_release_package=shop"), "such as shop==1.0.0"),
    ("deploy.yml", ("-e", "relier_release_package=shop==1.*"), "such as shop==1.0.0"),
    ("deploy.yml", ("-e", "relier_release_git=git+https://example.org/shop.git"), "git+URL@TAG"),
    ("deploy.yml", ("-e", "relier_release_git=git+ssh://git@example.org/shop.git"), "git+URL@TAG"),
    ("backup.yml", ("-e", "fetch_to=/nowhere"), "/nowhere"),
    ("destroy.yml", (), "confirm=yes"),
    ("restore.yml", (), "no backup"),
    ("restore.yml", ("--limit", "redis"), "leave --limit out"),
    ("rollback.yml", ("-e", "release=never"), "no release to go back from"),
    ("rotate_secrets.yml", (), "site.yml"),
    ("rotate_secrets.yml", ("--limit", "workers"), "leave --limit out"),
    ("validate.yml", ("-e", "stack=/nowhere.yaml"), "/nowhere.yaml"),
    ("upgrade_redis.yml", (), "neither master nor a replica"),
    ("upgrade_redis.yml", ("--limit", "redis-2"), "leave --limit out"),
]


@pytest.mark.parametrize(("name", "arguments", "says"), OPERATIONS, ids=[f"{n}{''.join(a)}" for n, a, _ in OPERATIONS])
def test_an_operation_without_what_it_needs_says_so_in_one_sentence(
    desk: Desk, name: str, arguments: tuple[str, ...], says: str
) -> None:
    assert says in refusal(desk.play(f"playbooks/{name}", *arguments))


@pytest.mark.parametrize(
    "name", ["backup", "deploy", "destroy", "restore", "rollback", "rotate_secrets", "upgrade_redis"]
)
def test_an_operation_that_cannot_be_rehearsed_refuses_a_dry_run(desk: Desk, name: str) -> None:
    assert "no dry run" in refusal(desk.play(f"playbooks/{name}.yml", "--check", confirm="yes"))


def _line(service: str, name: str, value: str) -> str:
    """A credential as the look at a host shows it."""
    path = f"/etc/relier/credentials/{service}/{name}"
    return f"{path} 600 0 0 {hashlib.sha256(value.encode() + NEWLINE).hexdigest()}  {path}"


class Held:
    """site.yml's look at secrets on hosts that hold some already, and whose units run."""

    def __init__(self, desk: Desk, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.desk, fake = desk, folder / "bin"
        fake.mkdir()
        (fake / "systemctl").write_text("#!/bin/sh\necho redis-server.service loaded active running\n")
        (fake / "systemctl").chmod(0o755)
        monkeypatch.setenv("PATH", f"{fake}:/usr/bin:/bin")

    def refusal(self, *lines: str) -> str:
        return refusal(self.desk.play("../../tests/infra/ansible/held.yml", "--check", common_seen=list(lines)))

    def passes(self, *lines: str) -> bool:
        run = self.desk.play("../../tests/infra/ansible/held.yml", "--check", common_seen=list(lines))
        return run.code == 0


@pytest.fixture
def held(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(desk, tmp_path, monkeypatch)


def test_a_new_password_is_for_rotate_secrets_to_bring(held: Held) -> None:
    said = held.refusal(_line("redis", "redis", "the one before"), _line("app", "redis", "the one before"))
    assert "another value of redis than this inventory" in said and "rotate_secrets.yml" in said


def test_a_credential_that_one_place_alone_has_otherwise_is_mended(held: Held) -> None:
    now = "redis_password-of-this-test"
    assert held.passes(_line("redis", "redis", now), _line("worker", "redis", "leaked"))


def test_a_rotation_that_was_cut_off_is_for_rotate_secrets_to_go_on_with(held: Held) -> None:
    now, marker = "redis_password-of-this-test", "/etc/relier/rotation 600 0 0 0  /etc/relier/rotation"
    assert held.passes(marker, _line("redis", "redis", now), _line("app", "secret_keys_previous", "the key before"))
    assert "rotate_secrets.yml" in held.refusal(
        marker, _line("redis", "redis", now), _line("worker", "redis", "the one before")
    )


@pytest.mark.parametrize("role", ["worker", "resurrector"])
def test_what_runs_a_release_refuses_a_host_without_one(desk: Desk, role: str) -> None:
    said = refusal(desk.play(ALONE, "--check", role=role, where="worker-1"))
    assert "has no release in /opt/relier" in said and "role app first" in said


def test_credentials_of_an_s3_client_may_have_lines(desk: Desk) -> None:
    for name in ("offsite", "redis"):
        secrets = {name: "vault:relier_given"}
        run = desk.play(
            "../../tests/infra/ansible/written.yml",
            relier_given="[default]\naws_access_key_id = a",
            relier_secrets=secrets,
        )
        assert (run.code == 0) == (name == "offsite"), run.story()
