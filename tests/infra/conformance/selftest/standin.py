"""A plan brought up with plain `docker` commands: something small and real to hold the suite against."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from infra.topology import plan_of, read
from infra.topology.emit import overlay
from infra.topology.workload import Probe, Workload
from tests.infra.conformance.adapters.base import local, must
from tests.infra.conformance.adapters.docker import REPO

Flags = dict[str, list[str]]
PASSWORD = 'stand-in"9f3c%+='


def probe(health: Probe | None) -> list[str]:
    """Docker's one check."""
    if health is None:
        return []
    shell = health.command[-1] if health.command[:2] == ("sh", "-c") else " ".join(health.command)
    return [
        f"--health-cmd={shell}",
        f"--health-interval={health.every:g}s",
        f"--health-timeout={health.timeout:g}s",
        f"--health-retries={health.failures}",
        f"--health-start-period={health.start_period:g}s",
    ]


def planned(workload: Workload, project: str, secrets: Mapping[str, Path], overlaid: Path) -> Flags:
    """The options of `docker create` by the rule that asks for them, so that a test can take one back."""
    files = {
        file.path: overlaid if file.path.endswith("overlay.conf") else REPO / file.source for file in workload.files
    }
    known = {mount.path: secrets[mount.name] for mount in workload.secrets}
    return {
        "user": ["--user", workload.user],
        "memory": ["--memory", str(workload.memory)],
        "env": [part for name, value in workload.env.items() for part in ("-e", f"{name}={value}")],
        "secrets": [f"-v{source}:{path}:ro" for path, source in known.items()],
        "files": [f"-v{source}:{path}:ro" for path, source in files.items()],
        "volumes": [f"-v{project}_{v.volume}:{v.path}{':ro' if v.read_only else ''}" for v in workload.volumes],
        "tmpfs": [part for path in workload.tmpfs for part in ("--tmpfs", path)],
        "read_only_root": ["--read-only"] if workload.read_only else [],
        "restart": ["--restart", workload.restart],
        "grace": ["--stop-timeout", f"{workload.grace:g}"],
        "privileges": ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"],
        "networks": ["--network", f"{project}_{workload.networks[0]}", "--network-alias", workload.name],
        "addresses": addresses(workload),
        "published": [],
        "checks": probe(workload.health),
    }


def addresses(workload: Workload) -> list[str]:
    """Its own, and the names that it must know without a resolver."""
    known = [part for name, address in workload.hosts.items() for part in ("--add-host", f"{name}:{address}")]
    return [*known, *(["--ip", workload.address] if workload.address else [])]


class StandIn:
    """All workloads of a stack, once each. Use as a context manager; nothing of it stays."""

    def __init__(self, stack: Path, project: str, folder: Path) -> None:
        self.stack, self.project, self.folder = stack, project, folder
        self.topology = read(str(stack))
        self.plan = plan_of(self.topology)

    def name(self, workload: str) -> str:
        return f"{self.project}-{workload}-1"

    def flags(self, workload: Workload) -> Flags:
        """With its secrets and its overlay on disk."""
        self.folder.mkdir(exist_ok=True)
        overlaid = self.folder / "overlay.conf"
        overlaid.write_text(overlay(self.topology, self.stack.stem), encoding="utf-8")
        secrets = {mount.name: self.folder / mount.name for mount in workload.secrets}
        for file in secrets.values():
            file.write_text(PASSWORD, encoding="utf-8")
            file.chmod(0o444)
        return planned(workload, self.project, secrets, overlaid)

    def create(self, workload: Workload, flags: Flags, name: str) -> None:
        """An image of ours begins with an init and takes the command; the others' entry points are replaced."""
        options = [option for part in flags.values() for option in part]
        ours = workload.kind in ("worker", "resurrector")
        entry = [] if ours else ["--entrypoint", workload.argv[0]]
        argv = workload.argv if ours else workload.argv[1:]
        must(["docker", "create", "--name", name, *options, *entry, str(workload.image), *argv])

    def start(self, workload: Workload) -> None:
        self.create(workload, self.flags(workload), self.name(workload.name))
        for network in workload.networks[1:]:
            alias = ["--alias", workload.name]
            must(["docker", "network", "connect", *alias, f"{self.project}_{network}", self.name(workload.name)])
        must(["docker", "start", self.name(workload.name)])

    def make_networks(self) -> None:
        for network in self.plan.networks:
            closed = ["--internal"] if network.internal else []
            pool = ["--subnet", network.subnet, "--ip-range", str(network.free)] if network.subnet else []
            must(["docker", "network", "create", *closed, *pool, self.network(network.name)])

    def network(self, name: str) -> str:
        return f"{self.project}_{name}"

    def __enter__(self) -> Self:
        self.make_networks()
        return self

    def __exit__(self, *_: object) -> None:
        """Containers, then what they held."""
        for what, listing, mark in (
            ("container", ["ps", "-aq"], "-"),
            ("volume", ["volume", "ls", "-q"], "_"),
            ("network", ["network", "ls", "-q"], "_"),
        ):
            made = local(["docker", *listing, "--filter", f"name={self.project}{mark}"]).out.split()
            removal = ["rm", "-f", "-v"] if what == "container" else [what, "rm"]
            with contextlib.suppress(RuntimeError):
                must(["docker", *removal, *made]) if made else None
