"""Processes that a test or demo starts, harms and ends."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

REPO = Path(__file__).resolve().parent.parent
QUEUES = "high_priority,default,low_priority,re-queue"
FOREIGN = ("RELIER_", "CELERY_", "OTEL_", "TMPDIR")

# Linux ends a child when the *thread* that forked it ends, so one thread that lives as long as the
# interpreter starts them all.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="harness-spawner")
_living: weakref.WeakSet[Process] = weakref.WeakSet()
T = TypeVar("T")


def wait_until(predicate: Callable[[], T], timeout: float, what: str, interval: float = 0.02) -> T:
    """The predicate's first true value. Seconds; `TimeoutError` names `what` never came."""
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(interval)
    return value


def clean_env(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without its Relier, Celery and telemetry settings, plus `extra`."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    path = os.pathsep.join(filter(None, (str(REPO), env.get("PYTHONPATH"))))
    return env | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"} | dict(extra or {})


def children_of(pid: int) -> list[int]:
    """The direct children that live, zombies left out."""
    found: list[int] = []
    for thread in _entries(Path(f"/proc/{pid}/task")):
        with contextlib.suppress(OSError):
            found += map(int, (thread / "children").read_text().split())
    return sorted(child for child in found if process_state(child) not in "ZX")


def process_state(pid: int) -> str:
    """The kernel's letter: R, S, D, T for stopped, Z for a zombie, X when it is gone."""
    try:
        # The name in brackets may hold spaces and brackets itself.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


class Process:
    """One program in a session of its own, its output in `log`. It never outlives its owner.

    The working directory is the log's, so that no `.env` of the reader's is picked up, and so is the
    directory for temporary files, which a killed process leaves behind.
    """

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str], name: str, log: Path) -> None:
        self.argv, self.name, self.log = list(argv), name, Path(log).absolute()
        self.env = {"TMPDIR": str(self.log.parent)} | dict(env)
        self._popen: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def start(self) -> Self:
        """Start it, at once and without waiting. `RuntimeError` if it already runs."""
        if self.alive:
            raise RuntimeError(f"{self.name} already runs (pid {self.pid})")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._popen = _spawner.submit(self._spawn).result()
        _living.add(self)
        return self

    def _spawn(self) -> subprocess.Popen[bytes]:
        guard = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        with self.log.open("ab") as out:
            return subprocess.Popen(
                [*guard, *self.argv],
                env=self.env,
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the last start, also when it has ended; `RuntimeError` before the first."""
        if self._popen is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Asks the kernel, and so also buries it once it has ended."""
        return self._popen is not None and self._popen.poll() is None

    def children(self) -> list[int]:
        """Pids of its direct children; for a prefork worker, its pool."""
        return children_of(self.pid)

    def output(self) -> str:
        """What it has written since its last start."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def wait(self, timeout: float = 30.0) -> int:
        """The exit code, negative for a signal. `TimeoutError` if it still runs."""
        assert self._popen is not None
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} still runs after {timeout:g} s") from None

    def wait_for_output(self, texts: Iterable[str], timeout: float = 30.0) -> Self:
        """Wait until one of `texts` appears. `RuntimeError` with its last lines if it exits before."""
        wanted = tuple(texts)

        def seen() -> bool:
            running = self.alive
            output = self.output()
            if any(text in output for text in wanted):
                return True
            if not running:
                raise RuntimeError(f"{self.name} exited with {self.wait()} too early:\n{self.tail()}")
            return False

        wait_until(seen, timeout, f"{self.name} ready", interval=0.05)
        return self

    def tail(self, lines: int = 20) -> str:
        """The last lines since the last start, for messages."""
        return "\n".join(self.output().splitlines()[-lines:])

    def terminate(self, timeout: float = 30.0) -> int:
        """SIGTERM to the process itself, not its children; returns the exit code."""
        self.send(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        """SIGKILL to the process alone. Children may live on for a while: that is the point."""
        self.send(signal.SIGKILL)
        self.wait()

    def kill_tree(self) -> None:
        """SIGKILL to the whole session, as a container or a systemd unit ends."""
        self._signal_group(signal.SIGKILL)
        self.wait()

    def freeze(self) -> None:
        """SIGSTOP to the whole session: it keeps its sockets and does nothing."""
        self._signal_group(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT to the whole session, frozen or not."""
        self._signal_group(signal.SIGCONT)

    def send(self, number: signal.Signals) -> None:
        """A signal to the process alone; nothing when it was never started or has ended."""
        if self._popen is not None:
            self._popen.send_signal(number)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def stop(self, timeout: float = 5.0) -> None:
        """End it whatever its state: politely at first, then the whole session by SIGKILL."""
        if self._popen is None:
            return
        if self.alive:
            self.thaw()
            with contextlib.suppress(TimeoutError):
                self.terminate(timeout)
        self.kill_tree()
        _living.discard(self)

    def restart(self) -> Self:
        """What a supervisor does: start it again, ending the old one first if it still runs."""
        if self.alive:
            self.stop()
        return self.start()

    def __enter__(self) -> Self:
        return self if self.alive else self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class Worker(Process):
    """A Celery worker; by default one of Relier's. `env` is a Redis URL or variables.

    `queues=None` leaves the app's own choice. `node` is the name that `rl worker …` takes.
    """

    def __init__(
        self,
        env: str | Mapping[str, str],
        *,
        log: Path,
        app: str = "relier.tasks.app",
        include: str | Sequence[str] = (),
        pool: str = "prefork",
        concurrency: int = 2,
        queues: str | None = QUEUES,
        name: str = "worker",
        args: Sequence[str] = (),
    ) -> None:
        self.node = f"{name}@{socket.gethostname()}"
        argv = [sys.executable, "-m", "celery", "-A", app, "worker", "-l", "info", "-n", self.node]
        argv += ["-P", pool, "-c", str(concurrency)]
        argv += ["-Q", queues] if queues else []
        modules = [include] if isinstance(include, str) else include
        argv += [f"--include={','.join(modules)}"] if modules else []
        super().__init__([*argv, *args], env=relier_env(env), name=name, log=log)

    @property
    def ready(self) -> bool:
        """Whether it has said since its last start that it consumes."""
        return f"{self.node} ready." in self.output()

    def wait_ready(self, timeout: float = 30.0) -> Self:
        """Wait until it consumes. `RuntimeError` with its last lines if it exits instead."""
        return self.wait_for_output((f"{self.node} ready.",), timeout)


class Resurrector(Process):
    """`rl run-resurrector`."""

    def __init__(self, env: str | Mapping[str, str], *, log: Path, name: str = "resurrector") -> None:
        argv = [sys.executable, "-m", "relier.cli", "run-resurrector"]
        super().__init__(argv, env=relier_env(env), name=name, log=log)


def relier_env(env: str | Mapping[str, str]) -> dict[str, str]:
    """A clean environment from a Redis URL or from variables."""
    return clean_env({"RELIER_REDIS_URL": env} if isinstance(env, str) else env)


def rl(env: str | Mapping[str, str], *args: str, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
    """Run one `rl` command to its end; output and exit code are for the caller to judge."""
    return subprocess.run(
        [sys.executable, "-m", "relier.cli", *args],
        env=relier_env(env),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@atexit.register
def _end_all() -> None:
    for process in list(_living):
        with contextlib.suppress(OSError):
            process.kill_tree()
