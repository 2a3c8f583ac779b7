"""Hosts with Redis lose power under load, one after the other and all at once."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from harness.load import Load
from harness.process import wait_until
from tests.infra.ansible.play import ROOT, environment
from tests.infra.ansible.tier import Tier

pytestmark = pytest.mark.hosts
ROUNDS = 5


def judged(load: Load) -> None:
    """Nothing acknowledged is lost, nothing is committed twice, nobody waited for longer than 10 s."""
    load.stop()
    verdict = load.verdict(300)
    slow = [(round(took, 1), error) for _, took, error in load.failed.values() if took > 10]
    print(
        f"{verdict.acknowledged} acknowledged, {len(load.failed)} failed pushes ({len(slow)} after more than 10 s), "
        f"{len(verdict.lost)} lost, {verdict.twice} committed twice, {verdict.dead_letters} in the DLQ"
    )
    assert verdict.lost == []
    assert verdict.twice == 0
    assert slow == []


def test_a_master_without_power_loses_nothing_however_often(whole: Tier) -> None:
    witness = whole.groups["workers"][0]
    restarts = whole.restarts()
    load = whole.load(witness).start()
    gaps = []
    for _ in range(ROUNDS):
        old = whole.master()
        since = whole.power_off(old)
        wait_until(lambda old=old: _other(whole, old), 60, "another node leads", 0.5)  # type: ignore[misc]
        wait_until(lambda since=since: max(load.acknowledged.values()) > since + 10, 60, "pushes go on", 0.5)  # type: ignore[misc]
        gaps.append(load.gap(since))
        whole.power_on(old)
        whole.settle()
    print(f"\npushes paused for {', '.join(f'{gap:.1f}' for gap in gaps)} s")
    judged(load)
    assert whole.restarts() == restarts, "a worker ended because of a failover"


def _other(tier: Tier, old: str) -> bool:
    """Asked of the hosts that have power."""
    for host in tier.groups["sentinel"]:
        if host != old:
            ask = "/usr/lib/relier/ask sentinel sentinel get-master-addr-by-name relier-master"
            return tier.sh(host, ask, check=False).partition("\n")[0] not in ("", old)
    return False


def test_a_tier_whose_hosts_all_lose_power_at_once_comes_back_with_every_key(whole: Tier) -> None:
    assert whole.keys("drill", 200, write=True) == 200
    time.sleep(2)  # appendfsync everysec
    whole.everywhere(whole.hosts, whole.power_off)
    since = time.time()
    whole.everywhere(whole.hosts, whole.power_on)
    whole.settle()
    print(f"\nthe tier was whole again after {time.time() - since:.0f} s")
    assert whole.keys("drill", 200) == 200


def test_the_conformance_suite_holds_on_hosts_its_destructive_half_included(whole: Tier) -> None:
    """The same tests as on every other tier, over `ansible://`."""
    where = [f"--inventory={path}" for path in whole.where[1::2]]
    argv = [sys.executable, "-m", "tests.infra.conformance", "bare", "--destructive", *where]
    done = subprocess.run(argv, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    print(done.stdout[-2000:])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    whole.settle()
