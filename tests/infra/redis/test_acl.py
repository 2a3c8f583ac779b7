"""Who may do what: each user can do its work, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.exceptions import NoPermissionError

from harness.process import Resurrector, Worker, clean_env, rl, wait_until
from harness.redis import LOOPBACK, find_server, server_version
from tests.infra.redis.nodes import PASSWORDS, Kit, Node, connect

COMMANDS = (
    ["doctor"],
    ["config", "validate"],
    ["config", "show"],
    ["tasks", "list"],
    ["tasks", "inflight"],
    ["worker", "status"],
    ["dlq", "list"],
    ["dlq", "retry-all"],
    ["dlq", "purge", "--confirm"],
    ["slo", "status"],
    ["admission", "status"],
    ["admin", "purge-locks"],
    ["admin", "reset-admission"],
    ["bench", "--iterations", "5", "--warmup", "1"],
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node under the ACL."""
    with Kit(tmp_path_factory.mktemp("acl"), nodes=1, sentinels=0) as kit:
        yield kit.nodes[0].start().wait_ready()


@pytest.fixture
def environment(node: Node) -> dict[str, str]:
    return {
        "RELIER_REDIS_URL": f"redis://{LOOPBACK}:{node.port}/0",
        "RELIER_REDIS_USERNAME": "app",
        "RELIER_REDIS_PASSWORD_FILE": node.env["REDIS_PASSWORD_FILE"],
        "RELIER_SECRET_KEY": "signed",
        "RELIER_HEARTBEAT_TTL": "3",
    }


def test_all_work_of_an_application_passes_as_the_app_user(
    node: Node, environment: dict[str, str], tmp_path: Path
) -> None:
    include = "tests.infra.redis.acl_tasks"
    with node.admin() as admin:
        admin.acl_log_reset()
    workers = [
        Worker(environment, log=tmp_path / f"{pool}.log", include=include, pool=pool, name=pool)
        for pool in ("prefork", "threads")
    ]
    resurrector = Resurrector(environment, log=tmp_path / "resurrector.log")
    try:
        for process in (*workers, resurrector):
            process.start()
        workers[0].wait_ready()
        produced = subprocess.run(
            [sys.executable, "-m", "tests.infra.redis.acl_producer"],
            env=clean_env(environment),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert produced.returncode == 0, produced.stderr
        complaints = [
            f"rl {' '.join(c)}: {out.stderr}" for c in COMMANDS if "NOPERM" in (out := rl(environment, *c)).stderr
        ]
    finally:
        for process in (*workers, resurrector):
            process.stop(timeout=10)
    done = json.loads(produced.stdout)
    assert done["pushed"] == [0, 2, 4, 6, 8]
    assert (done["chord"], done["chain"], done["group"]) == ([6], [13], [[0, 2]])
    assert (done["retried"], done["dying"], done["once"], done["failed"]) == ([1], [2], [7, 7], "FAILURE")
    assert complaints == []
    assert node.denied() == []


def refused(node: Node, user: str | None, *command: str) -> bool:
    with node.client(user) as client:
        try:
            client.execute_command(*command)
        except (NoPermissionError, redis.AuthenticationError):
            return True
        except redis.ResponseError as error:
            return "NOAUTH" in str(error)
    return False


def test_nobody_gets_in_without_a_name(node: Node) -> None:
    assert refused(node, None, "PING")
    with connect(node.port, password=PASSWORDS["redis"]) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("app", "FLUSHALL"),
        ("app", "CONFIG SET appendonly no"),
        ("app", "SHUTDOWN"),
        ("app", "REPLICAOF NO ONE"),
        ("app", "ACL LIST"),
        ("app", "CLIENT LIST"),
        ("app", "KEYS *"),
        ("sentinel", "GET a"),
        ("sentinel", "PUBLISH other x"),
        ("sentinel", "CONFIG GET *"),
        ("replica", "GET a"),
        ("replica", "SET a 1"),
        ("backup", "SET a 1"),
        ("backup", "GET a"),
        ("backup", "CONFIG GET *"),
        ("probe", "GET a"),
        ("probe", "SET a 1"),
        ("probe", "CLIENT LIST"),
    ],
)
def test_a_user_may_do_its_own_work_only(node: Node, user: str, command: str) -> None:
    assert refused(node, user, *command.split())
    with node.client(user) as client:
        assert client.execute_command("PING") in (True, "PONG")


def test_the_server_is_told_only_what_it_knows(node: Node) -> None:
    rules = (node.directory / "users.acl").read_text()
    assert ("+client|setinfo" in rules) == (server_version(find_server()) >= (7, 2))


def test_a_password_lies_in_no_file_but_where_the_server_needs_it(node: Node) -> None:
    """The ACL holds hashes; `masterauth` has to be readable for the server, and for nobody else."""
    rules, conf = node.directory / "users.acl", node.directory / "redis.conf"
    assert not [name for name, secret in PASSWORDS.items() if secret in rules.read_text()]
    assert {file.stat().st_mode & 0o077 for file in (rules, conf)} == {0}
    assert not [name for name, secret in PASSWORDS.items() if secret in node.log.read_text()]


def test_a_wrong_password_and_a_missing_one_do_not_pass_for_each_other(node: Node) -> None:
    with connect(node.port, username="probe", password="wrong") as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    wait_until(lambda: node.denied() != [], 5, "the refusal is in ACL LOG")


def test_a_killed_server_reads_back_what_scripts_and_transactions_wrote(tmp_path: Path) -> None:
    """It reads its append-only file as the user `default`; what that one may not do would be gone."""
    with Kit(tmp_path, nodes=1, sentinels=0) as kit:
        node = kit.nodes[0].start().wait_ready()
        with node.client("app") as client:
            client.eval("redis.call('SET', KEYS[1], 1) redis.call('SET', KEYS[2], 1)", 2, "script:1", "script:2")
            with client.pipeline(transaction=True) as transaction:
                transaction.set("transaction:1", 1).set("transaction:2", 1).execute()
            client.set("plain", 1)
            before = set(client.scan_iter())
            # With everysec a write may wait for two seconds behind an fsync on a slow disk.
            wait_until(lambda: client.info("persistence")["aof_buffer_length"] == 0, 5, "the log is written")
        node.kill()
        node.start().wait_ready()
        with node.client("app") as client:
            assert set(client.scan_iter()) == before
