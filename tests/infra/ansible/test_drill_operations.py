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


def _born(tier: Tier, host: str) -> dict[str, str]:
    """When each pool of a host began."""
    return {unit: tier.unit(host, unit, "ActiveEnterTimestampMonotonic") for unit in tier.pools()}


def test_a_release_goes_out_and_back_under_load_without_a_loss(whole: Tier, tmp_path: Path) -> None:
    before = _releases(whole)
    load = whole.load(whole.groups["workers"][0]).start()
    wheel = _wheel(tmp_path, "1.0.1")
    deployed = whole.play("playbooks/deploy.yml", "-e", f"relier_release_wheel={wheel}")
    after = _releases(whole)
    back = whole.play("playbooks/rollback.yml") if deployed.code == 0 else deployed
    print(f"\ndeploy.yml: {deployed.seconds:.0f} s, rollback.yml: {back.seconds:.0f} s")
    judged(load)
    deployed.expect_success()
    back.expect_success()
    assert len(after) == 1 and next(iter(after)).startswith("1.0.1-")
    assert _releases(whole) == before
    whole.site().expect_success()


def test_the_way_back_from_an_older_wheel_leads_to_what_ran_before_it(whole: Tier, tmp_path: Path) -> None:
    first = _releases(whole)
    installed = re.search(r"(?m)^relier_release_wheel: (.+)$", _values(whole).read_text())
    assert installed
    running = []
    for wheel in (_wheel(tmp_path, "1.0.3"), installed[1]):
        whole.play("playbooks/deploy.yml", "-e", f"relier_release_wheel={wheel}").expect_success()
        running.append(_releases(whole))
    whole.play("playbooks/rollback.yml").expect_success()
    back = _releases(whole)
    whole.site().expect_success()
    assert running[1] == first and back == running[0] != first
    assert _releases(whole) == first


def _values(tier: Tier) -> Path:
    """What the inventory of these hosts says of its own: the wheel and the secrets."""
    return tier.fleet.connection.parent / "group_vars" / "relier" / "scenario.yml"


def _broken(folder: Path, version: str) -> Path:
    """A wheel whose workers end at once."""
    wheel, broken = _wheel(folder, version), folder / "broken"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(broken)], check=True)
    (broken / "relier" / "tasks" / "app.py").write_text("raise SystemExit('this release is broken')\n")
    subprocess.run([sys.executable, "-m", "zipfile", "-c", str(wheel), *map(str, broken.iterdir())], check=True)
    return wheel


def test_a_release_that_does_not_start_stops_at_the_first_host_and_says_how_to_go_back(
    whole: Tier, tmp_path: Path
) -> None:
    before = _releases(whole)
    wheel = _broken(tmp_path, "1.0.2")
    first, second = whole.groups["workers"]
    untouched = _born(whole, second)
    load = whole.load(second, rate=20).start()
    run = whole.play("playbooks/deploy.yml", "-e", f"relier_release_wheel={wheel}")
    halfway = _born(whole, second)
    releases = [whole.sh(host, "basename $(readlink -f /opt/relier/current)") for host in (first, second)]
    back = whole.play("playbooks/rollback.yml")
    print(f"\nbroken release: deploy.yml gave up after {run.seconds:.0f} s, rollback.yml took {back.seconds:.0f} s")
    judged(load)
    assert run.code != 0 and any("To go back" in s and "rollback.yml" in s for s in run.failures), run.story()
    assert releases[0].startswith("1.0.2-") and releases[1] in before and halfway == untouched
    back.expect_success()
    assert _releases(whole) == before
    whole.settle()


def test_site_yml_with_a_release_that_does_not_start_leaves_the_other_hosts_theirs(whole: Tier, tmp_path: Path) -> None:
    (before,) = _releases(whole)
    first, second = whole.groups["workers"]
    untouched = _born(whole, second)
    for attempt in ("1.0.4", "1.0.5"):
        (tmp_path / attempt).mkdir()
        wheel = _broken(tmp_path / attempt, attempt)
        run = whole.site("-e", f"relier_release_wheel={wheel}", "-e", "relier_releases_kept=1")
        assert run.code != 0 and run.failures, run.story()
    read = "cd /opt/relier; basename $(readlink -f current); basename $(readlink -f previous); ls releases"
    broken, went, *kept = whole.sh(first, read).split()
    assert broken.startswith("1.0.5-") and went == before and before in kept
    assert (
        whole.sh(second, "basename $(readlink -f /opt/relier/current)") == before and _born(whole, second) == untouched
    )
    whole.play("playbooks/rollback.yml").expect_success()
    assert _releases(whole) == {before}
    whole.settle()


