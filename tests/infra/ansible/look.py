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
    "monitoring": ["prometheus-redis-exporter.service"],
}
#: What runs as a program: not the timers, but the jobs that they start.
PROGRAMS = UNITS | {"backup": ["relier-backup.service", "relier-drill.service"]}


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


def _pairs(units: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    for group, hosts in GROUPS.items():
        yield from ((host, unit) for host in hosts for unit in units[group])


GROUPS = _groups() if "INVENTORY" in os.environ else {}
HOSTS = sorted({host for hosts in GROUPS.values() for host in hosts})


@pytest.mark.parametrize(("name", "unit"), _pairs(UNITS))
def test_every_unit_runs_and_starts_at_boot(name: str, unit: str) -> None:
    service = _host(name).service(unit)
    assert service.is_running and service.is_enabled


@pytest.mark.parametrize(("name", "unit"), _pairs(PROGRAMS))
def test_every_unit_is_locked_up(name: str, unit: str) -> None:
    said = _host(name).check_output(f"systemd-analyze security --no-pager {unit} | tail -n 1")
    exposure = float(said.split(":")[1].split()[0])
    print(f"{unit}: {exposure}")
    assert exposure <= SECURE


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
