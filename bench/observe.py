"""Questions to the Redis of the run: how much memory data takes, how many commands came, who is connected."""

from __future__ import annotations

import socket
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

import redis

from bench import procfs
from harness.process import wait_until


def data_bytes(client: redis.Redis) -> int:
    """Memory without what clients and the append-only file's buffer take for the moment."""
    info = client.info("memory")
    return int(info["used_memory"]) - int(info["mem_clients_normal"]) - int(info["mem_aof_buffer"])


@dataclass(frozen=True)
class Traffic:
    """Commands a second: what clients sent, by name, and all that ran, those inside scripts included."""

    sent: dict[str, float]
    ran: float

    def per(self, count: float) -> Traffic:
        return Traffic({name: number / count for name, number in self.sent.items()}, self.ran / count)

    @property
    def total(self) -> float:
        return sum(self.sent.values())

    def __str__(self) -> str:
        most = sorted(self.sent.items(), key=lambda item: -item[1])[:6]
        return ", ".join(f"{name} {number:.1f}" for name, number in most)


def await_quiet(client: redis.Redis, seconds: float = 90.0) -> None:
    """Wait until Redis neither rewrites its append-only file nor frees memory in the background."""

    def quiet() -> bool:
        info = client.info("persistence")
        busy = info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"]
        return not busy and not client.info("memory")["lazyfree_pending_objects"]

    wait_until(quiet, seconds, "Redis done with its background work", interval=0.2)


def _monitored(port: int, seconds: float) -> list[bytes]:
    """What MONITOR says for a while; Redis keeps it for us, so that reading it costs nothing meanwhile."""
    with socket.create_connection(("127.0.0.1", port)) as wire:
        wire.sendall(b"MONITOR\r\n")
        time.sleep(seconds)
        wire.setblocking(False)
        data = b""
        with suppress(BlockingIOError):
            while chunk := wire.recv(1 << 20):
                data += chunk
    return data.split(b"\r\n")[1:]


def _sent(lines: list[bytes]) -> Counter[str]:
    """Count a MONITOR log by command; what a script issued is marked and left out."""
    heads = (line.split(b"] ", 1) for line in lines if line.startswith(b"+"))
    names = (rest.split(b'"', 2)[1] for head, rest in heads if not head.endswith(b" lua"))
    return Counter(name.decode().upper() for name in names)


def traffic(client: redis.Redis, port: int, seconds: float) -> Traffic:
    """Commands a second over some seconds: INFO counts all that ran, MONITOR tells what was sent."""
    before = int(client.info("stats")["total_commands_processed"])
    sent = _sent(_monitored(port, seconds))
    ran = int(client.info("stats")["total_commands_processed"]) - before - len(OWN)
    for command in OWN:
        sent.pop(command, None)
    return Traffic({name: number / seconds for name, number in sent.items()}, ran / seconds)


OWN = ("INFO", "MONITOR")  # what the reading itself adds between its two ends


def connections(client: redis.Redis, pid: int) -> int:
    """How many of the server's clients belong to a process tree."""
    ports = procfs.tcp_ports(pid)
    return sum(int(one["addr"].rsplit(":", 1)[1]) in ports for one in client.client_list())