def test_redis_is_upgraded_under_load_without_a_loss(whole: Tier) -> None:
    old, restarts, before = whole.master(), whole.restarts(), _started(whole)
    load = whole.load(whole.groups["workers"][0]).start()
    began = time.time()
    run = whole.play("playbooks/upgrade_redis.yml", "-e", "restart=yes")
    print(f"\nupgrade_redis.yml: {run.seconds:.0f} s, pushes paused until {load.gap(began):.1f} s after its start")
    judged(load)
    run.expect_success()
    assert whole.master() != old
    assert whole.restarts() == restarts
    assert all(at != before[host] for host, at in _started(whole).items()), "a node was not restarted"


def _started(tier: Tier) -> dict[str, str]:
    """When each node's server began."""
    return {host: tier.unit(host, "redis-server", "ActiveEnterTimestampMonotonic") for host in tier.groups["redis"]}


def _scraped(tier: Tier) -> dict[str, str]:
    """What the exporter says of each node when it is asked now."""
    get = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
    scrape = f"python3 -c '{get}' 'http://127.0.0.1:9121/scrape?target={{}}:6379' | grep '^redis_up '"
    host = tier.groups["monitoring"][0]
    return {node: tier.sh(host, scrape.format(node), check=False) for node in tier.groups["redis"]}


def _answers(tier: Tier, values: str) -> set[str]:
    """What every node says to the app and every Sentinel to anybody, with the passwords of an inventory's text."""
    said = set()
    for group, name, command in (("redis", "redis", "--user app"), ("sentinel", "sentinel", "-p 26379")):
        password = re.search(rf"(?m)^relier_{name}_password: (\w+)$", values)
        assert password
        ask = f"REDISCLI_AUTH={password[1]} redis-cli --no-auth-warning {command} ping 2>&1"
        said |= {tier.sh(host, ask, check=False).strip() for host in tier.groups[group]}
    return said


def test_secrets_are_rotated_under_load_without_a_loss(whole: Tier) -> None:
    values = _values(whole)
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
    replica = next(host for host in whole.groups["redis"] if host != whole.master())
    whole.sh(replica, "systemctl restart redis-sentinel; /usr/lib/relier/restart-redis")
    whole.settle()
    between = _answers(whole, old), _answers(whole, fresh)
    whole.play("playbooks/rotate_secrets.yml", "-e", "finish=yes").expect_success()
    whole.sh(replica, "systemctl restart redis-sentinel; /usr/lib/relier/restart-redis")
    whole.settle()
    assert between == ({"PONG"}, {"PONG"}), "one that restarted before the end no longer takes both passwords"
    assert _answers(whole, fresh) == {"PONG"}
    assert all("WRONGPASS" in said for said in _answers(whole, old)), "an old password is still good"
    assert _scraped(whole) == dict.fromkeys(whole.groups["redis"], "redis_up 1")
    assert whole.site().expect_success().changed == []


def test_a_rotation_that_was_cut_off_is_finished_only_once_everybody_reads_the_new_ones(whole: Tier) -> None:
    first, second = whole.groups["workers"]
    before = _born(whole, first), _born(whole, second)
    whole.sh(second, "touch /etc/relier/credentials/worker/redis")  # written, and nobody restarted
    early = whole.play("playbooks/rotate_secrets.yml", "-e", "finish=yes")
    whole.play("playbooks/rotate_secrets.yml").expect_success()
    after = _born(whole, first), _born(whole, second)
    whole.play("playbooks/rotate_secrets.yml", "-e", "finish=yes").expect_success()
    assert early.code != 0 and early.changed == [] and "relier-worker-high.service" in " ".join(early.failures)
    assert after[0] == before[0] and all(after[1][unit] != at for unit, at in before[1].items())


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


def test_a_backup_that_does_not_load_replaces_nothing_and_the_tier_runs_again(whole: Tier) -> None:
    assert whole.keys("stayed", 200, write=True) == 200
    host, name = whole.groups["backup"][0], "relier-19700101T000000Z.rdb"
    write = f"cd /var/backups/relier && head -c 999 /dev/urandom >{name} && sha256sum {name} >{name}.sha256"
    whole.sh(host, write)
    try:
        run = whole.play("playbooks/restore.yml", "-e", "confirm=yes", "-e", f"backup={name}")
    finally:
        whole.sh(host, f"rm -f /var/backups/relier/{name}*")
    assert run.code != 0 and any("No data was replaced" in said for said in run.failures), run.story()
    whole.settle()
    assert whole.keys("stayed", 200) == 200
