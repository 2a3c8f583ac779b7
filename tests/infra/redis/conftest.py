"""One cluster for all tests of this folder: it is started once and failed over once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import redis

from harness.process import wait_until
from tests.infra.redis.nodes import Kit, Node


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    with Kit(tmp_path_factory.mktemp("kit"), REDIS_MASTER_WAIT="15") as kit:
        yield kit


@pytest.fixture(scope="session")
def promoted(kit: Kit) -> tuple[Node, Node]:
    """The first start, a failover while the old master is away with a key that only it has; (old, new)."""
    old = kit.start(reversed(kit.all)).settle()
    wait_until(kit.acquainted, 20, "all know each other", interval=0.1)
    with old.client("app") as client:
        client.set("before", "failover")
        client.execute_command("WAIT", 2, 2000)
    old.kill()
    new = wait_until(kit.master, 20, "a replica is promoted", interval=0.1)
    assert new is not None
    with new.client("app") as client:
        wait_until(lambda: _confirmed(client), 10, "a write")
    return old, new


def _confirmed(client: redis.Redis) -> bool:
    """Whether a write reached a replica; a master that has none yet refuses it."""
    with contextlib.suppress(redis.ResponseError):
        return bool(client.set("last", "acknowledged") and client.execute_command("WAIT", 1, 500))
    return False
