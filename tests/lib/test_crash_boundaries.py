"""SIGKILL at every boundary of a task's life: nothing is lost, and each task is committed once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.process import wait_until
from tests.lib import faults

VICTIMS = {"prefork": ("child", "parent"), "solo": ("worker",), "threads": ("worker",)}
CASES = [
    pytest.param(pool, victim, boundary, id=f"{pool}-{victim}-{boundary}")
    for pool, victims in VICTIMS.items()
    for victim in victims
    for boundary in faults.BOUNDARIES
]
EAGER = {
    "RELIER_UNCLAIMED_GRACE": "0.3",
    "RELIER_RESURRECTION_CHECK_INTERVAL": "0.3",
}
SOAK_KILLS = 21  # in each of 24 cases: 504
NEIGHBOURS = 3


class CrashSite:
    """One supervised worker whose tasks kill it, a resurrector, and the count."""

    def __init__(self, outcomes: faults.Outcomes, directory: Path) -> None:
        self.outcomes, self.directory = outcomes, directory
        self.ids: list[str] = []

    def strike(self, boundary: str, victim: str) -> None:
        """Push one task that has its worker killed, among neighbours, and wait until all are committed."""
        from tests.lib import tasks

        killer = faults.doomed(boundary, victim)
        before = faults.kills(self.directory)
        bodies = [tasks.nap, tasks.anap]
        pushed = [bodies[n % 2].push(0.01).id for n in range(NEIGHBOURS - 1)]
        pushed.append(bodies[before % 2].apply_async((0.01,), task_id=killer).id)
        pushed.append(tasks.anap.push(0.01).id)
        self.ids += pushed
        wait_until(lambda: faults.kills(self.directory) > before, 30, f"the kill of {killer}")
        self.outcomes.wait(pushed, 30)

    def settle(self) -> None:
        """One more task goes through whoever lives now, behind anything that could still be repeated."""
        from tests.lib import tasks

        self.ids.append(tasks.nap.push(0).id)
        self.outcomes.wait(self.ids[-1:], 30)

    def check(self) -> None:
        assert self.outcomes.wrongs(self.ids) == []
        assert self.outcomes.db.get("rl:m:global:success") == str(len(self.ids))


@pytest.fixture
def crash(
    outcomes: faults.Outcomes,
    tmp_path: Path,
    start_worker: Callable[..., Any],
    start_resurrector: Callable[..., Any],
) -> Callable[..., CrashSite]:
    directory = tmp_path / "faults"
    directory.mkdir()

    def run(pool: str, victim: str, boundary: str, kills: int) -> CrashSite:
        site = CrashSite(outcomes, directory)
        start_resurrector(**EAGER)
        worker = start_worker(pool=pool, args=faults.QUICK, env=EAGER | {"FAULT_DIR": str(directory)})
        with faults.Supervisor(worker) as supervisor:
            for _ in range(kills):
                site.strike(boundary, victim)
            site.settle()
        assert faults.kills(directory) == kills
        assert supervisor.deaths == (0 if victim == "child" else kills), "the kill hit another process than planned"
        return site

    return run


@pytest.mark.parametrize(("pool", "victim", "boundary"), CASES)
def test_a_kill_at_any_boundary_loses_nothing_and_commits_once(
    crash: Callable[..., CrashSite], pool: str, victim: str, boundary: str
) -> None:
    site = crash(pool, victim, boundary, kills=1)
    site.check()


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("pool", "victim", "boundary"), CASES)
def test_five_hundred_kills_lose_nothing_and_commit_once(
    crash: Callable[..., CrashSite], pool: str, victim: str, boundary: str
) -> None:
    site = crash(pool, victim, boundary, kills=SOAK_KILLS)
    site.check()
