"""A tier on this machine's Docker engine: brought up by the wrapper that people use, looked at through its labels."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from harness.load import Load
from harness.process import wait_until
from infra.topology import Plan, plan_of, read

ROOT = Path(__file__).parents[3]
WRAPPER = ROOT / "infra/compose/cluster"
#: A name and addresses of its own: whoever runs these tests may have a tier that is worth keeping.
NAME, ADDRESSES = "relier-drill", "10.87.33"
PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"


@cache
def engine() -> bool:
    """Is there a Docker engine with Compose?"""
    if shutil.which("docker") is None:
        return False
    asked = [["docker", "info"], ["docker", "compose", "version"]]
    return all(subprocess.run(words, capture_output=True).returncode == 0 for words in asked)


def docker(*words: str, check: bool = True, **options: Any) -> str:
    """A docker command's standard output; its complaint is in the error."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, **options)
    if check and done.returncode:
        raise RuntimeError(f"docker {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


@dataclass
class Stack:
    """One tier. Passwords are made up for the run and given as the documents say: by the environment."""

    tier: str
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = ("REDIS_PASSWORD", "SENTINEL_PASSWORD", "GRAFANA_ADMIN_PASSWORD") if self.tier == "prod" else ()
        place = {"COMPOSE_PROJECT_NAME": self.project, "DATA_SUBNET": ADDRESSES}
        self.env = {name: secrets.token_urlsafe(18) for name in names} | place | self.env

    @property
    def project(self) -> str:
        return f"{NAME}-{self.tier}"

    @property
    def plan(self) -> Plan:
        return plan_of(read(self.tier))

    def run(self, *words: str, timeout: float = 600, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The wrapper, with this tier and the run's passwords."""
        env = os.environ | self.env
        argv = [str(WRAPPER), self.tier, *words]
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def up(self) -> float:
        """Seconds until everything is healthy."""
        began = time.monotonic()
        self.run("up")
        return time.monotonic() - began

    def down(self, *words: str) -> None:
        self.run("down", *words)

    def containers(self, *, stopped: bool = True) -> dict[str, str]:
        """Service → container id, one-off containers left out."""
        every = ("--all",) if stopped else ()
        filters = ("--filter", f"label={PROJECT}={self.project}", "--filter", "label=com.docker.compose.oneoff=False")
        rows = docker("ps", *every, "--no-trunc", *filters, "--format", f'{{{{.Label "{SERVICE}"}}}} {{{{.ID}}}}')
        return dict(row.split() for row in rows.splitlines())

    def inspect(self, service: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(docker("inspect", self.containers()[service]))
        return found[0]

    def lives(self) -> dict[str, str]:
        """When the process of each worker and of the resurrector began: what changes when one exits."""
        names = [workload.name for workload in self.plan.of_kind("worker", "resurrector")]
        return {name: self.inspect(name)["State"]["StartedAt"] for name in names}

    def redis(self, service: str, *words: str) -> str:
        """A Redis command on a data node, as the user of the probe; nothing when the node cannot be asked."""
        user = "probe" if self.tier == "prod" else ""
        return self._cli(service, user, 6379, *words)

    def sentinel(self, service: str, *words: str) -> str:
        return self._cli(service, "sentinel", 26379, *words)

    def _cli(self, service: str, user: str, port: int, *words: str) -> str:
        who = "" if user == "sentinel" else f" --user {user}"
        login = f'REDISCLI_AUTH="$(cat /run/secrets/{user})" redis-cli{who}' if user else "redis-cli"
        ask = f'{login} -p {port} "$@"'
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            return docker("exec", self.containers()[service], "sh", "-c", ask, "sh", *words, timeout=10)
        return ""

    def masters(self) -> list[str]:
        """Data nodes that call themselves master."""
        nodes = [workload.name for workload in self.plan.of_kind("redis")]
        return [node for node in nodes if self.redis(node, "role").splitlines()[:1] == ["master"]]

    def master(self) -> str:
        """The master that most Sentinels name."""
        told = [
            self.sentinel(workload.name, "sentinel", "get-master-addr-by-name", "relier-master").splitlines()[:1]
            for workload in self.plan.of_kind("sentinel")
        ]
        names = [name[0] for name in told if name]
        return max(set(names), key=names.count) if names else ""

    def whole(self) -> bool:
        """One master with all its replicas in line, and every health check green."""
        masters = self.masters()
        replicas = len(self.plan.of_kind("redis")) - 1
        if len(masters) != 1 or f"connected_slaves:{replicas}" not in self.redis(masters[0], "info", "replication"):
            return False
        return self.healthy()

    def healthy(self) -> bool:
        """Every container of the plan runs, and none is starting or sick."""
        rows = docker("ps", "--filter", f"label={PROJECT}={self.project}", "--format", "{{.Status}}").splitlines()
        return len(rows) >= len(self.running()) and not any("(" in row and "(healthy)" not in row for row in rows)

    def running(self) -> list[str]:
        """Workloads that are up on this machine: Grafana's image is not to be had everywhere."""
        present = self.containers()
        return [workload.name for workload in self.plan.workloads if workload.name in present]

    def wait_whole(self, timeout: float = 180) -> None:
        wait_until(self.whole, timeout, f"{self.project} is whole again", 1.0)

    def prefix(self) -> list[str]:
        """Runs a command with standard input in the app's image, on its networks, with its settings and secrets."""
        model = self.inspect("resurrector")
        binds = [f"{mount['Source']}:{mount['Destination']}:ro" for mount in model["Mounts"] if mount["Type"] == "bind"]
        words = ["docker", "run", "--interactive", "--rm", "--read-only", "--tmpfs", "/tmp", "--network"]
        words.append(f"{self.project}_data")
        words += [word for bind in binds for word in ("--volume", bind)]
        words += [word for entry in model["HostConfig"]["ExtraHosts"] or () for word in ("--add-host", entry)]
        settings = [line for line in model["Config"]["Env"] if line.startswith("RELIER_")]
        words += [word for line in settings for word in ("--env", line)]
        return [*words, "--env", "RELIER_OTEL_ENABLED=false", model["Config"]["Image"]]

    def load(self, rate: float = 200, seconds: float = 0.02) -> Load:
        return Load(self.prefix(), rate=rate, seconds=seconds)


@contextlib.contextmanager
def stack(tier: str) -> Iterator[Stack]:
    """A fresh tier, wiped before and after."""
    one = Stack(tier)
    one.down("-v")
    try:
        one.up()
        yield one
    finally:
        one.down("-v")
