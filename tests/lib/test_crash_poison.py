"""A task that kills its process every time is stopped by the cap, on every pool."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from harness.journal import Journal
from harness.process import Worker
from tests.lib import faults

EAGER = {"RELIER_RESURRECTION_CHECK_INTERVAL": "0.3", "RELIER_UNCLAIMED_GRACE": "0.3"}


@pytest.fixture
def swallow(
    outcomes: faults.Outcomes,
    db: redis.Redis,
    journal: Journal,
    tmp_path: Path,
    start_worker: Callable[..., Worker],
    start_resurrector: Callable[..., Any],
) -> Callable[..., None]:
    """Run one poison task among healthy ones, under a cap, and check what becomes of each."""

    def run(pool: str, body: str, cap: int) -> None:
        from tests.lib import tasks

        env = EAGER | {"RELIER_MAX_RESURRECTIONS": str(cap), "FAULT_DIR": str(tmp_path)}
        start_resurrector(**env)
        worker = start_worker(pool=pool, args=faults.QUICK, env=env)
        with faults.Supervisor(worker):
            poison = getattr(tasks, body).push().id
            healthy = [tasks.nap.push(0.01).id for _ in range(3)]
            outcomes.wait([poison], 60, status="FAILURE")
            healthy.append(tasks.nap.push(0).id)
            outcomes.wait(healthy, 30)
        assert journal.read().starts[poison] == cap + 1
        entry = json.loads(db.hget("rl:dlq", poison) or "{}")
        assert entry["reason"] == "max_resurrections_exceeded"
        assert (entry["attempts"], entry["resurrection_count"]) == (cap + 1, cap)
        assert not db.exists(f"rl:phoenix:{poison}")
        assert outcomes.wrongs(healthy) == []
        assert db.hlen("rl:dlq") == 1

    return run


@pytest.mark.parametrize(
    ("pool", "body", "cap"),
    [("prefork", "poison", 5), ("prefork", "apoison", 1), ("solo", "poison", 2), ("threads", "apoison", 2)],
)
def test_a_poison_task_starts_once_more_than_the_cap_and_ends_in_the_dlq(
    swallow: Callable[..., None], pool: str, body: str, cap: int
) -> None:
    swallow(pool, body, cap)


@pytest.mark.soak
@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
@pytest.mark.parametrize("body", ["poison", "apoison"])
def test_a_poison_task_starts_six_times_with_the_default_cap(
    swallow: Callable[..., None], pool: str, body: str
) -> None:
    swallow(pool, body, 5)
