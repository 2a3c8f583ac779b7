"""Who takes part, and with which interpreter, Redis database and environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from pathlib import Path

from harness.process import QUEUES, REPO, clean_env

EARLY, LATE, UPSTREAM, OURS = "early", "late", "upstream", "relier"
SECRET = "benchmark-only-signing-key"  # noqa: S105  signs throw-away tasks on a throw-away Redis
OUR_MODULE = "bench.contestants.ours"
NO_LIMIT = "1000000000"


@dataclass(frozen=True, eq=False)
class Contestant:
    """One library under one setting. `database` keeps it apart from the others on the same Redis."""

    name: str
    label: str
    module: str
    app: str
    python: str
    database: int
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def is_celery(self) -> bool:
        return self.name in (EARLY, LATE)

    def url(self, port: int) -> str:
        return f"redis://127.0.0.1:{port}/{self.database}"

    def env(self, port: int, home: Path) -> dict[str, str]:
        """A clean environment in which `bench` is importable and, but for ours, this repository is not."""
        path = [str(home), *([str(REPO)] if self.module == OUR_MODULE else [])]
        common = {
            "PYTHONPATH": os.pathsep.join(path),
            "BENCH_REDIS_URL": self.url(port),
            "BENCH_STAMPS": str(self.stamps(home)),
            "RELIER_REDIS_URL": self.url(port),
            "RELIER_ADMISSION_LIMIT": NO_LIMIT,
            "RELIER_SECRET_KEY": SECRET,
            "RELIER_LOG_LEVEL": "WARNING",
            "RELIER_RUNTIME_DIR": str(home / "run"),
        }
        return clean_env() | common | self.extra

    def stamps(self, home: Path) -> Path:
        return home / f"{self.name}.stamps"

    def agent_argv(self) -> list[str]:
        return [self.python, "-m", "bench.contestants.agent", self.module]

    def worker_argv(self, pool: str, concurrency: int) -> list[str]:
        """The command a user would type; only warnings are logged, for every contestant alike."""
        argv = [
            self.python,
            "-m",
            "celery",
            "-A",
            self.app,
            "worker",
            "-l",
            "warning",
            "-n",
            f"{self.name}@%h",
        ]
        return [*argv, "-P", pool, "-c", str(concurrency), "-Q", QUEUES, f"--include={self.module}"]

    def rl_argv(self, *args: str) -> list[str]:
        """The `rl` that was installed beside the contestant's interpreter, or the module where it was not."""
        script = Path(self.python).parent / "rl"
        return [str(script), *args] if script.exists() else [self.python, "-m", "relier.cli", *args]


def _celery(name: str, label: str, database: int, late: str) -> Contestant:
    module = "bench.contestants.stock"
    return Contestant(name, label, module, module, sys.executable, database, {"BENCH_ACKS_LATE": late})


def _upstream(python: str) -> Contestant:
    return Contestant(UPSTREAM, "relier 0.1.7", "bench.contestants.upstream", "relier.tasks.app", python, 3)


def _ours() -> Contestant:
    return Contestant(OURS, "Relier", OUR_MODULE, "relier.tasks.app", sys.executable, 4)


def contestants(upstream_python: Callable[[], str], needed: Set[str]) -> list[Contestant]:
    """Those that take part, in the order of every round. Upstream's interpreter is only sought when needed."""
    makers: dict[str, Callable[[], Contestant]] = {
        EARLY: lambda: _celery(EARLY, "Celery early", 1, "0"),
        LATE: lambda: _celery(LATE, "Celery late", 2, "1"),
        UPSTREAM: lambda: _upstream(upstream_python()),
        OURS: _ours,
    }
    return [make() for name, make in makers.items() if name in needed]
