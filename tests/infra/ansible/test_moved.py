"""What site.yml takes off a host that has left a group: its last play's own choice, on hosts that a test made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.infra.ansible.desk import Desk
from tests.infra.ansible.play import KIT

UNITS = "/etc/systemd/system"
KEYS = "/etc/relier/credentials"
HELD = {
    "worker": [f"{UNITS}/relier-high.service", f"{KEYS}/worker"],
    "resurrector": [f"{UNITS}/relier-resurrector.service", f"{KEYS}/resurrector"],
    "backup": [f"{UNITS}/relier-backup.service", f"{UNITS}/relier-backup.timer", f"{KEYS}/backup"],
    "drill": [f"{UNITS}/relier-drill.service", f"{UNITS}/relier-drill.timer", "/metrics/relier_drill.prom"],
    "monitoring": [f"{UNITS}/prometheus-redis-exporter.service.d/relier.conf", f"{KEYS}/exporter"],
    "app": [f"{KEYS}/app"],
}
#: Of the operator's own, and of servers.
OTHERS = [f"{UNITS}/relier-of-mine.service", f"{KEYS}/redis", f"{KEYS}/sentinel"]


def _gone(folder: Path, desk: Desk, *arguments: str) -> dict[str, list[str]]:
    """What goes from each host where everything lies everywhere."""
    *_, play = yaml.safe_load((KIT / "site.yml").read_text())
    held = [path for paths in HELD.values() for path in paths]
    play["vars"] |= {
        "found": {"stdout_lines": [*held, *OTHERS]},
        "pool": {"path": held[0]},
        # The task that looks for pools leaves worker hosts out.
        "found_pools": "{{ {} if 'workers' in group_names else {'files': [pool]} }}",
    }
    out = folder / "{{ inventory_hostname }}.json"
    play["tasks"] = [{"ansible.builtin.copy": {"content": "{{ gone | to_json }}", "dest": str(out), "mode": "0600"}}]
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    desk.play(str(folder / "play.yml"), *arguments).expect_success()
    said = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    return {host: sorted(gone) for host, gone in said.items() if gone}


def _all(*kinds: str) -> list[str]:
    return sorted(path for kind in kinds for path in HELD[kind])


def _moved(folder: Path) -> Desk:
    """The resurrector and the backups were on redis-1, worker-1 has become a spare host, and worker-3 is new."""
    desk = Desk(folder)
    desk.groups["workers"]["hosts"] = {"worker-2": None, "worker-3": None}
    desk.groups["resurrector"]["hosts"] = {"worker-2": None}
    desk.hosts["relier"]["hosts"] = {"worker-1": None}
    return desk


def test_a_host_keeps_what_its_groups_run_and_nothing_else(tmp_path: Path) -> None:
    gone = _gone(tmp_path, _moved(tmp_path))
    assert gone["worker-1"] == _all(*HELD)
    assert gone["worker-2"] == _all("backup", "drill")
    assert gone["worker-3"] == _all("resurrector", "backup", "drill", "monitoring")
    assert gone["redis-3"] == _all("worker", "resurrector", "monitoring", "app")


@pytest.mark.parametrize(
    ("arguments", "gone"),
    [
        (("--tags", "resurrector"), _all("resurrector")),
        (("--tags", "redis"), None),
        (("--limit", "worker-1"), None),
        (("--limit", "worker-1,worker-2"), _all("resurrector", "monitoring")),
        (("--limit", "worker-1,redis-3"), _all("backup", "drill")),
        (("--limit", "workers:worker-1"), _all("worker", "resurrector", "monitoring", "app")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_part_of_a_run_takes_away_only_what_that_part_has_put_elsewhere(
    tmp_path: Path, arguments: tuple[str, ...], gone: list[str] | None
) -> None:
    assert _gone(tmp_path, _moved(tmp_path), *arguments).get("worker-1") == gone
