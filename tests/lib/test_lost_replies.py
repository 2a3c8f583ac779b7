"""A reply that is lost on the wire: the client asks again, and the effect is as of one call, for every script."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

import relier
from harness.journal import Journal
from harness.process import wait_until
from harness.proxy import Proxy
from harness.redis import RedisServer
from relier.scripts import load

ID, HOLDER, OTHER = "task-1", "node/1.2.3.4.0", "node/9.9.9.9.0"
ROUNDS = 50
FEWER = 10
TTL = 10_000
RESULT = ("celery-task-meta-" + ID, '{"status":"SUCCESS"}', 60)
PUSH = (ID, "tasks.one", "default", '{"args":[]}', "sig", "", "op", "", 0)
ADMIT = (100, 10_000, 100)
RAW = ("raw", "plain", '{"headers":{}}')
NEXT = ("task", "task-2", *PUSH[1:6], "", "", 0)
Call = tuple[Any, ...]

pushed: Call = ("push", *PUSH, 0, 0, 0)
followed: Call = ("push", *PUSH[:5], ',"after":1', *PUSH[6:], 0, 0, 0)
later: Call = ("push", *PUSH[:8], 1, 0, 0, 0)
claimed: Call = ("claim", ID, HOLDER, "1", TTL, "", "", 0)
failed: Call = ("fail", ID, HOLDER, 1, "ValueError", "no", "trace", "node", *RESULT)
silent: Call = ("beat", OTHER, 1, "0")


@dataclass(frozen=True)
class Case:
    """What stands before, the call whose reply is lost, and what its repeat answers (None: what the first answered)."""

    name: str
    call: Call
    before: tuple[Call, ...] = ()
    repeat: Any = None


CASES = [
    Case("push", ("push", *PUSH, *ADMIT), repeat=[b"again", 0, b""]),
    Case("push-delayed", ("push", *PUSH[:8], 5000, *ADMIT), repeat=[b"again", 0, b""]),
    Case("claim", claimed, (pushed,)),
    Case(
        "commit",
        ("commit", ID, HOLDER, 1, "success", "node", 12, *RESULT, '"v"', 60, *NEXT, *RAW),
        (pushed, claimed),
        b"again",
    ),
    Case(
        "commit-ignored", ("commit", ID, HOLDER, 1, "ignored", "node", 0, "", "", 0, "", 0), (pushed, claimed), b"again"
    ),
    Case("fail", (*failed, *NEXT, *RAW), (pushed, claimed), b"again"),
    Case("delay", ("delay", ID, HOLDER, 1, 5000, "{}", "sig", "", *RESULT, "default"), (pushed, claimed), b"again"),
    Case("delay-now", ("delay", ID, HOLDER, 1, 0, "{}", "sig", "", *RESULT, "default"), (pushed, claimed), b"again"),
    Case("promote", ("promote", 10), (later,), [0, -1]),
    Case("resurrect", ("resurrect", HOLDER, 10, 5, 1000, "1", 60), (pushed, claimed), [b"taken"]),
    Case("resurrect-capped", ("resurrect", HOLDER, 10, 0, 1000, "1", 60), (pushed, claimed), [b"taken"]),
    Case(
        "resurrect-capped-with-followers",
        ("resurrect", HOLDER, 10, 0, 1000, "1", 60),
        (followed, claimed),
        [b"taken"],
    ),
    Case("handoff", ("handoff", HOLDER, "0", ID), (pushed, claimed), []),
    Case("handoff-close", ("handoff", HOLDER, "1"), (pushed, claimed), []),
    Case("checkpoint", ("checkpoint", ID, HOLDER, 1, '{"inline":1}'), (pushed, claimed)),
    Case("release", ("release", ID), (pushed, claimed, failed), b"again"),
    Case("cancel-queued", ("cancel", ID, *RESULT), (pushed,), [b"unknown", b""]),
    Case("cancel-running", ("cancel", ID, *RESULT), (pushed, claimed), [b"unknown", b""]),
    Case("cancel-with-followers", ("cancel", ID, *RESULT), (followed, claimed), [b"queued", b""]),
    Case("doom", ("doom", ID, HOLDER, "TimeLimitExceeded", "too long", "node", *RESULT), (pushed, claimed), b"again"),
    Case(
        "doom-with-followers",
        ("doom", ID, HOLDER, "TimeLimitExceeded", "too long", "node", *RESULT),
        (followed, claimed),
        b"again",
    ),
    Case("register", ("register", "node", "{}", "default", "re-queue")),
    Case("lock", ("lock", "key", "me", 5000)),
    Case("unlock-commit", ("unlock", "key", "me", "commit", '"v"', 60), (("lock", "key", "me", 5000),), b"again"),
    Case("unlock-release", ("unlock", "key", "me", "release", "", 0), (("lock", "key", "me", 5000),), b"lost"),
    Case("unlock-renew", ("unlock", "key", "me", "renew", "", 9000), (("lock", "key", "me", 5000),)),
    Case("adopt", ("adopt", *PUSH, "tag", "unacked", "unacked_index")),
    Case("resend", ("resend", ID), (pushed,)),
    Case("beat", ("beat", HOLDER, TTL, "1"), (pushed, claimed)),
    Case("scan", ("scan", TTL, 3000, "0"), (silent,)),
    Case("scan-after-an-outage", ("scan", TTL, 3000, "1"), (silent,)),
]
# `missing` writes nothing. `take` is never asked again: what it popped are hints, which the last test here sees return.
NEVER_REPEATED = {"missing", "take"}


def test_the_table_has_every_script() -> None:
    scripts = {path.stem for path in (Path(relier.__file__).parent / "lua").glob("*.lua")} - {"_prelude"}
    assert {case.call[0] for case in CASES} == scripts - NEVER_REPEATED


@pytest.fixture
def proxy(server: RedisServer, db: redis.Redis) -> Iterator[Proxy]:
    with Proxy(server.port, login=server.login) as running:
        yield running


@pytest.fixture
def ask(proxy: Proxy, settings: Callable[..., Any]) -> Iterator[dict[str, Callable[..., Any]]]:
    """`ask[colour](script, *args)` runs a script through the proxy, in either colour of the ledger."""
    from relier.ledger import get_async_ledger, get_ledger

    settings(redis_url=proxy.url())
    with asyncio.Runner() as runner:

        async def call(*args: Any, **options: Any) -> Any:
            return await get_async_ledger().call(*args, **options)

        async def leave() -> None:
            for connection in get_async_ledger()._idle:
                await connection.disconnect(nowait=True)

        yield {"sync": get_ledger().call, "async": lambda *args, **options: runner.run(call(*args, **options))}
        runner.run(leave())


def reset(db: redis.Redis, case: Case) -> None:
    """An empty database with every script known, and what stands before the call."""
    from relier.ledger import Ledger
    from relier.settings import Settings

    db.flushall(asynchronous=False)
    db.script_load(load(case.call[0]).source.decode())
    ledger = Ledger(Settings(redis_url=f"redis://127.0.0.1:{db.connection_pool.connection_kwargs['port']}/0"))
    for call in case.before:
        ledger.call(*call)
    wait_until(lambda: not db.exists(f"rl:hb:{OTHER}"), 2, "the silent holder's heartbeat is over", 0.001)
    wait_until(lambda: _all_due(db), 2, "the delayed task is due", 0.001)


def _all_due(db: redis.Redis) -> bool:
    seconds, micros = db.time()
    return db.zcount("rl:delayed", "-inf", seconds * 1000 + micros // 1000) == db.zcard("rl:delayed")


def content(db: redis.Redis) -> dict[str, Any]:
    """All that the database holds, without the moments and the serial numbers that differ from run to run."""
    kept = {}
    for key in sorted(db.scan_iter(count=1000)):
        kept[re.sub(r"(rl:slo:)\d+", r"\1now", key)] = _value(db, key)
    kept.pop("rl:seq", None)
    return kept


def _value(db: redis.Redis, key: str) -> Any:
    kind = db.type(key)
    if kind == "zset":
        return db.zrange(key, 0, -1)
    if kind == "set":
        return sorted(db.smembers(key))
    if kind == "list":
        return [re.sub(r'"delivery_tag":"[^"]*"', "", item) for item in db.lrange(key, 0, -1)]
    if kind == "hash":
        return _fields(key, db.hgetall(key))
    return "a moment" if key in ("rl:pulse", "rl:grace") else db.get(key)


def _fields(key: str, row: dict[str, str]) -> Any:
    if key.startswith("rl:admission:"):
        return row["total"]
    if key == "rl:dlq":
        return {task: json.loads(entry) | {"quarantined_at": 0} for task, entry in row.items()}
    return row | {"started_at": "a moment"} if "started_at" in row else row


def _one_message_each(kept: dict[str, Any]) -> dict[str, Any]:
    """A message too many is allowed for `resend`, whose second message finds nothing to claim."""
    return {key: value[:1] if key == "default" else value for key, value in kept.items()}


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_call_whose_reply_was_lost_has_the_effect_of_one_call(
    case: Case, colour: str, ask: dict[str, Callable[..., Any]], proxy: Proxy, db: redis.Redis
) -> None:
    reset(db, case)
    answer = ask[colour](*case.call)
    once = content(db)
    expected = answer if case.repeat is None else case.repeat
    for turn in range(1, (ROUNDS if case.name == "push" else FEWER) + 1):
        reset(db, case)
        proxy.lose_reply(load(case.call[0]).sha.encode())
        reply = ask[colour](*case.call)
        assert proxy.lost == turn, "the fault did not strike"
        kept = content(db)
        if case.call[0] == "resend":
            once, kept = _one_message_each(once), _one_message_each(kept)
        assert kept == once
        if case.name != "scan-after-an-outage":
            assert reply == expected


def test_a_reply_that_simply_never_comes_is_waited_for_no_longer_than_the_socket_timeout(
    proxy: Proxy, settings: Callable[..., Any], db: redis.Redis
) -> None:
    from relier.ledger import get_ledger

    settings(redis_url=proxy.url(), redis_socket_timeout=0.3)
    proxy.lose_reply(ID.encode(), silent=True)
    assert get_ledger().call(*pushed) == [b"again", 0, b""]
    assert db.llen("default") == 1


@dataclass(frozen=True)
class Late:
    """A call, and what goes on before its repeat arrives; if that is nothing, the call itself came too late."""

    name: str
    call: Call
    before: tuple[Call, ...]
    meanwhile: tuple[Call, ...]


committed: Call = ("commit", ID, HOLDER, 1, "success", "node", 12, *RESULT, '"v"', 60)
again: Call = ("claim", ID, HOLDER, "2", TTL, "", "", 0)
elsewhere: Call = ("claim", ID, OTHER, "1", TTL, "", "", 0)
buried: Call = ("resurrect", HOLDER, 10, 5, 1000, "1", 60)
LATE = [
    Late("a push after the task was committed", pushed, (), (claimed, committed)),
    Late("a push after the task failed", pushed, (), (claimed, failed)),
    Late("a push after the task was cancelled", pushed, (), (("cancel", ID, *RESULT),)),
    Late("a claim after the commit", claimed, (pushed,), (committed,)),
    Late("a commit after the replay's claim", committed, (pushed, claimed, buried, elsewhere), ()),
    Late("a fail after the replay's claim", failed, (pushed, claimed, buried, elsewhere), ()),
    Late(
        "a delay after the next incarnation began here",
        ("delay", ID, HOLDER, 1, 0, "{}", "sig", "", *RESULT, "default"),
        (pushed, claimed),
        (again,),
    ),
    Late("a burial after the replay's claim", buried, (pushed, claimed), (elsewhere,)),
    Late("an adoption after the commit", ("adopt", *PUSH, "tag", "u", "ui"), (), (claimed, committed)),
    Late("a resend after the claim", ("resend", ID), (pushed,), (claimed,)),
]


@pytest.mark.parametrize("late", LATE, ids=lambda late: late.name)
def test_a_repeat_that_comes_late_changes_nothing(
    late: Late, ask: dict[str, Callable[..., Any]], proxy: Proxy, server: RedisServer, db: redis.Redis
) -> None:
    from relier.ledger import Ledger
    from relier.settings import Settings

    reset(db, Case(late.name, late.call, late.before))
    direct = Ledger(Settings(redis_url=server.url))
    seen = [content(db)]

    def world() -> None:
        for call in late.meanwhile:
            direct.call(*call)
            seen.append(content(db))

    proxy.lose_reply(load(late.call[0]).sha.encode(), then=world)
    ask["sync"](*late.call)
    assert content(db) == seen[-1]


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_fifty_pushes_whose_replies_are_lost_are_fifty_tasks(
    colour: str,
    proxy: Proxy,
    settings: Callable[..., Any],
    journal: Journal,
    start_worker: Callable[..., Any],
    db: redis.Redis,
) -> None:
    from tests.lib import outage_tasks

    settings(redis_url=proxy.url())
    start_worker(pool="solo", include="tests.lib.outage_tasks")

    async def apush() -> list[str]:
        return [await _apush_losing(proxy) for _ in range(ROUNDS)]

    ids = asyncio.run(apush()) if colour == "async" else [_push_losing(proxy) for _ in range(ROUNDS)]
    assert proxy.lost == ROUNDS
    last = outage_tasks.nap.push(0).id
    wait_until(lambda: last in journal.read().finished, 20, "everything before the last task ran")
    tally = journal.read()
    assert {task: tally.starts[task] for task in ids} == dict.fromkeys(ids, 1)
    assert sum(tally.starts.values()) == ROUNDS + 1
    wait_until(lambda: db.get("rl:m:global:success") == str(ROUNDS + 1), 5, "every task is committed once")


def _push_losing(proxy: Proxy) -> str:
    from tests.lib import outage_tasks

    proxy.lose_reply(b"tests.lib.outage_tasks.nap")
    return outage_tasks.nap.push(0).id


async def _apush_losing(proxy: Proxy) -> str:
    from tests.lib import outage_tasks

    proxy.lose_reply(b"tests.lib.outage_tasks.nap")
    return (await outage_tasks.nap.apush(0)).id


def test_messages_whose_delivery_was_lost_on_the_wire_are_sent_again(
    proxy: Proxy,
    settings: Callable[..., Any],
    journal: Journal,
    start_worker: Callable[..., Any],
    start_resurrector: Callable[..., Any],
) -> None:
    from tests.lib import outage_tasks

    settings()
    for needle in (b"BRPOP", load("take").sha.encode()):
        proxy.lose_reply(needle)
    start_worker(pool="solo", include="tests.lib.outage_tasks", env={"RELIER_REDIS_URL": proxy.url()}, wait=False)
    start_resurrector(RELIER_RESURRECTION_CHECK_INTERVAL="0.3", RELIER_UNCLAIMED_GRACE="0.5")
    ids: list[str] = []

    def all_lost() -> bool:
        ids.append(outage_tasks.nap.push(0.001).id)
        return proxy.lost == 2

    wait_until(all_lost, 30, "both deliveries were lost", 0.01)
    wait_until(lambda: set(ids) <= journal.read().finished, 30, "every task ran")
    tally = journal.read()
    assert {task: tally.starts[task] for task in ids} == dict.fromkeys(ids, 1)
