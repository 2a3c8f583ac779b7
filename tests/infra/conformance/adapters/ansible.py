"""Hosts of an inventory with systemd, or this one: a workload is a unit on every host of its group."""

from __future__ import annotations

import getpass
import json
import re
import shlex
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import testinfra

from infra.topology import Plan
from infra.topology.workload import Workload
from tests.infra.conformance import snippets
from tests.infra.conformance.adapters.base import Answer, Facts, Instance, Process, Unable, local, must
from tests.infra.conformance.adapters.docker import REPO

GROUPS = {"worker": "workers", "drill": "backup", "exporter": "monitoring", "prometheus": "monitoring"}
UNITS = {"redis": "redis-server.service", "sentinel": "redis-sentinel.service"}
#: $1 is the unit, $2 our program, the rest the command.
ENTER = (
    'pid=$(systemctl show -p MainPID --value "$1"); unit=$1; program=$2; shift 2; '
    '[ "$pid" -gt 0 ] || { echo "$unit does not run" >&2; exit 97; }; '
    'exec nsenter -t "$pid" -m -- python3 -c "$program" "$pid" "$@"'
)
#: One connection a host for the whole run; without it each question costs a handshake. Its socket lies where nobody
#: else may put one.
SHARED = f"-o ControlMaster=auto -o ControlPersist=60 -o ControlPath={tempfile.mkdtemp(prefix='relier-')}/%C"
#: Callers append arguments to a command, and ssh hands them to a shell once more; so they are quoted when it starts.
LATE = (
    "import os, shlex, sys; n, w = int(sys.argv[1]), sys.argv[2:]; os.execvp(w[0], w[:n] + [*map(shlex.quote, w[n:])])"
)
#: The variables of a unit, and those of its files without comments.
SETTINGS = (
    'systemctl show -p Environment --value "$1"; '
    'for f in $(systemctl show -p EnvironmentFiles --value "$1" | cut -d" " -f1); do grep -v "^#" "$f"; done'
)
SPAN = {"d": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6}


