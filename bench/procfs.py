"""What Linux says about a process tree: CPU seconds, resident bytes, open TCP ports. No psutil needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on; empty when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rsplit(")", 1)[1].split()


def tree(root: int) -> list[int]:
    """A process and all its living descendants, the root first."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(parents.get(pid, []))
    return found


def cpu_seconds(root: int) -> float:
    """User and system seconds of a tree, children that were already reaped included."""
    ticks = 0
    for pid in tree(root):
        fields = _stat(pid)
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICK


def _status(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)


def resident_bytes(root: int) -> int:
    """Resident memory of a tree; pages shared by parent and children are counted in each."""
    return sum(_status(pid, "VmRSS:") for pid in tree(root))


def _sockets(pid: int) -> Iterator[str]:
    try:
        links = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return
    for link in links:
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target[8:-1]


def tcp_ports(root: int) -> set[int]:
    """Local ports of the TCP connections that a tree holds."""
    inodes = {inode for pid in tree(root) for inode in _sockets(pid)}
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].rsplit(":", 1)[1], 16) for row in rows if row[9] in inodes}
