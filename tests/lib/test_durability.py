"""What an acknowledged push survives: with `replicated` the loss of the master, with `fsynced` a power cut."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from harness.journal import Journal
from harness.process import wait_until
from harness.proxy import Proxy
from harness.redis import RedisServer
from relier import DurabilityError

PUSHES = 50
QUICK = {"durability_timeout": 0.3, "push_retry_window": 0.2, "redis_socket_timeout": 2}


@dataclass
class Pair:
    """A master, and a replica that follows it over a wire that a test can cut without either end noticing."""

    master: RedisServer
    replica: RedisServer
    wire: Proxy

    def in_step(self) -> bool:
        with self.replica.client() as client:
            return bool(client.info("replication")["master_link_status"] == "up")

    def lose_the_master(self) -> redis.Redis:
        """The master is gone for good and the replica takes over, as Sentinel would have it."""
        self.master.kill()
        client = self.replica.client()
        client.replicaof("NO", "ONE")
        return client


@pytest.fixture
def pair(settings: Callable[..., Any]) -> Iterator[Pair]:
    with RedisServer(repl_diskless_sync_delay=0) as master, Proxy(master.port) as wire, RedisServer() as replica:
        replica.stop()
        replica.start("--replicaof", "127.0.0.1", str(wire.port))
        both = Pair(master, replica, wire)
        wait_until(both.in_step, 20, "the replica follows")
        settings(redis_url=master.url, **QUICK)
        yield both


def push_until_refused(durability: str) -> tuple[list[str], int]:
    """Fifty pushes; the ids of those that returned, and how many raised."""
    from tests.lib import outage_tasks

    acknowledged, refused = [], 0
    for number in range(PUSHES):
        task_id = f"{durability}-{number}-{uuid.uuid4()}"
        outage_tasks.nap.durability = durability
        try:
            outage_tasks.nap.apply_async((0,), task_id=task_id)
            acknowledged.append(task_id)
        except DurabilityError:
            refused += 1
            if refused == 3:
                break
    return acknowledged, refused


@pytest.fixture(autouse=True)
def _restore_durability() -> Iterator[None]:
    yield
    from tests.lib import outage_tasks

    outage_tasks.nap.durability = None


def kept(client: redis.Redis, ids: list[str]) -> int:
    return sum(client.exists(f"rl:phoenix:{task}") for task in ids)


def test_replicated_pushes_are_there_after_the_master_is_lost(pair: Pair, settings: Callable[..., Any]) -> None:
    settings(durability_timeout=10)
    acknowledged, refused = push_until_refused("replicated")
    assert (len(acknowledged), refused) == (PUSHES, 0)
    assert kept(pair.lose_the_master(), acknowledged) == PUSHES


def test_replicated_acknowledges_nothing_that_only_the_cut_off_master_has(pair: Pair) -> None:
    before, _ = push_until_refused("replicated")
    pair.wire.black_hole()
    acknowledged, refused = push_until_refused("replicated")
    assert (acknowledged, refused) == ([], 3)
    assert kept(pair.lose_the_master(), before) == len(before)


def test_local_acknowledges_what_only_the_cut_off_master_has_and_it_can_be_lost(
    pair: Pair, record_property: Callable[[str, object], None]
) -> None:
    pair.wire.black_hole()
    acknowledged, refused = push_until_refused("local")
    assert (len(acknowledged), refused) == (PUSHES, 0)
    survivors = kept(pair.lose_the_master(), acknowledged)
    record_property("local pushes lost with a cut-off master", f"{PUSHES - survivors} of {PUSHES}")
    assert survivors == 0, "nothing was cut, so the tests beside this one prove nothing"


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_repeated_push_is_not_confirmed_by_a_wait_that_had_nothing_to_wait_for(pair: Pair, colour: str) -> None:
    """From 7.2 on, WAIT on a fresh connection that wrote nothing counts every replica that is connected."""
    from relier.ledger import forget
    from tests.lib import outage_tasks

    outage_tasks.nap.durability = "replicated"
    task_id = str(uuid.uuid4())
    pair.wire.black_hole()
    with pytest.raises(DurabilityError):
        outage_tasks.nap.apply_async((0,), task_id=task_id)
    forget()
    with pytest.raises(DurabilityError):
        if colour == "sync":
            outage_tasks.nap.apply_async((0,), task_id=task_id)
        else:
            asyncio.run(_send_async(task_id))
    pair.wire.flow()
    outage_tasks.nap.apply_async((0,), task_id=task_id)
    with pair.master.client() as client:
        assert client.llen("default") == 1
    assert kept(pair.lose_the_master(), [task_id]) == 1


async def _send_async(task_id: str) -> None:
    from relier import dispatch
    from relier.ledger import get_async_ledger
    from tests.lib import outage_tasks

    push = dispatch.build(outage_tasks.nap, (0,), {}, task_id=task_id)
    try:
        await dispatch.send_async(push, "replicated", admit=False)
    finally:
        for connection in get_async_ledger()._idle:
            await connection.disconnect(nowait=True)


def knows_waitaof(server: RedisServer) -> bool:
    with server.client() as client:
        return bool(client.execute_command("COMMAND INFO", "WAITAOF")[0])


def need_waitaof(server: RedisServer) -> None:
    if not knows_waitaof(server):
        pytest.skip("needs WAITAOF: point HARNESS_REDIS_SERVER at a Redis of 7.2 or later, or at a Valkey")


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_fsynced_on_a_server_without_waitaof_is_one_clear_error_and_no_task(
    colour: str, server: RedisServer, db: redis.Redis, settings: Callable[..., Any]
) -> None:
    from tests.lib import outage_tasks

    if knows_waitaof(server):
        pytest.skip("this server has WAITAOF; a server older than 7.2 is needed to see the refusal")
    settings()
    with pytest.raises(DurabilityError, match=r"fsynced.*needs WAITAOF.*Redis 7\.2.*Nothing was written"):
        if colour == "sync":
            outage_tasks.fsynced.push()
        else:
            asyncio.run(_apush_fsynced())
    assert db.keys("rl:phoenix:*") == [] and db.llen("default") == 0


async def _apush_fsynced() -> None:
    from relier.ledger import get_async_ledger
    from tests.lib import outage_tasks

    try:
        await outage_tasks.fsynced.apush()
    finally:
        for connection in get_async_ledger()._idle:
            await connection.disconnect(nowait=True)


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_fsynced_without_an_append_only_file_is_one_clear_error_and_no_task(
    colour: str, settings: Callable[..., Any]
) -> None:
    from tests.lib import outage_tasks

    with RedisServer(appendonly="no") as server, server.client() as client:
        need_waitaof(server)
        settings(redis_url=server.url)
        with pytest.raises(DurabilityError, match="appendonly yes"):
            if colour == "sync":
                outage_tasks.fsynced.push()
            else:
                asyncio.run(_apush_fsynced())
        assert client.keys("rl:phoenix:*") == []


def test_fsynced_tasks_are_pushed_run_and_committed(
    server: RedisServer,
    start_worker: Callable[..., Any],
    journal: Journal,
    settings: Callable[..., Any],
    db: redis.Redis,
) -> None:
    from tests.lib import outage_tasks

    need_waitaof(server)
    settings()
    start_worker(pool="solo", include="tests.lib.outage_tasks", env={"RELIER_DURABILITY": "fsynced"})
    ids = {outage_tasks.fsynced.push().id for _ in range(5)} | {asyncio.run(_one_apush())}
    wait_until(lambda: ids <= journal.read().finished, 30, "every task ran")
    wait_until(lambda: db.get("rl:m:global:success") == str(len(ids)), 10, "every task is committed")


async def _one_apush() -> str:
    from relier.ledger import get_async_ledger
    from tests.lib import outage_tasks

    try:
        return (await outage_tasks.fsynced.apush()).id
    finally:
        for connection in get_async_ledger()._idle:
            await connection.disconnect(nowait=True)