class Hosts:
    """By what Ansible knows of them: their groups, and how to connect."""

    backend = "ansible"
    stays_down = True

    def __init__(self, plan: Plan, inventories: Sequence[str]) -> None:
        self.plan, self.inventories = plan, list(inventories)

    @cached_property
    def _inventory(self) -> dict[str, Any]:
        if not self.inventories:
            here = socket.gethostname()
            variables = {here: {"ansible_connection": "local"}}
            groups = {GROUPS.get(w.kind, w.kind): {"hosts": [here]} for w in self.plan.workloads}
            return {"_meta": {"hostvars": variables}} | groups
        given = [part for path in self.inventories for part in ("-i", path)]
        found: dict[str, Any] = json.loads(must(["ansible-inventory", *given, "--list"]))
        return found

    def _members(self, group: str) -> list[str]:
        """Hosts of a group and of the groups within it."""
        known = self._inventory.get(group, {})
        within = [host for child in known.get("children", ()) for host in self._members(child)]
        return list(dict.fromkeys([*known.get("hosts", ()), *within]))

    def _all(self) -> list[str]:
        return sorted({host for group in self._inventory if group != "_meta" for host in self._members(group)})

    def _prefix(self, host: str) -> list[str]:
        """The local words before a shell command that runs there as root."""
        known = self._inventory["_meta"]["hostvars"].get(host, {})
        kind, place = str(known.get("ansible_connection", "ssh")), str(known.get("ansible_host", host))
        if kind.endswith("docker"):
            return ["docker", "exec", "-i", "-u", "root", place, "sh", "-c"]
        become = ["sudo", "-n"] if _user(known) != "root" or kind == "local" else []
        if kind == "local":
            return [*become, "sh", "-c"]
        options = {"ansible_port": "-p", "ansible_ssh_private_key_file": "-i", "ansible_user": "-l"}
        flags = [part for name, flag in options.items() if name in known for part in (flag, str(known[name]))]
        more = shlex.split(str(known.get("ansible_ssh_common_args", "")))
        return ["ssh", "-o", "BatchMode=yes", *SHARED.split(), *flags, *more, place, *become, "sh", "-c"]

    def _script(self, host: str, script: str, *args: str) -> list[str]:
        """A shell script there; ssh hands its words to a shell once more."""
        words = self._prefix(host)
        rest = [script, "sh", *args]
        return [*words, *(shlex.quote(word) for word in rest)] if words[0] == "ssh" else [*words, *rest]

    def _run(self, host: str, script: str, *args: str, timeout: float = 60, text: str | None = None) -> Answer:
        return local(self._script(host, script, *args), timeout=timeout, text=text)

    def _must(self, host: str, script: str, *args: str, timeout: float = 120) -> str:
        return must(self._script(host, script, *args), timeout=timeout)

    def unit(self, workload: Workload) -> str:
        return UNITS.get(workload.kind, f"{self.plan.name}-{workload.name}.service")

    def _hosts(self, workload: Workload) -> list[str]:
        return self._members(GROUPS.get(workload.kind, workload.kind))

    def instances(self, workload: Workload) -> list[Instance]:
        unit, clock = self.unit(workload), workload.schedule is not None
        asked = unit.replace(".service", ".timer") if clock else unit
        states = {h: self._run(h, 'systemctl is-active "$1"', asked).out.strip() for h in self._hosts(workload)}
        # A node that waits for its Sentinels runs, and may be asked.
        running = [host for host, state in states.items() if state in ("active", "activating")]
        return [self._instance(host, workload, clock) for host in running]

    def _instance(self, host: str, workload: Workload, clock: bool) -> Instance:
        node = host if host in workload.nodes else None
        made = None if clock else self._testinfra(host)
        return Instance(f"{self.unit(workload)} on {host}", workload.name, node, made, not clock, machine=host)

    def _testinfra(self, host: str) -> Any:
        prefix = self._prefix(host)
        if prefix[0] == "docker":
            return testinfra.get_host(f"docker://root@{prefix[5]}")
        if prefix[0] == "ssh":
            return self._by_ssh(host)
        return testinfra.get_host("local://", sudo=True)

    def _by_ssh(self, host: str) -> Any:
        known = self._inventory["_meta"]["hostvars"].get(host, {})
        user, place = _user(known), str(known.get("ansible_host", host))
        port = f":{known['ansible_port']}" if "ansible_port" in known else ""
        return testinfra.get_host(
            f"ssh://{user}@{place}{port}",
            ssh_identity_file=known.get("ansible_ssh_private_key_file"),
            ssh_extra_args=f"{SHARED} {known.get('ansible_ssh_common_args', '')}",
            sudo=user != "root",
        )

    def strangers(self) -> list[str]:
        listing = "systemctl list-units --type=service --state=active --plain --no-legend"
        # What an operator runs at this moment by relier-run is theirs.
        listing += f" '{self.plan.name}-*' | cut -d' ' -f1 | grep -v '^{self.plan.name}-run-'"
        found = []
        for host in self._all():
            planned = {self.unit(workload) for workload in self.plan.workloads if host in self._hosts(workload)}
            units = set(self._run(host, listing).out.split()) - planned
            found += [f"the unit {unit} is active on {host}" for unit in sorted(units)]
        return found

    def _show(self, instance: Instance) -> dict[str, str]:
        unit = self.unit(self.plan[instance.workload])
        lines = self._must(instance.machine, 'systemctl show "$1"', unit).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def facts(self, instance: Instance) -> Facts:
        seen, known = self._show(instance), self.plan[instance.workload]
        service = known.schedule is None
        restart = "no" if seen["Restart"] == "no" else "unless-stopped"
        return Facts(
            user=seen["User"] or "root",
            memory=int(seen["MemoryMax"]) if seen["MemoryMax"].isdigit() else None,
            argv=self._argv(seen, known),
            env=self._environment(instance, seen),
            read_only_root=seen.get("ProtectSystem") == "strict" if known.kind not in UNITS else None,
            restart=restart if service else None,
            grace=_seconds(seen["TimeoutStopUSec"]),
            health="healthy" if seen["ActiveState"] == "active" else seen["ActiveState"] if service else None,
            privileges=tuple(_privileges(seen)),
            incarnation=seen.get("InvocationID", ""),
        )

    def _argv(self, seen: Mapping[str, str], known: Workload) -> tuple[str, ...]:
        """The plan writes %h for the host in a worker's name."""
        match = re.search(r"argv\[\]=(.*?) ;", seen["ExecStart"])
        words = shlex.split(match[1]) if match else []
        return tuple(f"{known.name}@%h" if word.startswith(f"{known.name}@") else word for word in words)

    def _environment(self, instance: Instance, seen: Mapping[str, str]) -> dict[str, str]:
        """Of the process; of jobs between two runs, and of Redis, which writes over its own, what the unit says."""
        pid = seen.get("MainPID", "0")
        if UNITS.get(self.plan[instance.workload].kind):
            entries = shlex.split(self._must(instance.machine, SETTINGS, self.unit(self.plan[instance.workload])))
        elif pid != "0":
            entries = self._must(instance.machine, 'cat "/proc/$1/environ"', pid).split("\0")
        else:
            entries = shlex.split(seen.get("Environment", ""))
        return dict(entry.split("=", 1) for entry in entries if "=" in entry)

    def command(self, instance: Instance, argv: Sequence[str]) -> list[str]:
        unit = self.unit(self.plan[instance.workload])
        words = [word.replace("@%h", f"@{instance.machine}") for word in argv]
        prefix = self._prefix(instance.machine)
        late = [sys.executable, "-c", LATE, str(len(prefix))] if prefix[0] == "ssh" else []
        return [*late, *prefix, ENTER, "sh", unit, snippets.text("enter"), *words]

    def own_processes(self, instance: Instance, seen: Sequence[Process]) -> list[Process]:
        """Those of the unit's control group."""
        group = self._show(instance).get("ControlGroup", "")
        find = 'cat /sys/fs/cgroup"$1"/cgroup.procs /sys/fs/cgroup/*"$1"/cgroup.procs 2>/dev/null; true'
        pids = set(map(int, self._run(instance.machine, find, group).out.split())) if group else set()
        return [process for process in seen if process.pid in pids]

    def foreign_files(self, instance: Instance, workload: Workload) -> list[str]:
        """Scripts are ours byte for byte; an overlay is the role's, with the values that the settings test compares."""
        found = []
        for planned in (file for file in workload.files if not file.path.endswith("overlay.conf")):
            ours = REPO / planned.source
            theirs = self._run(instance.machine, 'cat "$1"', planned.path).out
            if ours.is_file() and theirs != ours.read_text(encoding="utf-8"):
                found.append(f"{instance}: {planned.path} is not what {planned.source} of this project holds.")
        return found

    def described(self, instance: Instance) -> str:
        unit = self.unit(self.plan[instance.workload])
        return self._must(instance.machine, 'systemctl show "$1"; systemctl cat "$1"', unit)

    def logs(self, instance: Instance) -> str:
        unit = self.unit(self.plan[instance.workload])
        return self._run(instance.machine, 'journalctl --no-pager -u "$1"', unit).out

    def internal_networks(self) -> Mapping[str, bool]:
        return {}

    def outsiders_reach(self, targets: Sequence[Instance], port: int) -> list[str]:
        raise Unable("hosts of one's own have a firewall of their own; the password is what the plan guards them by")

    def has_image(self, image: str) -> bool:
        return True

    def _control(self, instance: Instance, *words: str) -> None:
        unit = self.unit(self.plan[instance.workload])
        self._must(instance.machine, 'unit=$1; shift; for w in "$@"; do systemctl $w "$unit"; done', unit, *words)

    def kill(self, instance: Instance) -> None:
        """And it stays down, as with its host."""
        self._control(instance, "kill -s KILL", "stop")

    def start(self, instance: Instance) -> None:
        self._control(instance, "start")

    def freeze(self, instance: Instance) -> None:
        self._control(instance, "kill -s STOP")

    def thaw(self, instance: Instance) -> None:
        self._control(instance, "kill -s CONT")

    def stop(self, workloads: Sequence[Workload]) -> None:
        self._each(workloads, "stop")

    def resume(self, workloads: Sequence[Workload]) -> None:
        """Nodes wait for each other, so nobody waits for one of them."""
        self._each(workloads, "start --no-block")

    def _each(self, workloads: Sequence[Workload], what: str) -> None:
        for workload in workloads:
            for host in self._hosts(workload):
                self._must(host, f'systemctl {what} "$1"', self.unit(workload))

    def backup(self, workload: Workload) -> None:
        self._each([workload], "start")

    def wipe(self, workloads: Sequence[Workload]) -> None:
        for workload in workloads:
            for host in self._hosts(workload):
                for volume in workload.volumes:
                    self._must(host, 'find "$1" -mindepth 1 -delete', volume.path)

    def restore(self, first: Workload, backup: Workload) -> str:
        """By hand, as the page on restoring says it: the file travels over this machine."""
        place, target = self._hosts(backup)[0], first.nodes[0]
        newest = self._must(place, 'ls "$1"/relier-*.rdb | sort | tail -n 1', backup.env["BACKUP_DIR"]).strip()
        brought = f"/var/tmp/{Path(newest).name}"
        source, sink = (
            self._script(place, 'cat "$1"', newest),
            self._script(target, 'cat >"$1" && chmod 644 "$1"', brought),
        )
        must(["sh", "-c", f"{shlex.join(source)} | {shlex.join(sink)}"], timeout=120)
        load = 'runuser -u redis -- /etc/relier/restore "$1" "$2" 2>&1; code=$?; rm -f "$2"; exit $code'
        return self._must(target, load, first.volumes[0].path, brought, timeout=300)


def _user(known: Mapping[str, Any]) -> str:
    """Whom SSH logs in as: without a word of the inventory, whoever runs this."""
    return str(known.get("ansible_user") or getpass.getuser())


def _seconds(text: str) -> float | None:
    """`1min 30s` of systemd."""
    if text in ("infinity", ""):
        return None
    return sum(float(number) * SPAN[unit] for number, unit in re.findall(r"([\d.]+)(min|ms|us|[dhs])", text))


def _privileges(seen: Mapping[str, str]) -> Iterator[str]:
    if seen.get("NoNewPrivileges") != "yes":
        yield "may gain privileges by a set-uid program"
    if seen.get("User", "root") in ("", "root"):
        yield "runs as root"
