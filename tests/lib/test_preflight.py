"""Preflight: on a Redis that cannot keep the promise, workers and resurrectors refuse to start, with one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from harness.process import Process, Resurrector, Worker, wait_until
from harness.proxy import Proxy
from harness.redis import RedisServer, SentinelCluster, find_server, free_port, server_version

SECRET, WRONG = "correct-horse", "wrong-pony"
Env = dict[str, str]
KINDS: dict[str, Callable[[Env, Path], Process]] = {
    "worker": lambda env, folder: Worker(env, log=folder / "worker.log", pool="solo", concurrency=1),
    "resurrector": lambda env, folder: Resurrector(env, log=folder / "resurrector.log"),
}


@dataclass(frozen=True)
class Trial:
    """What the process is told, and the server that must stay as it was."""

    env: Env
    server: RedisServer | None = None


@contextmanager
def nothing_listens() -> Iterator[Trial]:
    yield Trial({"RELIER_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"})


@contextmanager
def nothing_answers() -> Iterator[Trial]:
    with RedisServer() as server, Proxy(server.port) as proxy:
        proxy.black_hole()
        yield Trial({"RELIER_REDIS_URL": proxy.url()}, server)


def configured(**settings: str) -> Callable[[], AbstractContextManager[Trial]]:
    @contextmanager
    def begin() -> Iterator[Trial]:
        with RedisServer(settings) as server:
            yield Trial({"RELIER_REDIS_URL": server.url}, server)

    return begin


def locked(url: str, **more: str) -> Callable[[], AbstractContextManager[Trial]]:
    @contextmanager
    def begin() -> Iterator[Trial]:
        with RedisServer(password=SECRET) as server:
            yield Trial({"RELIER_REDIS_URL": url.format(port=server.port)} | more, server)

    return begin


@contextmanager
def an_older_redis() -> Iterator[Trial]:
    def older(reply: bytes) -> bytes:
        """The same length, for the reply says how long it is."""
        head, mark, rest = reply.partition(b"redis_version:")
        version = rest.split(b"\r\n", 1)[0]
        return (
            head + mark + rest.replace(version, b"6.0.16"[: len(version)].ljust(len(version), b"0"), 1)
            if mark
            else reply
        )

    with RedisServer() as server, Proxy(server.port, edit=older) as proxy:
        yield Trial({"RELIER_REDIS_URL": proxy.url()}, server)


def behind_sentinel(**more: str) -> Callable[[], AbstractContextManager[Trial]]:
    @contextmanager
    def begin() -> Iterator[Trial]:
        cluster = SentinelCluster(replicas=1, sentinels=1, password=SECRET, sentinel_password=SECRET)
        with cluster:
            yield Trial(cluster.env() | more, cluster.master())

    return begin


@contextmanager
def sentinels_are_silent() -> Iterator[Trial]:
    with RedisServer() as server, Proxy(server.port) as one, Proxy(server.port) as two, Proxy(server.port) as three:
        for proxy in (one, two, three):
            proxy.black_hole()
        nodes = ",".join(f"127.0.0.1:{proxy.port}" for proxy in (one, two, three))
        yield Trial({"RELIER_REDIS_USE_SENTINEL": "true", "RELIER_REDIS_SENTINEL_NODES": nodes}, server)


@contextmanager
def no_sentinel_listens() -> Iterator[Trial]:
    yield Trial(
        {"RELIER_REDIS_USE_SENTINEL": "true", "RELIER_REDIS_SENTINEL_NODES": f"127.0.0.1:{free_port()}"},
    )


PLAIN = "redis://127.0.0.1:{port}/0"
UNFIT: dict[str, tuple[Callable[[], AbstractContextManager[Trial]], tuple[str, ...]]] = {
    "unreachable": (nothing_listens, ("RuntimeError: Relier cannot reach Redis (127.0.0.1:", "RELIER_REDIS_URL")),
    "silent": (nothing_answers, ("RuntimeError: Relier cannot reach Redis (127.0.0.1:", "RELIER_REDIS_URL")),
    "policy": (
        configured(maxmemory_policy="allkeys-lru"),
        ("RuntimeError: Relier requires Redis maxmemory-policy='noeviction', but got 'allkeys-lru'.", "CONFIG SET"),
    ),
    "no persistence": (
        configured(appendonly="no", save='""'),
        ("RuntimeError: Relier requires Redis persistence", "appendonly yes"),
    ),
    "no password": (locked(PLAIN), ("RuntimeError: Relier cannot reach Redis (127.0.0.1:", "RELIER_REDIS_PASSWORD")),
    "wrong password": (
        locked(PLAIN, RELIER_REDIS_PASSWORD=WRONG),
        ("RuntimeError: Relier cannot reach Redis (127.0.0.1:", "RELIER_REDIS_PASSWORD"),
    ),
    "wrong password in the URL": (
        locked("redis://:" + WRONG + "@127.0.0.1:{port}/0"),
        ("RuntimeError: Relier cannot reach Redis (127.0.0.1:", "RELIER_REDIS_PASSWORD"),
    ),
    "version": (an_older_redis, ("RuntimeError: Relier requires Redis 6.2 or newer, but got 6.0.",)),
    "unknown master": (
        behind_sentinel(RELIER_REDIS_SENTINEL_MASTER_NAME="nobody"),
        ("RuntimeError: Relier cannot reach Redis (nobody via Sentinel", "RELIER_REDIS_SENTINEL_MASTER_NAME"),
    ),
    "wrong sentinel password": (
        behind_sentinel(RELIER_REDIS_SENTINEL_PASSWORD=WRONG),
        ("RuntimeError: Relier cannot reach Redis (relier-master via Sentinel", "RELIER_REDIS_SENTINEL_PASSWORD"),
    ),
    "silent sentinels": (
        sentinels_are_silent,
        ("RuntimeError: Relier cannot reach Redis (relier-master via Sentinel", "RELIER_REDIS_SENTINEL_NODES"),
    ),
    "no sentinel": (
        no_sentinel_listens,
        ("RuntimeError: Relier cannot reach Redis (relier-master via Sentinel", "RELIER_REDIS_SENTINEL_NODES"),
    ),
}


@pytest.mark.parametrize("fault", UNFIT)
def test_an_unfit_redis_is_refused_in_one_sentence_with_nothing_half_started(fault: str, tmp_path: Path) -> None:
    begin, sentences = UNFIT[fault]
    with begin() as trial, ExitStack() as started:
        processes = [started.enter_context(make(trial.env, tmp_path)) for make in KINDS.values()]
        for process in processes:
            assert process.wait(15) != 0
            said = process.output()
            assert [sentence for sentence in sentences if sentence not in said] == [], said
            assert "Refusing to start." in said
            assert "Traceback" not in said
            assert SECRET not in said and WRONG not in said
        if trial.server:
            with trial.server.client() as client:
                assert client.keys("*") == []


@pytest.mark.parametrize("kind", KINDS)
def test_fsynced_is_refused_at_start_up_where_redis_cannot_confirm_an_fsync(kind: str, tmp_path: Path) -> None:
    with RedisServer() as server:
        if _knows_waitaof(server):
            pytest.skip("this server has WAITAOF; a server older than 7.2 is needed to see the refusal")
        env = {"RELIER_REDIS_URL": server.url, "RELIER_DURABILITY": "fsynced"}
        with KINDS[kind](env, tmp_path) as process:
            assert process.wait(15) != 0
            said = process.output()
    assert "RuntimeError: RELIER_DURABILITY=fsynced needs WAITAOF (Redis 7.2 or newer)" in said
    assert "Traceback" not in said


def _knows_waitaof(server: RedisServer) -> bool:
    with server.client() as client:
        return bool(client.execute_command("COMMAND INFO", "WAITAOF")[0])


RECORDED = {"redis_version": "7.0.15", "maxmemory_policy": "noeviction", "aof_enabled": 1}


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"redis_version": "6.0.16"}, "Relier requires Redis 6.2 or newer, but got 6.0"),
        ({"maxmemory_policy": "volatile-ttl"}, "but got 'volatile-ttl'"),
        ({"aof_enabled": 0}, "persistence"),
        ({"aof_enabled": 0, "rdb_saves": 0, "rdb_last_bgsave_status": "ok"}, "persistence"),
        ({"aof_enabled": 0, "rdb_saves": 3, "rdb_last_bgsave_status": "ok"}, None),
        ({"redis_version": "6.2.0"}, None),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.1"}, None),
    ],
)
def test_a_recorded_info_is_judged_as_the_live_one_would_be(
    change: dict[str, object], finding: str | None, settings: Callable[..., object]
) -> None:
    from relier import preflight

    said = list(preflight._unfit(settings(), RECORDED | change))
    assert len(said) == (1 if finding else 0)
    assert finding is None or finding in said[0]


APPLICATION = "~* &* +@read +@write +@connection +@scripting +@pubsub +@blocking +@transaction -@dangerous +time +info"


@pytest.mark.parametrize("kind", KINDS)
def test_info_is_the_only_right_that_preflight_asks_for(kind: str, tmp_path: Path) -> None:
    with RedisServer() as server, server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "app", "on", f">{SECRET}", *APPLICATION.split())
        env = {
            "RELIER_REDIS_URL": server.url,
            "RELIER_REDIS_USERNAME": "app",
            "RELIER_REDIS_PASSWORD": SECRET,
        }
        with KINDS[kind](env, tmp_path) as process:
            wait_until(lambda: _went_on(kind, process, admin), 20, f"the {kind} went on after preflight")
            assert process.alive
        # Before 7.0 a rule cannot grant `client setinfo` alone, by which redis-py names itself.
        granted = {"client"} if server_version(find_server()) < (7,) else set()
        assert {entry["object"] for entry in admin.acl_log()} <= granted


def _went_on(kind: str, process: Process, client: redis.Redis) -> bool:
    """A worker says that it is ready; a resurrector leaves its mark at each scan."""
    return " ready." in process.output() if kind == "worker" else bool(client.exists("rl:pulse"))
