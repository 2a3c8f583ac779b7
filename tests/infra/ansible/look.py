"""A look at converged hosts with testinfra, over their own SSH; molecule verifies with it.

INVENTORY is the inventory with the groups, CONNECTION the file that says how each host is reached. Changes nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import testinfra

from tests.infra.ansible.play import environment

SECURE = 2.0  # of systemd-analyze security; 0 is the best, 10 the worst
UNITS = {
    "redis": ["redis-server.service"],
    "sentinel": ["redis-sentinel.service"],
    "workers": [f"relier-worker-{pool}.service" for pool in ("high", "default", "recovery")],
    "resurrector": ["relier-resurrector.service"],
    "backup": ["relier-backup.timer", "relier-drill.timer"],
}
OURS = ("workers", "resurrector", "redis", "sentinel")
JOBS = ["relier-backup.service", "relier-drill.service"]


def _groups() -> dict[str, list[str]]:
    argv = ["ansible-inventory", "-i", os.environ["INVENTORY"], "--list"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment())
    return {name: group.get("hosts", []) for name, group in json.loads(done.stdout).items() if name in UNITS}


def _host(name: str) -> Any:
    reach = json.loads(Path(os.environ["CONNECTION"]).read_text())["all"]
    port, shared = reach["hosts"][name]["ansible_port"], reach["vars"]
    return testinfra.get_host(
        f"ssh://{shared['ansible_user']}@{shared['ansible_host']}:{port}",
        ssh_identity_file=shared["ansible_ssh_private_key_file"],
        ssh_extra_args=shared["ansible_ssh_common_args"],
        sudo=True,
    )


def _pairs() -> Iterator[tuple[str, str, str]]:
    for group, hosts in _groups().items():
        for host in hosts:
            yield from ((group, host, unit) for unit in UNITS[group])


PAIRS = list(_pairs()) if "INVENTORY" in os.environ else []
HOSTS = sorted({host for _, host, _ in PAIRS})


@pytest.mark.parametrize(("group", "name", "unit"), PAIRS)
def test_every_unit_runs_and_starts_at_boot(group: str, name: str, unit: str) -> None:
    service = _host(name).service(unit)
    assert service.is_running and service.is_enabled


@pytest.mark.parametrize(("group", "name", "unit"), [row for row in PAIRS if row[0] in OURS])
def test_every_unit_is_locked_up(group: str, name: str, unit: str) -> None:
    said = _host(name).check_output(f"systemd-analyze security --no-pager {unit} | tail -n 1")
    exposure = float(said.split(":")[1].split()[0])
    print(f"{unit}: {exposure}")
    # Test hosts carry PrivateUsers=no, which costs 0.2.
    assert exposure <= SECURE + 0.2


@pytest.mark.parametrize("name", HOSTS)
def test_nothing_has_failed(name: str) -> None:
    assert _host(name).check_output("systemctl --failed --no-legend --plain") == ""


@pytest.mark.parametrize("name", HOSTS)
def test_secrets_are_roots_alone(name: str) -> None:
    loose = _host(name).check_output("find /etc/relier/credentials -perm /077 -o ! -user root")
    assert loose == ""


@pytest.mark.parametrize("name", HOSTS)
def test_no_secret_is_readable_elsewhere_or_on_a_command_line(name: str) -> None:
    script = (
        "for f in $(find /etc/relier/credentials -type f -size +8c); do "
        "grep -rlF -f $f /etc/systemd /etc/relier/*.env /usr/local/bin /opt/relier/current/bin 2>/dev/null; "
        "grep -alF -f $f /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; done | grep -v /proc/self | sort -u"
    )
    assert _host(name).run(script).stdout == ""
