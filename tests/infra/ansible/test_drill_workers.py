"""Workers die in each way that a host knows; how long their tasks are gone is measured and printed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from harness.process import wait_until
from tests.infra.ansible.tier import Stay, Tier

pytestmark = pytest.mark.hosts
POOL = "relier-worker-high.service"
#: A holder is taken for dead no earlier than this after its last beat: who is back sooner was reported, not missed.
HEARTBEAT_TTL = 10.0
QUEUE = "high_priority"


# Joins the unit's group and eats up to its limit. The children are offered to the kernel first, as if a task had eaten.
EATER = """
group=$(awk -F: '$2 == "memory" {print "/sys/fs/cgroup/memory" $3} $1 == 0 {v2 = "/sys/fs/cgroup" $3} END {print v2}' \\
  /proc/$1/cgroup | head -n 1)
for child in $(cat /proc/$1/task/*/children); do
  [ "$(cat /proc/$child/comm)" = watched ] || echo 1000 >/proc/$child/oom_score_adj
done
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


@pytest.fixture
def stay(whole: Tier, witness: str) -> Iterator[Stay]:
    """Tasks on every host. The next drill begins when they are done, for until then they hold its places."""
    stay = whole.stay(witness, QUEUE, 8, 25)
    yield stay
    wait_until(lambda: stay.finished, 180, "all tasks are done")


def _there(stay: Stay, victim: str) -> list[str]:
    there = [task for task, (_, node, _) in stay.on(victim).items() if node.startswith("worker-high@")]
    assert there, "no task runs on the host that is to be harmed"
    return there


def test_tasks_of_a_killed_worker_run_again_at_once(whole: Tier, victim: str, stay: Stay) -> None:
    there = _there(stay, victim)
    before = int(whole.unit(victim, POOL, "NRestarts"))
    since = time.time()
    whole.sh(victim, f"systemctl kill -s KILL {POOL}")
    gone = stay.gone(there, since)
    _report("systemctl kill -s KILL", gone)
    wait_until(lambda: whole.unit(victim, POOL, "ActiveState") == "active", 120, "it runs again")
    print(f"systemd says active after {time.time() - since:.1f} s")
    assert int(whole.unit(victim, POOL, "NRestarts")) == before + 1
    assert max(gone) < HEARTBEAT_TTL, "nobody reported the death; the tasks waited for the heartbeat to expire"


def test_a_worker_that_is_told_to_restart_comes_back(whole: Tier, victim: str) -> None:
    before = whole.unit(victim, POOL, "MainPID")
    whole.sh(victim, f"rl worker restart worker-high@{victim}")
    wait_until(lambda: whole.unit(victim, POOL, "MainPID") not in (before, "0"), 60, "another one is there")
    wait_until(lambda: whole.unit(victim, POOL, "ActiveState") == "active", 120, "it consumes")
    assert whole.unit(victim, POOL, "Result") == "success"


def test_tasks_of_a_worker_out_of_memory_run_again(whole: Tier, victim: str, stay: Stay) -> None:
    there = _there(stay, victim)
    argv = ["sh", "-c", EATER, "sh", whole.unit(victim, POOL, "MainPID"), whole.unit(victim, POOL, "MemoryMax")]
    said = whole.run(victim, argv)
    since = float(said.split()[-1])
    gone = stay.gone(there, since)
    _report("out of memory in the unit's control group", gone)
    assert max(gone) < HEARTBEAT_TTL, "nobody reported the death; the tasks waited for the heartbeat to expire"
    assert whole.unit(victim, POOL, "ActiveState") == "active"


def test_tasks_of_a_host_without_power_run_again_elsewhere(whole: Tier, victim: str, witness: str, stay: Stay) -> None:
    there = _there(stay, victim)
    since = whole.power_off(victim)
    try:
        gone = stay.gone(there, since)
    finally:
        whole.power_on(victim)
    _report("worker host powered off", gone)
    assert {stay.runs[task][-1][1].partition("@")[2] for task in there} == {witness}
    assert max(gone) < 60
    whole.settle()


def test_the_watchdog_starts_a_worker_again_that_hangs_or_has_lost_its_watcher(whole: Tier, victim: str) -> None:
    harms = {POOL: "kill -KILL $(pgrep --parent {} --exact watched)", "relier-worker-default.service": "kill -STOP {}"}
    before, since = whole.restarts(), time.time()
    for unit, harm in harms.items():
        whole.sh(victim, harm.format(whole.unit(victim, unit, "MainPID")))
    wanted = before | {(victim, unit): before[victim, unit] + 1 for unit in harms}
    wait_until(lambda: whole.restarts() == wanted, 180, "both are started again, and no other")
    print(f"\nboth were started again within {time.time() - since:.0f} s")
    whole.settle()
