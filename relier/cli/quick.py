"""`rl doctor`, `rl probe live|ready` and `rl --version`: asked for every few seconds, so nothing heavy is imported.

`live` asks the pulse file that the worker itself renews, never Redis: an outage of Redis must not restart a fleet.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from relier import keys
from relier.cli import light
from relier.cli.errors import unreachable
from relier.pulse import FRESH_SECONDS, pulse_dir, pulse_file

if TYPE_CHECKING:
    from relier.settings import Settings


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a quick command says; `ok` decides the exit code."""

    ok: bool
    sentence: str

    def leave(self) -> NoReturn:
        """Say it, on standard error unless `ok`, and exit with 0 or 1."""
        print(self.sentence, file=sys.stdout if self.ok else sys.stderr)
        sys.exit(0 if self.ok else 1)


def answer(arguments: list[str]) -> Verdict | None:
    """The verdict for a command line, or None when the full command line must read it."""
    match arguments:
        case ["--version" | "-v"]:
            return version()
        case ["doctor"]:
            return doctor()
        case ["probe", "live" | "ready" as kind, *rest] if (known := _node(rest)) is not None:
            return probe(kind, known)
    return None


def _node(rest: list[str]) -> str | None:
    match rest:
        case []:
            return ""
        case ["--node", node] if not node.startswith("-"):
            return node
    return None


def version() -> Verdict:
    """Relier's version."""
    from relier import __version__

    return Verdict(True, f"relier {__version__}")


def doctor() -> Verdict:
    """Does Redis answer?"""
    return _guarded(_doctor)


def probe(kind: str, node: str) -> Verdict:
    """Is the worker alive (`live`), does it consume (`ready`)? An empty `node` means the one worker of this host."""
    return _guarded(lambda settings: _PROBES[kind](settings, node))


def _guarded(ask: Callable[[Settings], Verdict]) -> Verdict:
    try:
        settings = light.read()
    except ValueError as error:
        from relier.cli.errors import explain

        return Verdict(False, explain(error))
    return ask(settings)


@dataclass(frozen=True, slots=True)
class Reply:
    """Redis's answer to one command, or in `trouble` the sentence that says why there is none."""

    value: Any = None
    milliseconds: float = 0.0
    trouble: str = ""


def _ask(settings: Settings, *command: str) -> Reply:
    from redis.exceptions import RedisError

    from relier.connection import connect

    started = time.perf_counter()
    try:
        value = connect(settings).execute_command(*command)
    except (RedisError, OSError) as error:
        return Reply(trouble=unreachable(settings.endpoint, error))
    except ValueError:
        return Reply(trouble="RELIER_REDIS_URL is no Redis URL; write redis://host:6379/0, special characters as %xx.")
    return Reply(value, (time.perf_counter() - started) * 1000)


def _doctor(settings: Settings) -> Verdict:
    reply = _ask(settings, "PING")
    fine = f"Redis answers ({settings.endpoint}, {reply.milliseconds:.1f} ms)."
    return Verdict(not reply.trouble, reply.trouble or fine)


def _pulse(settings: Settings, node: str) -> Path | str:
    """The pulse file of a node, or the sentence that says why there is none to look at."""
    folder = pulse_dir(settings)
    if node:
        path = pulse_file(settings, node)
        return path if path.exists() else f"{node} has no pulse in {folder}; it has not started here, or it has left."
    found = sorted(path for path in folder.glob("*.pulse") if _has_process(path))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.stem for path in found)
        return f"Several workers have a pulse here ({names}); name one with --node."
    return f"No worker has a pulse in {folder}; start one, or set RELIER_RUNTIME_DIR as the worker has it."


def _has_process(path: Path) -> bool:
    """False for what a killed worker left behind. One that hangs still has its process, and counts."""
    try:
        pid = path.read_text().split()[0]
    except (OSError, IndexError):
        return False
    return Path("/proc", pid).exists() or not Path("/proc/self").exists()


def _live(settings: Settings, node: str) -> Verdict:
    path = _pulse(settings, node)
    if isinstance(path, str):
        return Verdict(False, path)
    age = time.time() - path.stat().st_mtime
    if age > FRESH_SECONDS:
        return Verdict(False, f"{path.stem} has had no pulse for {age:.0f} s (limit {FRESH_SECONDS:g} s).")
    return Verdict(True, f"{path.stem} is alive (pulse {age:.1f} s ago).")


def _ready(settings: Settings, node: str) -> Verdict:
    if not node:
        path = _pulse(settings, node)
        if isinstance(path, str):
            return Verdict(False, path)
        node = path.stem
    reply = _ask(settings, "HGET", keys.WORKERS, node)
    if not reply.value:
        return Verdict(False, reply.trouble or f"{node} is not registered; it has not connected yet, or it has left.")
    entry = json.loads(reply.value)
    age = time.time() - entry["seen"]
    if age > FRESH_SECONDS:
        return Verdict(False, f"{node} has not reported to Redis for {age:.0f} s (limit {FRESH_SECONDS:g} s).")
    queues = ", ".join(entry["queues"])
    if entry["state"] != "consuming":
        return Verdict(False, f"{node} does not consume: it is {entry['state']}.")
    return Verdict(True, f"{node} consumes {queues}.")


_PROBES = {"live": _live, "ready": _ready}
