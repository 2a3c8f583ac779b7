"""What the suite asks of a backend. The tests know nothing else about Docker, Kubernetes or systemd."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from infra.topology.workload import Probe, Workload

PATIENCE = 60.0
#: One record a process: pid, uid, command line and environment, in separators that no sane value holds.
PROCESSES = r"""
: relier-conformance
for p in /proc/[0-9]*; do
  u=$(sed -n 's/^Uid:[[:space:]]*\([0-9]*\).*/\1/p' "$p/status" 2>/dev/null) || continue
  printf '\036%s\035%s\035' "${p#/proc/}" "$u"
  tr '\0' '\037' 2>/dev/null <"$p/cmdline"
  printf '\035'
  tr '\0' '\037' 2>/dev/null <"$p/environ"
done 2>/dev/null
true
"""


class Unable(Exception):
    """This backend cannot do or know that; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str = ""

    @property
    def text(self) -> str:
        return (self.out + self.err).strip()


@dataclass(frozen=True, slots=True)
class Instance:
    """One running copy of a workload. `host` is testinfra's, or None where there is no shell inside."""

    name: str
    workload: str
    node: str | None = None
    host: Any = field(default=None, compare=False, hash=False)
    running: bool = True
    machine: str = ""

    def __str__(self) -> str:
        return self.workload if self.name == self.workload else f"{self.workload} ({self.name})"


@dataclass(frozen=True, slots=True)
class Mount:
    """What is mounted where. `source` is a volume's name in the plan, or a path of the machine."""

    path: str
    kind: str
    source: str = ""
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Process:
    """A process as others on the same machine may see it."""

    pid: int
    uid: int
    argv: tuple[str, ...]
    environ: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """How a backend really runs something, in the plan's words. None: the backend has no such thing."""

    image: str | None = None
    user: str | None = None
    memory: int | None = None
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] | None = None
    read_only_root: bool | None = None
    restart: str | None = None
    grace: float | None = None
    published: Mapping[int, tuple[str, ...]] | None = None
    networks: tuple[str, ...] | None = None
    address: str | None = None
    hosts: Mapping[str, str] | None = None
    checks: Mapping[str, Probe] | None = None
    health: str | None = None
    privileges: tuple[str, ...] | None = None
    incarnation: str = ""


class Adapter(Protocol):
    """One backend. Sentences that it raises as `Unable` become skips."""

    backend: str
    #: Does what was killed stay away until `start`? Otherwise its supervisor brings it back at once.
    stays_down: bool

    def instances(self, workload: Workload) -> list[Instance]:
        """Its running copies; for what runs by the clock, also a description of what would run."""
        ...

    def strangers(self) -> list[str]:
        """What runs in this deployment and is in no plan, in words."""
        ...

    def facts(self, instance: Instance) -> Facts: ...

    def command(self, instance: Instance, argv: Sequence[str]) -> list[str]:
        """The local command line that runs `argv` inside, standard input included, with the process's own user,
        variables and PATH: `python` and `rl` are the application's."""
        ...

    def own_processes(self, instance: Instance, seen: Sequence[Process]) -> list[Process]:
        """Those of a list that belong to the instance and not to its machine."""
        ...

    def foreign_files(self, instance: Instance, workload: Workload) -> list[str]:
        """Files of the plan whose content is not the project's, a sentence each."""
        ...

    def described(self, instance: Instance) -> str:
        """Everything that the backend shows about it to whoever may look."""
        ...

    def logs(self, instance: Instance) -> str: ...

    def internal_networks(self) -> Mapping[str, bool]:
        """Each network and whether it has no way out."""
        ...

    def outsiders_reach(self, targets: Sequence[Instance], port: int) -> list[str]:
        """Those targets that answer on a port to a process that has no business there."""
        ...

    def has_image(self, image: str) -> bool:
        """Is it to be had here at all?"""
        ...

    def kill(self, instance: Instance) -> None:
        """As a power cut does it: no signal handler runs, and nothing comes back before `start`, if the backend can."""
        ...

    def start(self, instance: Instance) -> None:
        """Bring back what was killed or stopped; without effect where the backend has done so."""
        ...

    def stop(self, workloads: Sequence[Workload]) -> None:
        """All copies of some workloads, politely."""
        ...

    def resume(self, workloads: Sequence[Workload]) -> None:
        """Start what was stopped."""
        ...

    def freeze(self, instance: Instance) -> None:
        """Stop it in its tracks, connections open."""
        ...

    def thaw(self, instance: Instance) -> None: ...

    def backup(self, workload: Workload) -> None:
        """Take a backup now."""
        ...

    def wipe(self, workloads: Sequence[Workload]) -> None:
        """Empty the disks of workloads that are stopped."""
        ...

    def restore(self, first: Workload, backup: Workload) -> str:
        """The newest backup onto the empty disk of the first data node; what was said."""
        ...


def local(argv: Sequence[str], *, timeout: float = PATIENCE, text: str | None = None) -> Answer:
    """A command on this machine."""
    try:
        done = subprocess.run(
            list(argv), capture_output=True, timeout=timeout, check=False, input=text.encode() if text else None
        )
    except subprocess.TimeoutExpired:
        return Answer(124, "", f"no answer within {timeout:g} s from {' '.join(argv[:5])}")
    return Answer(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def must(argv: Sequence[str], *, timeout: float = PATIENCE, text: str | None = None) -> str:
    """Its output, or a sentence with the reason."""
    answer = local(argv, timeout=timeout, text=text)
    if answer.code:
        raise RuntimeError(f"{shlex.join(argv)[:300]} ended with {answer.code}: {answer.text[-600:]}")
    return answer.out


def processes(listing: str) -> list[Process]:
    """What the `PROCESSES` script printed, without the script itself."""
    found = []
    for row in listing.split("\x1e")[1:]:
        pid, uid, argv, environ = (*row.split("\x1d"), "", "", "")[:4]
        if pid.isdigit() and uid.isdigit() and argv and "relier-conformance" not in argv:
            found.append(Process(int(pid), int(uid), tuple(argv.rstrip("\x1f").split("\x1f")), environ))
    return found


def foreign(instance: Instance, workload: Workload, root: Path) -> list[str]:
    """Files of a workload whose content, as testinfra sees it inside, differs from the project's.

    An overlay is emitted for each stack; what it sets is compared with the live server instead.
    """
    found = []
    for planned in (file for file in workload.files if not file.path.endswith("overlay.conf")):
        ours = root / planned.source
        theirs = instance.host.file(planned.path)
        if ours.is_file() and (not theirs.exists or theirs.content != ours.read_bytes()):
            found.append(f"{instance}: {planned.path} is not what {planned.source} of this project holds.")
    return found


def knock(places: Sequence[str], port: int) -> str:
    """A script for bash that prints those places where something answers on a port."""
    try_one = f'timeout 2 bash -c "</dev/tcp/$a/{port}" 2>/dev/null && echo $a'
    return f"for a in {' '.join(places)}; do {try_one}; done; true"
