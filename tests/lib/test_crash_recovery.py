"""Deaths that are seen at once, deaths that are only inferred, and the second death of the same task.

What is asserted here is the way a task comes back, not its speed: `python -m tests.lib.recovery` measures that.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from harness.journal import Journal
from harness.process import Worker, process_state, wait_until
from harness.redis import RedisServer
from tests.lib import faults, recovery

# So long that nothing which comes back within a test can have waited for it.
NO_HELP = {"RELIER_HEARTBEAT_TTL": "600", "RELIER_RESURRECTION_CHECK_INTERVAL": "600"}
SILENT = {"RELIER_HEARTBEAT_TTL": "2", "RELIER_RESURRECTION_CHECK_INTERVAL": "0.5"}


@pytest.mark.parametrize("kind", ["child", "worker", "alone", "drain"])
def test_a_death_that_somebody_sees_is_acted_on_without_heartbeat_or_resurrector(
    db: redis.Redis, ledger: Any, server: RedisServer, tmp_path: Path, kind: str
) -> None:
    first, second = recovery.drill(kind, tmp_path, server.url, rounds=1, env=NO_HELP, args=faults.QUICK)
    assert first
    assert second


def test_a_host_that_is_lost_is_missed_after_its_heartbeat_ttl_each_time(
    db: redis.Redis, ledger: Any, server: RedisServer, tmp_path: Path
) -> None:
    for deaths in recovery.drill("host", tmp_path, server.url, rounds=1, env=SILENT, args=faults.QUICK):
        assert min(deaths) > 0.5, "nobody can have known that early"
        assert max(deaths) < 20


def test_the_children_of_a_killed_parent_die_with_it_and_their_tasks_run_again(
    outcomes: faults.Outcomes,
    journal: Journal,
    tmp_path: Path,
    start_worker: Callable[..., Worker],
    start_resurrector: Callable[..., Any],
) -> None:
    from tests.lib import tasks

    start_resurrector(RELIER_RESURRECTION_CHECK_INTERVAL="0.3")
    worker = start_worker(args=faults.QUICK)
    ids = [tasks.wait_at.push(str(tmp_path / "gate")).id for _ in range(2)]
    faults.wait_for_starts(journal, ids)
    children = worker.children()
    assert len(children) == 2
    worker.kill()
    wait_until(lambda: all(process_state(pid) in "ZX" for pid in children), 5, "the orphans are gone")
    start_worker(pool="threads", name="heir", args=faults.QUICK)
    outcomes.wait(ids, 20)
    assert outcomes.wrongs(ids) == []
