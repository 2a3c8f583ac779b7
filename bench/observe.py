"""Questions to the Redis of the run: how much memory data takes, how many commands came, who is connected."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

import redis

from bench import procfs


def data_bytes(client: redis.Redis) -> int:
    """Memory without what clients and the append-only file's buffer take for the moment."""
    info = client.info("memory")
    return int(info["used_memory"]) - int(info["mem_clients_normal"]) - int(info["mem_aof_buffer"])


OWN = 2  # of the commands between two readings of INFO: the first INFO itself, and MONITOR


@dataclass(frozen=True)
class Traffic:
    """What reached Redis in some seconds: commands that clients sent, and all that ran, scripts' own included."""

    sent: float
    ran: float

    def per(self, count: float) -> Traffic:
        return Traffic(self.sent / count, self.ran / count)


def _monitored(port: int, seconds: float) -> list[bytes]:
    """What MONITOR says for a while; Redis keeps it for us, so that reading it costs nothing meanwhile."""
    with socket.create_connection(("127.0.0.1", port)) as wire:
        wire.sendall(b"MONITOR\r\n")
        time.sleep(seconds)
        wire.setblocking(False)
        data = b""
        try:
            while chunk := wire.recv(1 << 20):
                data += chunk
        except BlockingIOError:
            return data.split(b"\r\n")[1:]
    return data.split(b"\r\n")[1:]


def traffic(port: int, seconds: float) -> Traffic:
    """Commands over `seconds`, from INFO (all that ran) and MONITOR (which of them a script issued)."""
    client = redis.Redis(port=port)
    before = int(client.info("stats")["total_commands_processed"])
    lines = [line for line in _monitored(port, seconds) if line.startswith(b"+")]
    ran = int(client.info("stats")["total_commands_processed"]) - before - OWN
    inside = sum(b" lua] " in line for line in lines)
    return Traffic(sent=ran - inside, ran=ran)


def connections(client: redis.Redis, pid: int) -> int:
    """How many of the server's clients belong to a process tree."""
    ports = procfs.tcp_ports(pid)
    return sum(int(one["addr"].rsplit(":", 1)[1]) in ports for one in client.client_list())
