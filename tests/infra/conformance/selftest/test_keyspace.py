"""Every key of a real Redis is read, page by page, and what goes wrong on the way is no answer."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from harness.redis import RedisServer
from tests.infra.conformance.adapters.base import local
from tests.infra.conformance.keyspace import keys_of


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


def _deployment(port: int) -> Any:
    """One node without a password, on this machine."""
    node = SimpleNamespace(secrets=(), ports=(SimpleNamespace(port=port),))
    return SimpleNamespace(
        plan={"redis": node},
        topology=SimpleNamespace(redis=SimpleNamespace(acl=False)),
        at=lambda _: SimpleNamespace(workload="redis"),
        run=lambda _, *argv, timeout: local(argv, timeout=timeout),
    )


def test_every_key_is_read_whatever_it_holds(server: RedisServer) -> None:
    client = server.client()
    with client.pipeline(transaction=False) as pipe:
        for number in range(2500):
            pipe.set(f"rl:task:{number}", number)
        pipe.hset("rl:tasks", mapping={"a b": "c\nd", "%": "{}"})
        pipe.rpush("default", *"xyz")
        pipe.zadd("delayed", {"one": 1.5})
        pipe.sadd("_kombu.binding.default", "q")
        pipe.execute()
    keys = keys_of(_deployment(server.port), "anywhere")
    assert len(keys) == 2504
    assert {name for name, _ in keys} == {"rl:task", "rl:tasks", "other", "_kombu"}
    client.hset("rl:tasks", "%", "[]")
    again = keys_of(_deployment(server.port), "anywhere")
    assert [name for name in keys if keys[name].digest != again[name].digest] == [
        name for name in keys if name[0] == "rl:tasks"
    ]


def test_a_node_that_answers_no_more_is_no_empty_one(server: RedisServer) -> None:
    server.client().set("a", 1)
    server.stop()
    with pytest.raises(RuntimeError, match="cannot be read"):
        keys_of(_deployment(server.port), "anywhere")
