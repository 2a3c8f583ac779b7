"""A holder is one worker process: node name, pid, start time, pid namespace and boot, so that it is never mistaken."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().split("-")[0]
    except OSError:
        return "0"


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return "0"


def _started(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; None when it is gone or only waits to be buried."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


@dataclass(frozen=True, slots=True)
class Holder:
    """One worker process. `generation` rises when it was declared dead and lives on under a new name."""

    node: str
    pid: int
    started: str
    namespace: str
    boot: str
    generation: int = 0

    @classmethod
    def of(cls, node: str, pid: int | None = None) -> Holder:
        """The holder that the process `pid` (default: this one) is."""
        pid = pid or os.getpid()
        return cls(node, pid, _started(pid) or "0", _namespace(), _boot())

    @classmethod
    def parse(cls, text: str) -> Holder:
        """The inverse of `str()`; raises `ValueError` for any other text."""
        node, _, rest = text.rpartition("/")
        pid, started, namespace, boot, generation = rest.split(".")
        return cls(node, int(pid), started, namespace, boot, int(generation))

    def __str__(self) -> str:
        return f"{self.node}/{self.pid}.{self.started}.{self.namespace}.{self.boot}.{self.generation}"

    def renewed(self) -> Holder:
        """The same process under the name of its next generation."""
        return replace(self, generation=self.generation + 1)

    def same_process(self, other: Holder) -> bool:
        """True across generations."""
        return replace(self, generation=0) == replace(other, generation=0)

    def provably_dead(self) -> bool:
        """True only when this host, this boot and this pid namespace show that the process is gone."""
        here = (self.boot, self.namespace) == (_boot(), _namespace())
        return here and self.boot != "0" and _started(self.pid) != self.started
