"""A master behind Sentinel dies or freezes under load: no acknowledged push is lost, and all go on by themselves."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from harness.journal import Journal
from harness.process import Process, Resurrector, Worker, relier_env, wait_until
from harness.redis import RedisServer, SentinelCluster

PASSWORD, SENTINEL_PASSWORD = "m4ster", "s3ntinel"
RATE = 200
FREEZE = 20.0
FLEET = {"prefork": 2, "threads": 8}


class Producer(Process):
    """Pushes tasks at a rate from several threads and journals each id once its push has returned."""

    def __init__(self, env: dict[str, str], folder: Path, durability: str, rate: int = RATE) -> None:
        self.acknowledged = Journal(folder / "acknowledged")
        argv = [sys.executable, "-m", "tests.lib.outage_tasks", durability, str(rate), str(self.acknowledged.path)]
        super().__init__(argv, env=relier_env(env), name="producer", log=folder / "producer.log")

    def moments(self) -> dict[str, float]:
        """When each acknowledged push returned."""
        return {entry.task_id: entry.at for entry in self.acknowledged.follow() if entry.kind == "pushed"}


@dataclass
class Stage:
    """A cluster, workers of two pools, a resurrector, and the log of outcomes."""

    cluster: SentinelCluster
    folder: Path
    env: dict[str, str]
    journal: Journal
    processes: list[Process] = field(default_factory=list)

    def start_fleet(self) -> None:
        for pool, size in FLEET.items():
            worker = Worker(
                self.env,
                log=self.folder / f"{pool}.log",
                include="tests.lib.outage_tasks",
                pool=pool,
                concurrency=size,
                name=pool,
            )
            self.processes.append(worker.start())
        self.processes.append(Resurrector(self.env, log=self.folder / "resurrector.log").start())
        for worker in self.processes[:-1]:
            assert isinstance(worker, Worker)
            worker.wait_ready()

    def start_producer(self, durability: str) -> Producer:
        producer = Producer(self.env, self.folder, durability).start()
        self.processes.append(producer)
        wait_until(lambda: len(producer.moments()) > RATE // 4, 30, "the producer pushes")
        return producer

    def finish(self, producer: Producer, timeout: float = 120.0) -> set[str]:
        """End the producer, wait until every record is settled, and return the acknowledged ids."""
        assert producer.terminate(40) == 0, producer.tail()
        self.processes.remove(producer)
        acknowledged = set(producer.moments())
        with self.cluster.master().client() as client:
            wait_until(lambda: _idle(client), timeout, "every record is settled", 0.25)
        return acknowledged

    def close(self) -> None:
        for process in self.processes:
            process.stop(timeout=0.1)


def _idle(client: redis.Redis) -> bool:
    return not any(True for _ in client.scan_iter("rl:phoenix:*-*", count=5000))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    opened: list[Stage] = []

    def begin(**env: str) -> Stage:
        cluster = SentinelCluster(password=PASSWORD, sentinel_password=SENTINEL_PASSWORD, down_after=2.0)
        one = Stage(cluster, tmp_path, {}, Journal(tmp_path / "journal"))
        opened.append(one)
        cluster.start()
        one.env = cluster.env() | {"JOURNAL": str(one.journal.path), "RELIER_ADMISSION_LIMIT": "100000"} | env
        one.env["WATCH_COMMITS"] = "1"
        one.start_fleet()
        return one

    yield begin
    for one in opened:
        one.close()
        one.cluster.close()


def lost(stage: Stage, acknowledged: set[str]) -> set[str]:
    """Acknowledged, and yet its body never ran to its end."""
    return acknowledged - stage.journal.read().finished


def commits(stage: Stage) -> Counter[str]:
    """Accepted commits as the workers saw them."""
    entries = stage.journal.read().entries
    return Counter(entry.task_id for entry in entries if entry.kind == "commit" and entry.extra in ("ok", "again"))


def gap_after(moments: dict[str, float], since: float) -> float:
    """Seconds from `since` until pushes were acknowledged again."""
    times = sorted(moments.values())
    pauses = [(after - before, after) for before, after in itertools.pairwise(times) if after > since]
    longest, resumed = max(pauses)
    return resumed - since if longest > 0.5 else 0.0


def fail_over(stage: Stage, producer: Producer) -> float:
    """SIGKILL the master under load and revive it as a replica; returns seconds until pushes resumed."""
    pids = {process.name: process.pid for process in stage.processes}
    killed = time.time()
    old = stage.cluster.kill_master()
    stage.cluster.wait_failover(old)
    wait_until(lambda: max(producer.moments().values()) > killed + 4, 60, "pushes resumed", 0.2)
    seen = stage.journal.read().finished
    wait_until(lambda: stage.journal.read().finished - seen, 60, "the workers consume again", 0.2)
    assert not _written_back(stage), "after the failover the workers use another transport than Relier's"
    resumed = gap_after(producer.moments(), killed)
    stage.cluster.revive(old)
    assert {process.name: process.pid for process in stage.processes if process.alive} == pids
    return resumed


def _written_back(stage: Stage) -> bool:
    """kombu's own transport notes every message that a worker holds in `unacked`; Relier's has the ledger for that."""
    until = time.monotonic() + 1.5
    with stage.cluster.master().client() as client:
        while time.monotonic() < until:
            if client.hlen("unacked"):
                return True
    return False


def test_a_worker_behind_sentinel_tells_its_stats_and_no_password(stage: Callable[..., Stage]) -> None:
    here = stage()
    argv = [sys.executable, "-m", "celery", "-A", "relier.tasks.app", "inspect", "stats", "--json", "--timeout", "5"]
    told = subprocess.run(argv, env=relier_env(here.env), capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    assert len(json.loads(told.stdout)) == len(FLEET)
    assert PASSWORD not in told.stdout
    assert SENTINEL_PASSWORD not in told.stdout


@pytest.mark.parametrize(
    "kills",
    [pytest.param(1, id="once"), pytest.param(10, id="ten-times", marks=[pytest.mark.soak, pytest.mark.timeout(1800)])],
)
def test_a_master_killed_under_load_loses_no_acknowledged_push(
    kills: int, stage: Callable[..., Stage], record_property: Callable[[str, object], None]
) -> None:
    here = stage(RELIER_DURABILITY="replicated")
    producer = here.start_producer("replicated")
    gaps = [round(fail_over(here, producer), 1) for _ in range(kills)]
    acknowledged = here.finish(producer)
    tally = here.journal.read()
    record_property("acknowledged", len(acknowledged))
    record_property("pushes resumed after s", gaps)
    record_property("bodies that ran twice", len(tally.twice))
    record_property("commits per task", dict(Counter(commits(here).values())))
    assert lost(here, acknowledged) == set()
    assert max(commits(here).values()) == 1
    assert max(gaps) < 30


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("durability", ["replicated", "local"])
def test_a_master_frozen_under_load_and_thawed_again(
    durability: str,
    stage: Callable[..., Stage],
    settings: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """Replicated loses nothing that was acknowledged; what local loses is measured, and is no failure."""
    here = stage(RELIER_DURABILITY=durability)
    producer = here.start_producer(durability)
    pids = {process.name: process.pid for process in here.processes}
    frozen = time.time()
    old = here.cluster.master()
    for name, value in here.env.items():
        monkeypatch.setenv(name, value)
    settings()
    idle = _push_at_once(durability)
    old.pause()
    here.cluster.wait_failover(old)
    wait_until(lambda: time.time() > frozen + FREEZE, FREEZE + 1, "the freeze is over", 0.2)
    old.resume()
    idle |= _push_at_once(durability)
    wait_until(lambda: _is_replica(old), 60, "the old master became a replica", 0.2)
    thawed = time.time()
    wait_until(lambda: max(producer.moments().values()) > thawed + 2, 60, "pushes go on", 0.2)
    assert {process.name: process.pid for process in here.processes if process.alive} == pids
    acknowledged = here.finish(producer) | idle
    missing = lost(here, acknowledged)
    record_property("acknowledged", len(acknowledged))
    record_property("pushes resumed after s", round(gap_after(producer.moments(), frozen), 1))
    record_property("acknowledged and lost", len(missing))
    record_property("bodies that ran twice", len(here.journal.read().twice))
    assert durability == "local" or missing == set()
    assert durability == "local" or max(commits(here).values()) == 1


def _push_at_once(durability: str) -> set[str]:
    """By a producer that was quiet meanwhile, so that its connection still leads to the node that was master."""
    from tests.lib import outage_tasks

    outage_tasks.nap.durability = durability
    try:
        return {outage_tasks.nap.push(0.0).id for _ in range(20)}
    finally:
        outage_tasks.nap.durability = None


def _is_replica(node: RedisServer) -> bool:
    try:
        with node.client() as client:
            info = client.info("replication")
    except (redis.ConnectionError, redis.TimeoutError):
        return False
    return bool(info["role"] == "slave" and info["master_link_status"] == "up")
