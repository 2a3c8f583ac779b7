"""What the probes of a pod say of real servers: only who leads or follows is ready, and whoever refuses still lives."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from harness.process import clean_env, wait_until
from harness.redis import LOOPBACK
from infra.topology import load, plan_of
from tests.infra.redis.nodes import SCRIPTS, Kit, Node

PLAN = plan_of(load.read("k8s"))
MOUNTS, PORTS = "/run/secrets/relier", {"redis": 6379, "sentinel": 26379}


def passes(node: Node, kind: str) -> bool:
    """Runs a probe of the plan against a node, with the passwords that lie in its folder of secrets."""
    probe = getattr(PLAN.of_kind("redis" if node.role == "redis" else "sentinel")[0], kind)
    secrets = str(Path(node.env["REDIS_PASSWORD_FILE"]).parent)
    *words, last = (word.replace("/etc/relier", str(SCRIPTS)).replace(MOUNTS, secrets) for word in probe.command)
    command = [*words, last.replace(f"-p {PORTS[node.role]} ", f"-p {node.port} ")]
    done = subprocess.run(command, env=clean_env() | node.env, capture_output=True, check=False, timeout=20)
    return done.returncode == 0


def becomes(node: Node, kind: str) -> None:
    wait_until(lambda: passes(node, kind), 20, f"{node.name} is {kind}", interval=0.2)


def lives_unready(node: Node) -> bool:
    return passes(node, "live") and not passes(node, "ready")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Kit]:
    """A master and a replica without Sentinels, not started."""
    with Kit(tmp_path, nodes=2, sentinels=0, REDIS_MIN_REPLICAS="0") as kit:
        yield kit


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Node]:
    with Kit(tmp_path, nodes=1, sentinels=0) as kit:
        yield kit.nodes[0].start().wait_ready()


def test_a_replica_is_ready_once_it_follows(pair: Kit) -> None:
    leader, follower = pair.nodes
    follower.start().wait_ready()
    assert passes(follower, "start")
    assert lives_unready(follower)
    leader.start().wait_ready()
    assert passes(leader, "ready")
    becomes(follower, "ready")


def test_a_replica_with_another_password_than_its_master_never_gets_ready(pair: Kit) -> None:
    """So an update that changes a password at once stops at the first pod."""
    leader, follower = pair.nodes
    leader.start().wait_ready()
    for name in ("redis", "replica"):
        (changed := follower.directory / name).write_text("another\n")
        follower.env[f"REDIS_{'' if name == 'redis' else 'REPLICA_'}PASSWORD_FILE"] = str(changed)
    shutil.copy(leader.env["REDIS_PROBE_PASSWORD_FILE"], follower.directory / "probe")
    follower.start().wait_ready()
    wait_until(lambda: "Unable to AUTH to " in follower.output(), 10, "the master refuses it")
    assert lives_unready(follower)


def test_who_has_another_password_than_its_file_is_alive(alone: Node) -> None:
    """The kubelet writes a changed Secret into running pods, and must not kill them all for it."""
    file = Path(alone.env["REDIS_PROBE_PASSWORD_FILE"])
    assert passes(alone, "ready")
    file.write_text("another\n")
    assert lives_unready(alone)


def test_who_cannot_write_a_snapshot_is_alive(alone: Node) -> None:
    shutil.rmtree(alone.directory)
    with alone.admin() as admin:
        admin.bgsave()
    wait_until(lambda: refusal(alone) == "MISCONF", 10, "the snapshot failed")
    assert lives_unready(alone)


def test_who_runs_a_long_script_is_alive(alone: Node) -> None:
    with alone.admin() as admin:
        admin.config_set("busy-reply-threshold", 50)
        thread = threading.Thread(target=spin, args=(alone.client("app", socket_timeout=60),))
        thread.start()
        try:
            wait_until(lambda: refusal(alone) == "BUSY", 10, "the script runs")
            assert lives_unready(alone)
        finally:
            admin.script_kill()
            thread.join()
    assert passes(alone, "ready")


def spin(client: redis.Redis) -> None:
    with client, contextlib.suppress(redis.RedisError):
        client.eval("while true do end", 0)


def refusal(node: Node) -> str:
    """How a ping is refused, if it is."""
    with node.client("probe") as client:
        try:
            client.ping()
        except redis.RedisError as error:
            return str(error).partition(" ")[0]
    return ""


def until(true: Callable[[], bool], what: str) -> None:
    wait_until(true, 20, what, interval=0.2)


def test_who_leads_is_ready_with_a_replica_and_only_if_the_sentinels_say_that_it_leads(tmp_path: Path) -> None:
    """A master that was quickly back leads by its own word only, once the Sentinels have elected another."""
    with Kit(tmp_path, nodes=2, sentinels=1) as kit:
        leader = kit.start().settle()
        follower = next(node for node in kit.nodes if node is not leader)
        for node in kit.nodes:
            becomes(node, "ready")
        follower.terminate()
        until(lambda: not passes(leader, "ready"), "nobody follows")
        follower.start()
        becomes(leader, "ready")
        with leader.admin() as old, follower.admin() as new:
            new.replicaof("NO", "ONE")
            old.replicaof(LOOPBACK, str(follower.port))
            until(lambda: new.info("replication")["connected_slaves"] == 1, "it has a replica")
        assert lives_unready(follower)


def test_a_sentinel_is_ready_while_it_sees_the_master(tmp_path: Path) -> None:
    with Kit(tmp_path, nodes=1, sentinels=1) as kit:
        kit.start(kit.sentinels + kit.nodes)
        becomes(kit.sentinels[0], "ready")
        kit.nodes[0].kill()
        until(lambda: not passes(kit.sentinels[0], "ready"), "it misses the master")
        assert passes(kit.sentinels[0], "live")


def test_a_sentinel_that_the_master_refuses_is_not_ready(tmp_path: Path) -> None:
    with Kit(tmp_path, nodes=1, sentinels=1) as kit:
        kit.start(kit.sentinels + kit.nodes)
        sentinel = kit.sentinels[0]
        becomes(sentinel, "ready")
        sentinel.terminate()
        Path(kit.env["SENTINEL_PASSWORD_FILE"]).write_text("another\n")
        sentinel.start()
        becomes(sentinel, "live")
        until(lambda: "+sdown master" in sentinel.output(), "it cannot ask the master")
        assert lives_unready(sentinel)
