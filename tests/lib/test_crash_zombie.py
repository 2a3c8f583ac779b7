"""A worker that is frozen, replaced and thawed can neither commit nor fail nor checkpoint what was replayed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.process import Worker, wait_until
from tests.lib import faults

IMPATIENT = {"RELIER_HEARTBEAT_TTL": "3", "RELIER_RESURRECTION_CHECK_INTERVAL": "0.3"}


class Duel:
    """Tasks held by a worker that is then frozen; another one replays them; then the first one goes on."""

    def __init__(
        self, outcomes: faults.Outcomes, tmp_path: Path, start_worker: Callable[..., Worker], pool: str
    ) -> None:
        self.outcomes, self.journal, self._start_worker = outcomes, outcomes.journal, start_worker
        self.gate = tmp_path / "gate"
        self.env = IMPATIENT | {"FAULT_DIR": str(tmp_path)}
        self._pool = pool
        self.ids: list[str] = []

    def freeze_while_running(self, bodies: list[str], count: int) -> Worker:
        """Start the worker, have `count` tasks wait in their bodies, and freeze it."""
        from tests.lib import tasks

        zombie = self._start_worker(pool=self._pool, args=faults.QUICK, concurrency=count, name="zombie", env=self.env)
        named = [getattr(tasks, bodies[n % len(bodies)]) for n in range(count)]
        self.ids = [task.push(str(self.gate)).id for task in named]
        faults.wait_for_starts(self.journal, self.ids)
        zombie.freeze()
        return zombie

    def replay(self) -> None:
        """Another worker runs them again and commits."""
        self._start_worker(pool="threads", args=faults.QUICK, concurrency=4, name="heir", env=self.env)
        self.outcomes.wait(self.ids, 30)

    def thaw(self, zombie: Worker, kind: str) -> None:
        """Let the first worker finish; wait until the ledger has answered each of its outcomes."""
        self.gate.touch()
        zombie.thaw()

        def answered() -> bool:
            replies = faults.replies(self.journal, kind)
            return all(replies[task, "fenced"] for task in self.ids)

        wait_until(answered, 30, f"the zombie's {kind} is refused")


@pytest.fixture
def duel(
    outcomes: faults.Outcomes,
    tmp_path: Path,
    start_worker: Callable[..., Worker],
    start_resurrector: Callable[..., Any],
) -> Callable[..., Duel]:
    def run(pool: str, bodies: list[str], count: int, kind: str = "commit") -> Duel:
        start_resurrector(**IMPATIENT)
        fight = Duel(outcomes, tmp_path, start_worker, pool)
        zombie = fight.freeze_while_running(bodies, count)
        fight.replay()
        before = [fight.outcomes.result(task) for task in fight.ids]
        fight.thaw(zombie, kind)
        assert [fight.outcomes.result(task) for task in fight.ids] == before
        return fight

    return run


def check(fight: Duel) -> None:
    count, db = len(fight.ids), fight.outcomes.db
    assert fight.outcomes.wrongs(fight.ids) == []
    assert [fight.outcomes.result(task) for task in fight.ids] == [2] * count, "a result is not the replay's"
    assert db.get("rl:m:global:success") == str(count)
    assert db.get("rl:m:global:failed") is None
    assert [fight.journal.read().starts[task] for task in fight.ids] == [2] * count


@pytest.mark.parametrize(("pool", "count"), [("prefork", 2), ("solo", 1), ("threads", 4)])
def test_the_late_commit_of_a_thawed_worker_is_refused(duel: Callable[..., Duel], pool: str, count: int) -> None:
    check(duel(pool, ["wait_at", "await_at"], count))


def test_the_late_failure_of_a_thawed_worker_is_refused(duel: Callable[..., Duel]) -> None:
    check(duel("threads", ["fail_late"], 2, kind="fail"))


def test_the_late_checkpoint_of_a_thawed_worker_is_refused(duel: Callable[..., Duel]) -> None:
    check(duel("threads", ["checkpoint_late"], 2, kind="checkpoint"))


@pytest.mark.soak
def test_fifty_late_commits_of_fifty_are_refused(duel: Callable[..., Duel]) -> None:
    check(duel("threads", ["wait_at", "await_at"], 50))
