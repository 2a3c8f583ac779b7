"""Redis goes away and comes back: healthy tasks run once, nothing is lost, and every worker goes on by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.journal import Journal, Tally
from harness.process import Process, Resurrector, Worker, wait_until
from harness.proxy import Proxy
from harness.redis import RedisServer
from relier.pulse import FRESH_SECONDS

StartBehind = Callable[..., tuple[Proxy, Worker]]
POOLS = {"prefork": 2, "solo": 1, "threads": 4}
KILLS: dict[str, Callable[[RedisServer], object]] = {
    "SIGTERM": lambda server: server.terminate(),
    "SIGKILL": lambda server: server.kill(),
    "frozen": lambda server: server.pause(),
}


class Site:
    """A Redis of its own, one worker of each pool on a queue that only it serves, and a resurrector."""

    def __init__(self, folder: Path, ttl: float) -> None:
        self.folder, self.server = folder, RedisServer()
        self.journal = Journal(folder / "journal")
        self.env = {
            "RELIER_HEARTBEAT_TTL": f"{ttl:g}",
            "RELIER_RESURRECTION_CHECK_INTERVAL": f"{ttl / 5:g}",
            "RELIER_UNCLAIMED_GRACE": "1",
            "RELIER_PUSH_RETRY_WINDOW": "60",
            "RELIER_RUNTIME_DIR": str(folder / "pulse"),
            "JOURNAL": str(self.journal.path),
        }
        self.processes: list[Process] = []
        self.ids: list[str] = []

    def open(self) -> Site:
        self.server.start()
        self.env["RELIER_REDIS_URL"] = self.server.url
        self.processes = [self._worker(pool, size).start() for pool, size in POOLS.items()]
        self.processes.append(Resurrector(self.env, log=self.folder / "resurrector.log").start())
        for worker in self.processes[:-1]:
            assert isinstance(worker, Worker)
            worker.wait_ready()
        return self

    def _worker(self, pool: str, size: int) -> Worker:
        include = "tests.lib.outage_tasks"
        queues = f"{QUEUE[pool]},re-queue"
        log = self.folder / f"{pool}.log"
        return Worker(self.env, log=log, include=include, pool=pool, concurrency=size, queues=queues, name=pool)

    def push(self, seconds: float, each: int = 1) -> list[str]:
        """So many bodies of both kinds for every worker; one body alone for the solo worker if each is 1."""
        from tests.lib import outage_tasks

        bodies = [outage_tasks.nap, outage_tasks.anap]
        wanted = [(queue, body) for queue in QUEUE.values() for body in bodies * each]
        if each == 1:
            wanted.remove((QUEUE["solo"], outage_tasks.nap))
        new = [body.apply_async((seconds,), queue=queue).id for queue, body in wanted]
        self.ids += new
        return new

    def started(self, ids: list[str], timeout: float = 30.0) -> None:
        wait_until(lambda: set(ids) <= set(self.journal.read().starts), timeout, f"{len(ids)} bodies began")

    def finished(self, timeout: float = 60.0) -> None:
        """Wait until every body ran to its end and its record is gone."""
        wait_until(lambda: set(self.ids) <= self.journal.read().finished, timeout, "every body ended", 0.1)
        client = self.server.client()
        wait_until(lambda: not list(client.scan_iter("rl:phoenix:*-*")), 20, "every record is settled", 0.1)

    def close(self) -> None:
        for process in self.processes:
            process.stop(timeout=0.1)
        self.server.close()


QUEUE = {"prefork": "default", "solo": "high_priority", "threads": "low_priority"}


@pytest.fixture
def site(tmp_path: Path, settings: Callable[..., Any]) -> Iterator[Callable[[float], Site]]:
    opened: list[Site] = []

    def begin(ttl: float) -> Site:
        opened.append(Site(tmp_path, ttl))
        opened[0].open()
        settings(redis_url=opened[0].server.url, push_retry_window=60)
        return opened[0]

    yield begin
    for one in opened:
        one.close()


def outage(site: Site, way: str, seconds: float) -> None:
    """Redis is gone for so long, then there again with what it had."""
    KILLS[way](site.server)
    time.sleep(seconds)  # the length of the outage is the fault itself, not a wait for a state
    pulses = list(site.folder.glob("pulse-*/*.pulse"))
    assert len(pulses) == len(POOLS)
    assert max(time.time() - pulse.stat().st_mtime for pulse in pulses) < FRESH_SECONDS, (
        "a probe would restart a live worker"
    )
    if way == "frozen":
        site.server.resume()
    else:
        site.server.start()


def strike(site: Site, way: str, seconds: float) -> float:
    """An outage under tasks that run and tasks in line; returns the seconds until every worker consumed again."""
    running = site.push(seconds + 1)
    site.started(running)
    site.push(0.05, each=4)
    pids = {process.name: process.pid for process in site.processes}
    assert all(process.alive for process in site.processes)
    outage(site, way, seconds)
    back = time.monotonic()
    fresh = site.push(0.0)
    site.started(fresh, 90)
    recovery = time.monotonic() - back
    site.finished()
    assert {process.name: process.pid for process in site.processes if process.alive} == pids
    return recovery


def check(site: Site) -> None:
    tally = site.journal.read()
    assert {task: tally.starts[task] for task in site.ids} == dict.fromkeys(site.ids, 1), "a task ran twice or never"
    client = site.server.client()
    assert client.hlen("rl:dlq") == 0
    assert int(client.get("rl:m:global:success")) == len(site.ids)


@pytest.mark.parametrize("way", ["SIGTERM", "SIGKILL"])
def test_an_outage_longer_than_two_ttls_costs_no_task_and_no_second_run(
    way: str, site: Callable[[float], Site], record_property: Callable[[str, object], None]
) -> None:
    here = site(3.0)
    record_property("seconds until every worker consumed again", round(strike(here, way, 8.0), 2))
    check(here)


def test_a_holder_that_reports_later_than_the_resurrector_scans_is_not_called_dead(
    settings: Callable[..., Any],
    journal: Journal,
    start_worker: Callable[..., Any],
    start_resurrector: Callable[..., Any],
) -> None:
    from tests.lib import outage_tasks

    with RedisServer() as server, Proxy(server.port) as wire:
        settings(redis_url=server.url)
        resurrector = start_resurrector(
            RELIER_REDIS_URL=server.url, RELIER_HEARTBEAT_TTL="3", RELIER_RESURRECTION_CHECK_INTERVAL="0.3"
        )
        env = {"RELIER_REDIS_URL": wire.url(), "RELIER_HEARTBEAT_TTL": "3"}
        start_worker(pool="solo", concurrency=1, include="tests.lib.outage_tasks", env=env)
        task = outage_tasks.nap.push(7).id
        wait_until(lambda: journal.read().starts[task], 20, "the body began")
        server.pause()
        wire.black_hole()
        time.sleep(5)  # the length of the outage is the fault itself
        server.resume()
        wait_until(lambda: resurrector.output().count("holders have") >= 2, 10, "the resurrector scanned twice")
        wire.flow()
        wait_until(lambda: journal.read().ends[task], 20, "the body ended")
        with server.client() as client:
            wait_until(lambda: client.get("rl:m:global:success") == "1", 20, "it is committed")
    assert journal.read().starts == {task: 1}


@pytest.fixture
def start_behind(
    server: RedisServer, settings: Callable[..., Any], start_worker: Callable[..., Worker]
) -> Iterator[StartBehind]:
    """Start a worker whose every connection to Redis goes over a wire that the test may harm. All others go past it."""
    with Proxy(server.port) as wire:

        def start(pool: str, **env: str) -> tuple[Proxy, Worker]:
            env = {"RELIER_REDIS_URL": wire.url()} | env
            include = "tests.lib.outage_tasks"
            return wire, start_worker(pool=pool, concurrency=POOLS[pool], include=include, env=env)

        yield start


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "pool", ["prefork", pytest.param("solo", marks=pytest.mark.soak), pytest.param("threads", marks=pytest.mark.soak)]
)
def test_connections_that_go_silent_are_replaced_with_no_false_death(
    pool: str,
    start_behind: StartBehind,
    journal: Journal,
    start_resurrector: Callable[..., Any],
    db: Any,
) -> None:
    """Only the worker is behind the wire that fails, so the resurrector sees every missed heartbeat."""
    from tests.lib import outage_tasks

    start_resurrector(RELIER_HEARTBEAT_TTL="4", RELIER_RESURRECTION_CHECK_INTERVAL="0.3")
    wire, worker = start_behind(pool, RELIER_HEARTBEAT_TTL="4", RELIER_REDIS_SOCKET_TIMEOUT="3")
    running = outage_tasks.nap.push(5).id
    wait_until(lambda: journal.read().starts[running], 20, "the body began")
    wire.silence()
    wait_until(lambda: journal.read().ends[running], 20, "the body ended")
    fresh = outage_tasks.anap.push(0).id
    wait_until(lambda: journal.read().ends[fresh], 90, "the worker consumes again")
    wait_until(lambda: db.get("rl:m:global:success") == "2", 10, "both are committed")
    assert worker.alive
    assert journal.read().starts == {running: 1, fresh: 1}


@pytest.mark.parametrize("pool", ["prefork", pytest.param("threads", marks=pytest.mark.soak)])
def test_a_worker_that_is_cut_off_again_and_again_keeps_its_slots(
    pool: str,
    start_behind: StartBehind,
    journal: Journal,
    start_resurrector: Callable[..., Any],
) -> None:
    """Each cut finds tasks that run, tasks that were fetched, and tasks in line."""
    from tests.lib import outage_tasks

    start_resurrector(RELIER_UNCLAIMED_GRACE="0.5", RELIER_RESURRECTION_CHECK_INTERVAL="0.3")
    wire, worker = start_behind(pool)
    size = POOLS[pool]
    ids: list[str] = []
    for _ in range(3):
        batch = [outage_tasks.nap.push(0.5).id for _ in range(3 * size)]
        wait_until(lambda batch=batch: set(batch) & set(journal.read().starts), 30, "a body began")
        wire.cut()
        ids += batch
    wait_until(lambda: set(ids) <= journal.read().finished, 60, "every task ran")
    last = [outage_tasks.nap.push(3).id for _ in range(size)]  # long enough for one that comes by a detour
    wait_until(lambda: set(last) <= journal.read().finished, 30, "the last tasks ran")
    assert worker.alive
    tally = journal.read()
    assert tally.starts == dict.fromkeys([*ids, *last], 1)
    assert max(e.at for e in tally.entries if e.kind == "start") < min(_ends(tally, last)), "not all slots were used"


def _ends(tally: Tally, ids: list[str]) -> list[float]:
    return [entry.at for task in ids for entry in tally.of(task, "end")]


def test_a_child_that_is_killed_after_a_reconnection_is_buried_at_once(
    start_behind: StartBehind, journal: Journal
) -> None:
    """No resurrector runs: only the parent, whose event loop forgot its watchers meanwhile, can bring the task back."""
    from tests.lib import outage_tasks

    wire, worker = start_behind("prefork")
    wire.cut()
    task = outage_tasks.nap.push(3).id
    wait_until(lambda: journal.read().starts[task], 30, "the worker consumes again")
    os.kill(journal.read().of(task)[0].pid, signal.SIGKILL)
    wait_until(lambda: journal.read().starts[task] == 2, 8, "the task was brought back")
    wait_until(lambda: journal.read().ends[task], 20, "its second run ended")
    assert worker.alive
    wait_until(lambda: len(worker.children()) == POOLS["prefork"], 10, "the child was replaced")


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["SIGTERM", "SIGKILL", "frozen"])
@pytest.mark.parametrize("seconds", [8.0, 40.0])
def test_an_outage_with_the_settings_of_production(
    way: str, seconds: float, site: Callable[[float], Site], record_property: Callable[[str, object], None]
) -> None:
    here = site(10.0)
    record_property("seconds until every worker consumed again", round(strike(here, way, seconds), 2))
    check(here)
