"""Real Sentinels and nodes: a failover, then everything down and up again in any order."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import redis

from harness.process import wait_until
from tests.infra.redis.nodes import MASTER_NAME, Kit, Node


def test_the_first_node_leads_at_the_first_start(kit: Kit, promoted: tuple[Node, Node]) -> None:
    assert promoted[0] is kit.nodes[0]


def test_a_failover_asks_for_nothing_that_the_acl_refuses(kit: Kit, promoted: tuple[Node, Node]) -> None:
    assert [line for node in kit.nodes if node.alive for line in node.denied()] == []


def test_every_node_announces_its_name_the_first_master_too(kit: Kit, promoted: tuple[Node, Node]) -> None:
    for node in filter(lambda node: node.alive, kit.nodes):
        with node.admin() as admin:
            assert admin.config_get("replica-announce-*") == {
                "replica-announce-ip": "127.0.0.1",
                "replica-announce-port": str(node.port),
            }


def test_a_master_without_replicas_takes_no_writes(kit: Kit, promoted: tuple[Node, Node]) -> None:
    for node in filter(lambda node: node.alive, kit.nodes):
        with node.admin() as admin:
            assert admin.config_get("min-replicas-*")["min-replicas-to-write"] == "1"


def holds_all(master: Node) -> bool:
    with master.client("app") as client:
        return (client.get("before"), client.get("last")) == ("failover", "acknowledged")


def test_a_cold_start_with_the_stale_master_first_elects_the_node_with_the_data(
    kit: Kit, promoted: tuple[Node, Node]
) -> None:
    """The old master's own file says that it leads, and its disk lacks the last write."""
    old, new = promoted
    assert "\nreplicaof" not in (old.directory / "redis.conf").read_text()
    kit.stop()
    kit.start([old, *(node for node in kit.nodes if node is not old), *kit.sentinels])
    assert kit.settle() is new
    assert holds_all(new)


def test_a_cold_start_waits_for_a_leader_that_comes_late(kit: Kit, promoted: tuple[Node, Node]) -> None:
    """Replicas look all alike after a cold start, so none may be elected before the known leader had its chance."""
    leader = kit.settle()
    kit.stop()
    followers = [node for node in kit.nodes if node is not leader]
    for node in [*kit.sentinels, *followers]:
        node.start()
    for node in followers:
        node.wait_for_output(["does not answer yet"], 10)
    wait_until(lambda: gone(kit.sentinels), 10, "the Sentinels miss the leader", interval=0.1)
    leader.start()
    assert kit.settle() is leader
    assert holds_all(leader)


def gone(sentinels: list[Node]) -> bool:
    """All of them agree that the master is down, so that they would elect another if they could."""
    with contextlib.suppress(redis.RedisError):
        return all(sentinel.client().sentinel_master(MASTER_NAME)["is_odown"] for sentinel in sentinels)
    return False


def test_a_sentinels_file_is_seeded_once(kit: Kit, promoted: tuple[Node, Node]) -> None:
    leader = kit.settle()
    sentinel = kit.sentinels[0]
    before = (sentinel.directory / "sentinel.conf").read_text()
    sentinel.restart().wait_ready()
    after = (sentinel.directory / "sentinel.conf").read_text()
    learned = ("sentinel myid", "sentinel monitor", "sentinel current-epoch", "sentinel known-replica")
    for word in learned:
        assert [line for line in before.splitlines() if line.startswith(word)]
        assert {line for line in before.splitlines() if line.startswith(word)} == {
            line for line in after.splitlines() if line.startswith(word)
        }
    assert str(leader.port) in next(line for line in after.splitlines() if line.startswith("sentinel monitor"))


def test_a_leader_that_lost_its_data_does_not_empty_the_replicas(kit: Kit, promoted: tuple[Node, Node]) -> None:
    leader = kit.settle()
    kit.stop()
    for lost in ("appendonlydir", "dump.rdb"):
        path: Path = leader.directory / lost
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for node in kit.all:
        node.env["REDIS_MASTER_WAIT"] = "1"
    kit.start()
    master = kit.settle()
    assert master is not leader
    assert "lost its data" in leader.output()
    with leader.client("app") as client:
        assert client.get("last") == "acknowledged"


def test_a_sentinel_that_lost_its_disk_asks_the_others(kit: Kit, promoted: tuple[Node, Node]) -> None:
    leader, sentinel = kit.settle(), kit.sentinels[1]
    sentinel.terminate()
    shutil.rmtree(sentinel.directory)
    sentinel.directory.mkdir()
    sentinel.start().wait_ready()
    assert f"the master of relier-master is {leader.address}" in sentinel.output()
    assert kit.settle() is leader
