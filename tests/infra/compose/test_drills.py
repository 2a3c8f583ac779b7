"""What operators fear, done to a real production tier under load: nothing acknowledged is lost or commits twice."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from harness.load import Load, Verdict
from harness.process import wait_until
from tests.infra.compose.stack import Stack, docker, engine

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not engine(), reason="no Docker engine with Compose"),
]

PAUSE = 20.0
LONG_TASK = 20.0
Note = Callable[[str, object], None]


@pytest.fixture
def note(record_property: Note) -> Note:
    """A measured figure: into the report, and onto the terminal of `-s`."""

    def say(name: str, value: object) -> None:
        record_property(name, value)
        print(f"{name}: {value}")

    return say


def settled(load: Load, note: Note) -> Verdict:
    """Ends the load and holds the ledger to every acknowledgement."""
    load.stop()
    verdict = load.verdict(300)
    note("acknowledged", verdict.acknowledged)
    note("pushes that failed", len(load.failed))
    assert verdict.acknowledged > 100, "too little was pushed to say anything"
    assert verdict.lost == []
    assert verdict.twice == 0
    return verdict


def revive(prod: Stack, container: str) -> None:
    docker("start", container)
    prod.wait_whole()


@pytest.mark.soak  # once is enough where the conformance suite does the same: test_tiers.py
def test_the_master_is_killed_under_load_again_and_again(prod: Stack, note: Note) -> None:
    """Its container and its DNS name are gone; no worker exits, and pushes go on."""
    lives, load, gaps = prod.lives(), prod.load().start(), []
    for _ in range(5):
        master = prod.master()
        container, at = prod.containers()[master], time.time()
        docker("kill", container)
        wait_until(lambda gone=master: prod.master() not in ("", gone), 60, "another master is elected", 0.5)
        wait_until(lambda since=at: max(load.acknowledged.values()) > since + 10, 60, "pushes go on", 0.5)
        gaps.append(round(load.gap(at), 1))
        revive(prod, container)
    note("pushes resumed after s", gaps)
    settled(load, note)
    assert prod.lives() == lives, "a worker or the resurrector exited"


@pytest.mark.soak  # as above
def test_a_paused_master_wakes_up_as_a_replica(prod: Stack, note: Note) -> None:
    load = prod.load().start()
    old = prod.master()
    container, at = prod.containers()[old], time.time()
    docker("pause", container)
    wait_until(lambda: time.time() > at + PAUSE, PAUSE + 1, "the pause is over", 0.5)
    docker("unpause", container)
    prod.wait_whole()
    note("pushes resumed after s", round(load.gap(at), 1))
    settled(load, note)
    assert prod.masters() == [prod.master()]
    assert prod.master() != old


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.soak)])
def test_any_container_is_killed_at_random_under_load(kills: int, prod: Stack, note: Note) -> None:
    seed = random.randrange(2**32)
    note("seed", seed)
    dice, load = random.Random(seed), prod.load().start()
    for _ in range(kills):
        service = dice.choice(sorted(prod.running()))
        container = prod.containers()[service]
        docker("kill", container)
        time.sleep(dice.uniform(0, 8))
        revive(prod, container)
    settled(load, note)


def test_stopping_the_tier_drains_long_tasks(prod: Stack, note: Note) -> None:
    """Nobody is killed: what runs is finished or handed off, and the rest waits for the next start."""
    load = prod.load(rate=4, seconds=LONG_TASK).start()
    wait_until(lambda: len(load.acknowledged) > 30, 60, "every child is busy", 0.5)
    load.stop()
    began = time.monotonic()
    workers = [workload.name for workload in prod.plan.of_kind("worker")]
    docker("compose", "-p", prod.project, "stop")
    note("stopped after s", round(time.monotonic() - began, 1))
    codes = {worker: prod.inspect(worker)["State"]["ExitCode"] for worker in workers}
    prod.up()
    prod.wait_whole()
    verdict = load.verdict(300)
    assert codes == dict.fromkeys(workers, 0), "a worker was killed or failed instead of draining"
    assert (verdict.lost, verdict.twice) == ([], 0)


def test_after_a_failover_a_new_start_keeps_the_last_acknowledged_key(prod: Stack, note: Note) -> None:
    """Never the stale node: the promoted one leads again, or hands over to one that has the data."""
    # More than the pools can do: the last ones still wait when the tier goes down.
    load = prod.load(seconds=0.1).start()
    old = prod.master()
    docker("kill", prod.containers()[old])
    wait_until(lambda: prod.master() not in ("", old), 60, "another master is elected", 0.5)
    at = time.time()
    wait_until(lambda: max(load.acknowledged.values()) > at + 2, 60, "pushes go on", 0.5)
    load.stop()
    last = max(load.acknowledged, key=load.acknowledged.__getitem__)
    prod.down()
    note("healthy again after s", round(prod.up(), 1))
    prod.wait_whole()
    found = docker(*prod.prefix()[1:], "rl", "tasks", "inspect", last, "--json")
    assert last in found
    verdict = load.verdict(300)
    assert (verdict.lost, verdict.twice) == ([], 0)
