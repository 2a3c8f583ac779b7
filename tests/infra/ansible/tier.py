"""Hosts to harm: the HA sample on containers with systemd, converged once a session by the real playbooks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.load import Load
from harness.process import wait_until
from infra.ansible.molecule.hosts import Fleet, hosts_of
from tests.infra.ansible import stay_program
from tests.infra.ansible.play import Run, environment, playbook

RATE = float(os.environ.get("LOAD_RATE", "200"))


@dataclass
class Tier:
    """A deployment on hosts that this object made. Power fails and comes back; playbooks are the operator's own."""

    fleet: Fleet
    inventory: Path

    @cached_property
    def hosts(self) -> list[str]:
        return hosts_of(self.inventory)

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        argv = ["ansible-inventory", *self.where, "--list"]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment())
        return {name: group["hosts"] for name, group in json.loads(done.stdout).items() if group.get("hosts")}

    @property
    def where(self) -> list[str]:
        return ["-i", str(self.inventory), "-i", str(self.fleet.connection.parent)]

    def play(self, name: str, *arguments: str, timeout: float = 3600) -> Run:
        """Run a playbook of the kit on these hosts, from its own folder."""
        env = {"MOLECULE_EPHEMERAL_DIRECTORY": str(self.fleet.state.parent)}
        return playbook(name, *self.where, *arguments, env=env, timeout=timeout)

    def site(self, *arguments: str) -> Run:
        return self.play("site.yml", *arguments)

    def build(self) -> Run:
        """Bare hosts, and a control node with a wheel and secrets; then the tier on them."""
        self.fleet.up(self.inventory)
        self.play("molecule/prepare.yml").expect_success()
        return self.site().expect_success()

    def sh(self, host: str, script: str, check: bool = True, timeout: float = 120) -> str:
        """What root's shell on a host prints."""
        argv = ["docker", "exec", "-i", self.fleet.container(host), "sh", "-c", script]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
        if check and done.returncode:
            raise AssertionError(f"{host}: {script!r} ended with {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout.strip()

    def run(self, host: str, argv: list[str]) -> str:
        """What a command of root prints, however it ends."""
        words = ["docker", "exec", "-i", self.fleet.container(host), *argv]
        return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False).stdout.strip()

    def everywhere(self, hosts: Iterable[str], act: Callable[[str], Any]) -> list[Any]:
        """The same on several hosts at once."""
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(act, hosts))

    def power_off(self, host: str) -> float:
        """No goodbye: every process of the host ends in the same instant. Returns when."""
        since = time.time()
        subprocess.run(["docker", "kill", self.fleet.container(host)], capture_output=True, check=True)
        return since

    def power_on(self, host: str) -> None:
        subprocess.run(["docker", "start", self.fleet.container(host)], capture_output=True, check=True)

    def unit(self, host: str, unit: str, name: str) -> str:
        """One property of a systemd unit."""
        return self.sh(host, f"systemctl show -p {name} --value {unit}", check=False)

    def pools(self) -> list[str]:
        """Names of the units of the pools, on every worker host alike."""
        host = self.groups["workers"][0]
        return self.sh(host, "ls /etc/systemd/system | grep -o '^relier-worker-.*service$'").split()

    def restarts(self) -> dict[tuple[str, str], int]:
        """How often systemd had to start each worker again."""
        units = self.pools()
        return {(h, u): int(self.unit(h, u, "NRestarts")) for h in self.groups["workers"] for u in units}

    def master(self) -> str:
        """Who leads, as the Sentinels that answer say."""
        for host in self.groups["sentinel"]:
            said = self.sh(
                host, "/usr/lib/relier/ask sentinel sentinel get-master-addr-by-name relier-master", check=False
            )
            if said:
                return said.split()[0]
        raise AssertionError("no Sentinel answers")

    def replication(self, host: str) -> str:
        return self.sh(host, "/usr/lib/relier/ask redis info replication", check=False)

    def keys(self, prefix: str, count: int, write: bool = False) -> int:
        """How many of `prefix:0` … are there, as the application sees it; `write` puts all of them there first."""
        program = (
            "import sys; from relier.connection import connect; from relier.settings import get_settings\n"
            "r, names = connect(get_settings()), [f'{sys.argv[1]}:{n}' for n in range(int(sys.argv[2]))]\n"
            "if sys.argv[3] == 'True': [r.set(name, 1) for name in names]; r.wait(1, 5000)\n"
            "print(r.exists(*names))"
        )
        argv = ["relier-run", "python", "-c", program, prefix, str(count), str(write)]
        return int(self.run(self.groups["workers"][0], argv).split()[-1])

    def settled(self) -> bool:
        """One master with all its replicas, and every pool ready."""
        replicas = len(self.groups["redis"]) - 1
        online = len(re.findall(r"state=online", self.replication(self.master())))
        if online != replicas:
            return False
        states = [self.unit(h, u, "ActiveState") for h in self.groups["workers"] for u in self.pools()]
        return set(states) == {"active"}

    def settle(self, patience: float = 300) -> None:
        """Wait until the tier is whole again."""

        def whole() -> bool:
            try:
                return self.settled()
            except (AssertionError, subprocess.TimeoutExpired):
                return False

        wait_until(whole, patience, "the tier is whole again", 1.0)

    def application(self, host: str) -> list[str]:
        """Runs a command with standard input as the application does."""
        return ["docker", "exec", "-i", self.fleet.container(host), "relier-run"]

    def load(self, host: str, **options: Any) -> Load:
        """A producer on a host that is not harmed."""
        return Load(self.application(host), **({"rate": RATE} | options))

    def stay(self, host: str, queue: str, count: int, seconds: float) -> Stay:
        return Stay([*self.application(host), "python", "-c", Path(stay_program.__file__).read_text()]).begin(
            queue, str(count), str(seconds)
        )


@dataclass
class Stay:
    """Tasks that sleep, and every start of each: (incarnation, node, when)."""

    argv: list[str]
    runs: dict[str, list[tuple[int, str, float]]] = field(default_factory=dict)
    finished: bool = False

    def begin(self, *words: str) -> Stay:
        self._process = subprocess.Popen(
            [*self.argv, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        threading.Thread(target=self._read, daemon=True).start()
        wait_until(lambda: len(self.runs) == int(words[1]), 120, "the tasks run")
        return self

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            match line.split():
                case ["ran", task, incarnation, node, at]:
                    self.runs.setdefault(task, []).append((int(incarnation), node, float(at)))
                case ["done"]:
                    self.finished = True

    def on(self, host: str) -> dict[str, tuple[int, str, float]]:
        """The tasks whose newest start is on a host."""
        return {task: runs[-1] for task, runs in self.runs.items() if runs[-1][1].endswith(f"@{host}")}

    def gone(self, tasks: Iterable[str], since: float, patience: float = 90) -> list[float]:
        """Seconds from `since` until each of these tasks had begun again."""
        wanted = list(tasks)

        def again() -> bool:
            return all(self.runs[task][-1][2] > since for task in wanted)

        wait_until(again, patience, f"{len(wanted)} tasks began again")
        return [next(at for _, _, at in self.runs[task] if at > since) - since for task in wanted]
