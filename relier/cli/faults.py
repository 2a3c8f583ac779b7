"""How `rl chaos` does harm: to local processes by pid, to containers by Docker, to Redis by CLIENT PAUSE."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from relier.cli.errors import fail


def local_pid(node: str) -> int | None:
    """The pid of a worker of this host, proven by its fresh pulse file, so that no stranger is hit."""
    from relier.pulse import FRESH_SECONDS, age, pulse_file
    from relier.settings import get_settings

    path = pulse_file(get_settings(), node)
    since = age(path)
    if since is None or since > FRESH_SECONDS:
        return None
    return int(path.read_text().split()[0])


def kill_worker(node: str) -> str:
    """SIGKILL a worker and its pool, as a container or a host would end; says what was done."""
    pid = local_pid(node)
    if pid is not None:
        family = [pid, *descendants(pid)]
        for each in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        return f"killed {node}: pid {pid} and {len(family) - 1} children"
    container = node.partition("@")[2]
    if _docker("kill", "--signal", "KILL", container) is None:
        fail(f"{node} does not run on this host, and Docker knows no container '{container}'; run this where it runs.")
    return f"killed {node}: container {container}"


def kill_container(name: str) -> str | None:
    """SIGKILL a container; None when Docker knows none of that name."""
    return None if _docker("kill", "--signal", "KILL", name) is None else f"killed container {name}"


def descendants(pid: int) -> list[int]:
    """All living processes below one."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
    return found


def _docker(*arguments: str) -> str | None:
    """What docker printed, or None when there is no Docker here or it refused."""
    docker = shutil.which("docker")
    if docker is None:
        return None
    done = subprocess.run([docker, *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


@contextlib.contextmanager
def partition(client: Any, seconds: float) -> Iterator[str]:
    """Cut Redis off; it is connected again when the block ends, whatever ends it."""
    container = _redis_container()
    networks = _networks(container) if container else {}
    if not networks:
        # The server lifts the pause by itself, so nothing stays broken when this process dies.
        client.client_pause(int(seconds * 1000), all=True)
        yield "Redis answers nobody (CLIENT PAUSE)"
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _on_each(networks, "disconnect", lambda network: ["--force", network, container])
        yield f"container {container} is cut off from {', '.join(networks)}"
    finally:
        _on_each(networks, "connect", lambda network: [*networks[network], network, container])
        signal.signal(signal.SIGTERM, before)


def _on_each(networks: dict[str, list[str]], action: str, arguments: Callable[[str], list[str]]) -> None:
    """Do the same to every network, and only then complain of those that refused."""
    refused = [name for name in networks if _docker("network", action, *arguments(name)) is None]
    if refused:
        fail(f"docker network {action} failed for {', '.join(refused)}; look at docker network inspect.")


def _redis_container() -> str:
    """`REDIS_CONTAINER`, or the container of the Compose service `redis` of the project in this folder."""
    if named := os.environ.get("REDIS_CONTAINER"):
        if _docker("inspect", named) is None:
            fail(f"REDIS_CONTAINER is '{named}', but Docker knows no such container.")
        return named
    found = _docker("compose", "ps", "--quiet", "redis") or ""
    return found.splitlines()[0] if found else ""


def _networks(container: str) -> dict[str, list[str]]:
    """The networks of a container, each with the options that give it its names and address back."""
    raw = _docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", container)
    networks = json.loads(raw) if raw else {}
    return {name: _reconnect_options(settings) for name, settings in networks.items()}


def _reconnect_options(settings: dict[str, Any]) -> list[str]:
    options = [part for alias in settings.get("Aliases") or () for part in ("--alias", alias)]
    address = (settings.get("IPAMConfig") or {}).get("IPv4Address")
    return [*options, "--ip", address] if address else options


def wait_for(found: Any, seconds: float, interval: float = 0.05) -> Any:
    """The first true answer within `seconds`, or the last one."""
    deadline = time.monotonic() + seconds
    while not (answer := found()) and time.monotonic() < deadline:
        time.sleep(interval)
    return answer
