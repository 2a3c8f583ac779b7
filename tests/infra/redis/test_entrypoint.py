"""What `entrypoint` makes of its environment before the server takes its place."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
import redis

from harness.process import Process, clean_env, wait_until
from harness.redis import LOOPBACK, free_port
from tests.infra.redis.nodes import (
    PASSWORDS,
    REDIS_PROGRAMS,
    SCRIPTS,
    Kit,
    Node,
    connect,
    path_with,
    script,
    write_secrets,
)


def test_the_server_takes_the_shells_place_and_gets_its_signals(tmp_path: Path) -> None:
    with Kit(tmp_path, nodes=1, sentinels=0) as kit:
        node = kit.nodes[0].start().wait_ready()
        assert "-server" in Path(f"/proc/{node.pid}/cmdline").read_text()
        assert node.terminate(10) == 0
        assert "ready to exit" in node.output()


def test_no_password_stays_in_the_servers_environment_or_on_any_command_line(tmp_path: Path) -> None:
    log, environment, port = tmp_path / "commands", tmp_path / "environment", free_port()
    env = {"REDIS_ACL": "true", "REDIS_DIR": str(tmp_path), "REDIS_PORT": str(port)}
    env |= {"REDIS_PASSWORD": PASSWORDS["redis"], "SENTINEL_PASSWORD": PASSWORDS["sentinel"]}
    env |= {f"REDIS_{name.upper()}_PASSWORD": PASSWORDS[name] for name in ("replica", "backup", "probe")}
    env["PATH"] = path_with(tmp_path / "bin", "env", *REDIS_PROGRAMS, log=log)
    for server in (tmp_path / "bin").glob("*-server"):  # Redis overwrites what /proc shows of it
        server.write_text(server.read_text().replace("exec ", f'[ "$1" = --version ] || env >{environment}\nexec '))
    node = Process([str(SCRIPTS / "entrypoint"), "redis"], env=clean_env() | env, name="redis", log=tmp_path / "log")
    with node, connect(port, "probe") as client:
        wait_until(lambda: answers(client), 10, "the node answers")
    seen = environment.read_text() + log.read_text() + node.output()
    assert "sha256sum" in log.read_text()
    assert "REDIS_DIR" in environment.read_text()
    assert [name for name, secret in PASSWORDS.items() if secret in seen] == []


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def test_a_node_that_waits_for_the_sentinels_can_be_stopped(tmp_path: Path) -> None:
    with Kit(tmp_path, nodes=1, sentinels=1) as kit:
        node = kit.nodes[0].start()
        node.wait_for_output(["fewer than 1 of the Sentinels"], 10)
        assert not node.answers()
        assert node.terminate(5) == 143


def test_a_node_gives_up_with_a_sentence_when_no_sentinel_comes(tmp_path: Path) -> None:
    with Kit(tmp_path, nodes=1, sentinels=3, REDIS_SENTINEL_WAIT="0") as kit:
        node = kit.nodes[0].start()
        assert node.wait(10) == 1
        assert "gave up after 0 s: fewer than 2 of the Sentinels" in node.output()


def test_one_directory_takes_one_server(tmp_path: Path) -> None:
    with Kit(tmp_path, nodes=1, sentinels=0) as kit:
        node = kit.nodes[0].start().wait_ready()
        second = script("entrypoint", "redis", env=node.env | {"REDIS_PORT": str(free_port())})
        refused = script("restore", "--force", node.directory, backup(tmp_path), env={})
        assert second.returncode == refused.returncode == 1
        assert f"another server uses {node.directory}" in second.stderr
        assert f"a server uses {node.directory}; stop it first" in refused.stderr


def backup(folder: Path) -> Path:
    """A small snapshot, by Redis itself."""
    from harness.redis import RedisServer

    with RedisServer(base=None, appendonly="no") as server, server.client() as client:
        client.set("a", 1)
        client.save()
        (folder / "small.rdb").write_bytes((server.directory / "dump.rdb").read_bytes())
    return folder / "small.rdb"


def test_a_sentinel_follows_a_changed_password(tmp_path: Path) -> None:
    with Kit(tmp_path, nodes=1, sentinels=1) as kit:
        sentinel = kit.sentinels[0].start().wait_ready()
        sentinel.terminate()
        Path(kit.env["SENTINEL_PASSWORD_FILE"]).write_text("changed\n")
        sentinel.start()
        with connect(sentinel.port, password="changed") as new:
            wait_until(lambda: answers(new), 10, "the new password is taken")
        with connect(sentinel.port, password=PASSWORDS["sentinel"]) as old, pytest.raises(redis.AuthenticationError):
            old.ping()


def test_other_programs_are_run_as_they_are() -> None:
    assert script("entrypoint", "printf", "%s", "hello world", env={}).stdout == "hello world"


def test_a_single_node_needs_nothing_but_a_directory(tmp_path: Path) -> None:
    port = free_port()
    node = Node("redis", tmp_path, {}, port=port, name="single")
    with node, connect(port) as client:
        wait_until(lambda: answers(client), 10, "the node answers")
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.role()[0] == "master"


def test_a_snapshot_alone_is_not_taken_for_the_data(tmp_path: Path) -> None:
    """With an append-only file to read, Redis would not look at it, and start empty."""
    (tmp_path / "dump.rdb").write_text("REDIS0011")
    ended = script("entrypoint", "redis", env={"REDIS_DIR": str(tmp_path), "REDIS_PORT": str(free_port())})
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "dump.rdb has no append-only file beside it, so Redis would start empty; move it elsewhere" in ended.stderr
    assert (tmp_path / "dump.rdb").exists()


@pytest.mark.parametrize(
    ("args", "env", "sentence"),
    [
        ([], {}, "say what to start: entrypoint redis, or entrypoint sentinel."),
        (["redis"], {"REDIS_DIR": "/nowhere"}, "REDIS_DIR: /nowhere is not a directory"),
        (["redis"], {"REDIS_ACL": "true"}, "REDIS_ACL=true needs the app's password; set REDIS_PASSWORD_FILE."),
        (["redis"], {"REDIS_PASSWORD_FILE": "/nowhere/x"}, "REDIS_PASSWORD_FILE: cannot read /nowhere/x"),
        (["redis"], {"REDIS_PASSWORD_FILE": "/dev/null"}, "/dev/null is empty, and an empty password is none"),
        (["sentinel"], {"SENTINEL_PASSWORD_FILE": "/dev/null"}, "/dev/null is empty, and an empty password is none"),
        (["sentinel"], {}, "REDIS_NODES is empty"),
        (["sentinel"], {"REDIS_NODES": "a:1", "REDIS_SENTINELS": "b:2"}, "set SENTINEL_NODE to this Sentinel's name."),
        (["redis"], {"REDIS_NODES": "a:1", "REDIS_SENTINELS": "b:2"}, "set REDIS_NODE to this node's name."),
    ],
)
def test_a_mistake_is_one_sentence(args: list[str], env: dict[str, str], sentence: str, tmp_path: Path) -> None:
    ended = script("entrypoint", *args, env={"REDIS_DIR": str(tmp_path)} | env)
    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_no_redis_on_the_path_is_one_sentence(tmp_path: Path) -> None:
    ended = script("entrypoint", "redis", env={"REDIS_DIR": str(tmp_path), "PATH": path_with(tmp_path / "bin")})
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "neither redis-cli nor valkey-cli is on PATH" in ended.stderr


def test_a_node_finds_itself_among_the_nodes_by_its_host_name(tmp_path: Path) -> None:
    """As in a StatefulSet, whose pods share one environment."""
    name = subprocess.run(["uname", "-n"], capture_output=True, text=True, check=True).stdout.strip()
    env = {
        "REDIS_NODES": f"{name}.redis:6379,other.redis:6379",
        "REDIS_SENTINELS": f"{LOOPBACK}:1",
        "REDIS_SENTINEL_WAIT": "0",
    }
    ended = script("entrypoint", "redis", env=env | {"REDIS_DIR": str(tmp_path)})
    assert "gave up after 0 s" in ended.stderr


def test_the_secrets_are_found_in_the_credentials_directory(tmp_path: Path) -> None:
    write_secrets(tmp_path / "credentials")
    env = {"REDIS_ACL": "true", "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    node = Node("redis", tmp_path, env, port=free_port(), name="unit")
    with node:
        node.wait_ready()
        assert all(node.answers(user) for user in ("app", "probe", "backup", "replica", "sentinel"))
        node.send(signal.SIGTERM)


def test_two_passwords_are_taken_while_one_of_them_goes_and_no_third(tmp_path: Path) -> None:
    """Of the users that share the application's, and of those who ask a Sentinel; others keep their one."""
    for name in ("redis", "sentinel"):
        (tmp_path / name).write_text(f'{name} "second" \\x\n')
    second = {f"{name.upper()}_SECOND_PASSWORD_FILE": str(tmp_path / name) for name in ("redis", "sentinel")}
    with Kit(tmp_path, nodes=2, sentinels=1, **second) as kit:
        for node in kit.all:
            node.env.pop("REDIS_BACKUP_PASSWORD_FILE")
        kit.start()
        node, sentinel = kit.nodes[0], kit.sentinels[0]
        for user, own in (
            ("app", PASSWORDS["redis"]),
            ("sentinel", PASSWORDS["sentinel"]),
            ("backup", PASSWORDS["redis"]),
        ):
            other = f'{"sentinel" if user == "sentinel" else "redis"} "second" \\x'
            assert [lets_in(node, user, word) for word in (own, other, "third")] == [True, True, False], user
        assert not lets_in(node, "probe", 'redis "second" \\x')
        both = (PASSWORDS["sentinel"], 'sentinel "second" \\x', "third", None)
        assert [lets_in(sentinel, None, word) for word in both] == [True, True, False, False]
        sentinel.restart().wait_ready()
        kit.settle()
        for place in kit.all:
            del place.env["REDIS_SECOND_PASSWORD_FILE"], place.env["SENTINEL_SECOND_PASSWORD_FILE"]
        sentinel.restart().wait_ready()
        assert [lets_in(sentinel, None, word) for word in both] == [True, False, False, False]


def lets_in(node: Node, user: str | None, password: str | None) -> bool:
    with connect(node.port, username=user, password=password) as client:
        return answers(client)
