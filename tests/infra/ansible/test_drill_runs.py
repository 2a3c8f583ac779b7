"""What site.yml says of hosts that are as they should be, of a promoted master, and of hosts that somebody changed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.infra.ansible import drift
from tests.infra.ansible.play import ROOT
from tests.infra.ansible.tier import Tier

pytestmark = pytest.mark.hosts
ALONE = Path(__file__).parent / "alone.yml"
PLACES = {
    "preflight": "relier",
    "kernel": "redis",
    "sentinel": "sentinel",
    "redis": "redis",
    "app": "workers:resurrector",
    "worker": "workers",
    "resurrector": "resurrector",
    "backup": "backup",
    "drill": "backup",
    "monitoring": "monitoring",
}


def test_a_second_run_changes_nothing(whole: Tier) -> None:
    run = whole.site().expect_success()
    print(f"\nsecond run: {run.seconds:.0f} s")
    assert run.changed == []


def test_a_run_after_a_failover_changes_nothing_and_the_promoted_master_stays(whole: Tier) -> None:
    old = whole.master()
    whole.sh(old, "/usr/lib/relier/handover")
    whole.settle()
    new = whole.master()
    assert new != old
    assert whole.site().expect_success().changed == []
    assert whole.master() == new


def test_a_check_of_a_converged_tier_reports_nothing(whole: Tier) -> None:
    assert whole.site("--check", "--diff").expect_success().changed == []


def test_a_check_reports_exactly_what_somebody_changed_and_a_run_mends_it(whole: Tier) -> None:
    kinds = drift.kinds(whole)
    for kind in kinds:
        whole.sh(kind.host, kind.harm)
    expected = sorted({f"{kind.host}: {kind.task}" for kind in kinds})
    checked = whole.site("--check", "--diff").expect_success()
    assert sorted(set(drift.without_handlers(checked.changed))) == expected
    print(f"\n{len(kinds)} kinds of drift, each reported and nothing else")
    whole.site().expect_success()
    assert whole.site("--check").expect_success().changed == []


def test_a_restart_that_an_earlier_run_was_kept_from_is_made_up_for(whole: Tier) -> None:
    """Handlers are forgotten with a run that fails at them; what it wrote is newer than who reads it."""
    replica, away = (host for host in whole.groups["redis"] if host != whole.master())
    worker, unit = whole.groups["workers"][0], whole.pools()[0]
    written = {(replica, "redis-server"): "/etc/relier/redis.env", (worker, unit): f"/etc/systemd/system/{unit}"}
    before = {key: whole.unit(*key, "ActiveEnterTimestampMonotonic") for key in written}
    whole.power_off(away)
    try:
        whole.sh(replica, "echo '# by hand' >>/etc/relier/redis.env")
        refused = whole.site("--limit", f"all:!{away}")
        still = whole.unit(replica, "redis-server", "ActiveEnterTimestampMonotonic")
    finally:
        whole.power_on(away)
    whole.settle()
    for (host, _), path in written.items():
        whole.sh(host, f"touch {path}")
    checked, run = whole.site("--check").expect_success(), whole.site().expect_success()
    again = whole.site().expect_success()
    assert refused.code != 0 and f"{away}:6379 does not answer" in refused.text, refused.story()
    assert still == before[replica, "redis-server"]
    task = "Restart what an earlier run was kept from restarting"
    made_up = {f"{replica}: redis : {task}", f"{worker}: worker : {task}"}
    assert made_up <= set(run.changed) and made_up <= set(checked.changed) and again.changed == []
    assert all(whole.unit(*key, "ActiveEnterTimestampMonotonic") != at for key, at in before.items())


def test_new_rights_are_taken_up_without_a_restart(whole: Tier, tmp_path: Path) -> None:
    scripts = shutil.copytree(ROOT / "scripts" / "redis", tmp_path / "redis")
    template = scripts / "users.acl.template"
    template.write_text(re.sub(r"(?m)^(user probe .*)$", r"\1 +lastsave", template.read_text()))
    nodes = whole.groups["redis"]
    born = whole.everywhere(nodes, lambda host: _run_id(whole, host))
    run = whole.site("--tags", "redis", "-e", f"common_source={scripts}").expect_success()
    rights = whole.everywhere(nodes, lambda host: whole.sh(host, "/usr/lib/relier/ask redis acl getuser probe"))
    back = whole.site("--tags", "redis").expect_success()
    tasks = ("common : Copy the scripts of Redis", "redis : Hold the running Redis to its users and settings")
    assert sorted(run.changed) == sorted(back.changed) == sorted(f"{node}: {task}" for node in nodes for task in tasks)
    assert all("+lastsave" in said for said in rights)
    assert whole.everywhere(nodes, lambda host: _run_id(whole, host)) == born


def _run_id(tier: Tier, host: str) -> str:
    """Another one after each start."""
    return tier.sh(host, "/usr/lib/relier/ask redis info server | grep run_id")


@pytest.mark.parametrize("role", PLACES)
def test_a_role_alone_finds_nothing_to_change(whole: Tier, role: str) -> None:
    run = whole.play(str(ALONE), "-e", f"role={role}", "-e", f"where={PLACES[role]}")
    assert run.expect_success().changed == []


def test_a_tag_narrows_a_run_to_its_role(whole: Tier) -> None:
    run = whole.site("--tags", "redis").expect_success()
    assert run.changed == []
    # Ansible checks the arguments of every role, whatever the tags.
    tasks = [row["task"] for row in run.rows if "Validating arguments" not in row.get("task", "Validating arguments")]
    assert {task.partition(" : ")[0] for task in tasks if " : " in task} == {"preflight", "redis", "common"}


def test_a_limit_narrows_a_run_to_a_host(whole: Tier) -> None:
    host = whole.groups["workers"][1]
    run = whole.site("--limit", host).expect_success()
    assert run.changed == [] and set(run.stats) == {host}


def test_a_host_that_is_off_stops_a_run_before_anything_is_changed_and_a_limit_goes_around_it(whole: Tier) -> None:
    host = whole.groups["workers"][1]
    whole.power_off(host)
    try:
        stopped, around = whole.site(), whole.site("--limit", f"all:!{host}")
    finally:
        whole.power_on(host)
    assert stopped.code != 0 and stopped.changed == [] and stopped.stats[host]["unreachable"] == 1
    assert around.expect_success().changed == []
    whole.settle()


def test_a_deployment_does_not_begin_while_a_host_is_off(whole: Tier) -> None:
    host = whole.groups["workers"][1]
    whole.power_off(host)
    try:
        run = whole.play("playbooks/deploy.yml")
    finally:
        whole.power_on(host)
    assert run.code != 0 and run.changed == [] and run.stats[host]["unreachable"] == 1
    whole.settle()
