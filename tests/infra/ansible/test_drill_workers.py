"""Workers die in each way that a host knows; how long their tasks are gone is measured and printed."""

from __future__ import annotations

import time

import pytest

from harness.process import wait_until
from tests.infra.ansible.tier import Tier

pytestmark = pytest.mark.hosts
POOL = "relier-worker-high.service"
QUEUE = "high_priority"


# Joins the unit's group and eats up to its limit. The children are offered to the kernel first, as if a task had eaten.
EATER = """
group=$(awk -F: '$2 == "memory" {print "/sys/fs/cgroup/memory" $3} $1 == 0 {v2 = "/sys/fs/cgroup" $3} END {print v2}' \\
  /proc/$1/cgroup | head -n 1)
for child in $(cat /proc/$1/task/*/children); do echo 1000 >/proc/$child/oom_score_adj; done
echo $$ >$group/cgroup.procs
exec python3 -c '
import sys, time
limit, held = int(sys.argv[1]), []
while len(held) * 2**24 < limit * 0.8: held.append(b"x" * 2**24)
print(time.time(), flush=True)
while len(held) * 2**24 < limit * 2: held.append(b"x" * 2**24)
' $2
"""


def _report(what: str, gone: list[float]) -> None:
    print(f"\n{what}: {len(gone)} tasks ran again after {min(gone):.2f} to {max(gone):.2f} s")


@pytest.fixture
def victim(whole: Tier) -> str:
    """A worker host without the resurrector, so that one thing is lost at a time."""
    return next(host for host in whole.groups["workers"] if host not in whole.groups["resurrector"])


@pytest.fixture
def witness(whole: Tier, victim: str) -> str:
    return next(host for host in whole.groups["workers"] if host != victim)


def _stay(tier: Tier, witness: str, victim: str, seconds: float = 25) -> tuple[object, list[str]]:
    stay = tier.stay(witness, QUEUE, 8, seconds)
    there = [task for task, (_, node, _) in stay.on(victim).items() if node.startswith("worker-high@")]
    assert there, "no task runs on the host that is to be harmed"
    return stay, there


def test_tasks_of_a_killed_worker_run_again_at_once(whole: Tier, victim: str, witness: str) -> None:
    stay, there = _stay(whole, witness, victim)
    before = int(whole.unit(victim, POOL, "NRestarts"))
    since = time.time()
    whole.sh(victim, f"systemctl kill -s KILL {POOL}")
    gone = stay.gone(there, since)  # type: ignore[attr-defined]
    _report("systemctl kill -s KILL", gone)
    wait_until(lambda: whole.unit(victim, POOL, "ActiveState") == "active", 120, "it runs again")
    print(f"systemd says active after {time.time() - since:.1f} s")
    assert int(whole.unit(victim, POOL, "NRestarts")) == before + 1
    assert max(gone) < 30


def test_tasks_of_a_worker_out_of_memory_run_again(whole: Tier, victim: str, witness: str) -> None:
    stay, there = _stay(whole, witness, victim)
    argv = ["sh", "-c", EATER, "sh", whole.unit(victim, POOL, "MainPID"), whole.unit(victim, POOL, "MemoryMax")]
    said = whole.run(victim, argv)
    since = float(said.split()[-1])
    gone = stay.gone(there, since)  # type: ignore[attr-defined]
    _report("out of memory in the unit's control group", gone)
    assert max(gone) < 60
    assert whole.unit(victim, POOL, "ActiveState") == "active"


def test_tasks_of_a_host_without_power_run_again_elsewhere(whole: Tier, victim: str, witness: str) -> None:
    stay, there = _stay(whole, witness, victim)
    since = whole.power_off(victim)
    try:
        gone = stay.gone(there, since)  # type: ignore[attr-defined]
    finally:
        whole.power_on(victim)
    _report("worker host powered off", gone)
    assert {stay.runs[task][-1][1].partition("@")[2] for task in there} == {witness}  # type: ignore[attr-defined]
    assert max(gone) < 60
    whole.settle()
