"""The operator's day under load: deploy, roll back, upgrade, rotate, back up and restore."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.infra.ansible.play import ROOT
from tests.infra.ansible.test_drill_redis import judged
from tests.infra.ansible.tier import Tier

pytestmark = pytest.mark.hosts


def _wheel(folder: Path, version: str) -> Path:
    """The project's own wheel under another version: a new release that differs in nothing else."""
    source = folder / "source"
    source.mkdir()
    for name in ("relier", "pyproject.toml", "README.md", "LICENSE"):
        subprocess.run(["cp", "-a", str(ROOT / name), str(source)], check=True)
    settings = source / "pyproject.toml"
    settings.write_text(re.sub(r'(?m)^version = ".*"', f'version = "{version}"', settings.read_text(), count=1))
    argv = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(folder), str(source)]
    subprocess.run(argv, check=True)
    return next(folder.glob(f"*{version}*.whl"))


def _releases(tier: Tier) -> set[str]:
    read = "basename $(readlink -f /opt/relier/current)"
    return {tier.sh(host, read) for host in tier.groups["workers"]}


def test_a_release_goes_out_and_back_under_load_without_a_loss(whole: Tier, tmp_path: Path) -> None:
    before = _releases(whole)
    load = whole.load(whole.groups["workers"][0]).start()
    deployed = whole.play("playbooks/deploy.yml", "-e", f"relier_release_wheel={_wheel(tmp_path, '1.0.1')}")
    after = _releases(whole)
    back = whole.play("playbooks/rollback.yml") if deployed.code == 0 else deployed
    print(f"\ndeploy.yml: {deployed.seconds:.0f} s, rollback.yml: {back.seconds:.0f} s")
    judged(load)
    deployed.expect_success()
    back.expect_success()
    assert len(after) == 1 and after.pop().startswith("1.0.1-")
    assert _releases(whole) == before
    whole.site().expect_success()


def test_a_release_that_does_not_start_stops_at_the_first_host_and_says_how_to_go_back(
    whole: Tier, tmp_path: Path
) -> None:
    before = _releases(whole)
    wheel = _wheel(tmp_path, "1.0.2")
    broken = tmp_path / "broken"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(broken)], check=True)
    (broken / "relier" / "tasks" / "app.py").write_text("raise SystemExit('this release is broken')\n")
    subprocess.run([sys.executable, "-m", "zipfile", "-c", str(wheel), *map(str, broken.iterdir())], check=True)
    run = whole.play("playbooks/deploy.yml", "-e", f"relier_release_wheel={wheel}")
    first, second = whole.groups["workers"]
    assert run.code != 0
    assert any("To go back" in said and "rollback.yml" in said for said in run.failures), run.story()
    read = "basename $(readlink -f /opt/relier/current)"
    assert whole.sh(second, read) in before, "the second host was touched"
    whole.play("playbooks/rollback.yml").expect_success()
    assert whole.sh(first, read) in before
    whole.settle()


def test_redis_is_upgraded_under_load_without_a_loss(whole: Tier) -> None:
    old, restarts = whole.master(), whole.restarts()
    load = whole.load(whole.groups["workers"][0]).start()
    began = time.time()
    run = whole.play("playbooks/upgrade_redis.yml", "-e", "restart=yes")
    print(f"\nupgrade_redis.yml: {run.seconds:.0f} s, pushes paused until {load.gap(began):.1f} s after its start")
    judged(load)
    run.expect_success()
    assert whole.master() != old
    assert whole.restarts() == restarts
    started = [whole.unit(host, "redis-server", "ActiveEnterTimestampMonotonic") for host in whole.groups["redis"]]
    assert len(set(started)) == 3


def test_secrets_are_rotated_under_load_without_a_loss(whole: Tier) -> None:
    values = whole.fleet.connection.parent / "group_vars" / "relier" / "scenario.yml"
    old = values.read_text()
    fresh = re.sub(r"(?m)^(relier_\w+_(?:password|key)): (\w+)$", r"\1: \2rotated", old)
    assert fresh != old
    load = whole.load(whole.groups["workers"][0]).start()
    values.write_text(fresh)
    run = whole.play("playbooks/rotate_secrets.yml")
    print(f"\nrotate_secrets.yml: {run.seconds:.0f} s")
    judged(load)
    run.expect_success()
    second = whole.load(whole.groups["workers"][0]).start()
    time.sleep(5)
    judged(second)
    whole.play("playbooks/rotate_secrets.yml", "-e", "finish=yes").expect_success()
    whole.settle()
    password = re.search(r"(?m)^relier_redis_password: (\w+)$", old)
    assert password
    said = whole.sh(
        whole.groups["redis"][0], f"REDISCLI_AUTH={password[1]} redis-cli --user app ping 2>&1", check=False
    )
    assert "WRONGPASS" in said, "the old password is still good"
    assert whole.site().expect_success().changed == []


def test_a_backup_brings_back_every_key_after_all_data_is_lost(whole: Tier) -> None:
    assert whole.keys("kept", 500, write=True) == 500
    whole.play("playbooks/backup.yml").expect_success()
    whole.everywhere(
        whole.groups["redis"],
        lambda host: whole.sh(
            host,
            "systemctl kill -s KILL redis-server; systemctl stop redis-server; "
            "rm -rf /var/lib/redis/appendonlydir /var/lib/redis/dump.rdb",
        ),
    )
    refused = whole.play("playbooks/restore.yml")
    assert refused.code != 0 and "confirm=yes" in " ".join(refused.failures)
    run = whole.play("playbooks/restore.yml", "-e", "confirm=yes").expect_success()
    whole.settle()
    print(f"\nrestore.yml: {run.seconds:.0f} s")
    assert whole.keys("kept", 500) == 500
