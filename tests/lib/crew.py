"""A plugin for the functional tests: workers that one module's tests share, and words for what the ledger knows.

A module says `pytest_plugins = ("tests.lib.crew",)` and must not ask for `db`, whose flush would confuse the workers.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import uuid
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.journal import Journal
from harness.process import Resurrector, Worker, wait_until
from harness.redis import RedisServer
from tests.lib.faults import QUICK
from tests.lib.in_process import forget

MODULES = ("tests.lib.feature_limits", "tests.lib.feature_state", "tests.lib.feature_tasks")
INCLUDE = (*MODULES, "tests.lib.feature_twin")
PATIENCE = 30.0


@dataclass
class Crew:
    """Workers and a resurrector on one Redis, with the journal that their bodies write."""

    server: RedisServer
    folder: Path
    journal: Journal
    client: Any
    processes: list[Any] = field(default_factory=list)

    @property
    def worker(self) -> Worker:
        """The first worker."""
        return next(process for process in self.processes if isinstance(process, Worker))

    def start(
        self, *, name: str = "crew", env: dict[str, str] | None = None, wait: bool = True, **options: Any
    ) -> Worker:
        """One more worker; it lives until the module's tests are over or the test stops it."""
        variables = {"RELIER_REDIS_URL": self.server.url, "JOURNAL": str(self.journal.path)} | (env or {})
        options.setdefault("include", INCLUDE)
        options.setdefault("args", QUICK)
        log = self.folder / f"{name}-{len(self.processes)}.log"
        worker = Worker(variables, log=log, name=name, **options).start()
        self.processes.append(worker)
        return worker.wait_ready() if wait else worker

    def start_resurrector(self, **env: str) -> Resurrector:
        log = self.folder / f"resurrector-{len(self.processes)}.log"
        process = Resurrector({"RELIER_REDIS_URL": self.server.url} | env, log=log).start()
        self.processes.append(process)
        return process

    def stop(self) -> None:
        for process in self.processes:
            process.stop(timeout=0.1)

    def record(self, task_id: str) -> dict[str, str]:
        return dict(self.client.hgetall(f"rl:phoenix:{task_id}"))

    def quarantined(self, task_id: str, timeout: float = PATIENCE) -> dict[str, Any]:
        """The task's entry in the DLQ, as soon as it is there."""
        raw = wait_until(lambda: self.client.hget("rl:dlq", task_id), timeout, f"{task_id} in the DLQ")
        return dict(json.loads(raw))

    def outcome(self, task_id: str, timeout: float = PATIENCE) -> dict[str, Any]:
        """Celery's result of a task, as soon as it is SUCCESS; an `AsyncResult` would go on saying FAILURE."""

        def done() -> dict[str, Any]:
            kept = dict(json.loads(self.client.get(f"celery-task-meta-{task_id}") or "{}"))
            return kept if kept.get("status") == "SUCCESS" else {}

        return wait_until(done, timeout, f"{task_id} succeeded")

    def settled(self, task_id: str, timeout: float = PATIENCE) -> None:
        """Wait until nothing of the task is left in the ledger."""
        wait_until(lambda: not self.record(task_id), timeout, f"{task_id} settled")

    def started(self, token: str, timeout: float = PATIENCE) -> None:
        wait_until(lambda: self.journal.read().starts[token], timeout, f"{token} started")

    def ended(self, token: str, times: int = 1, timeout: float = PATIENCE) -> None:
        wait_until(lambda: self.journal.read().ends[token] >= times, timeout, f"{token} ended {times} times")

    def runs(self, token: str) -> tuple[int, int]:
        """How often bodies started and ended under a token."""
        tally = self.journal.read()
        return tally.starts[token], tally.ends[token]

    def kinds(self, token: str) -> list[str]:
        return [entry.kind for entry in self.journal.read().of(token)]


def recruit(server: RedisServer, folder: Path) -> Crew:
    """A crew without members, on an empty database."""
    forget()
    client = server.client()
    client.flushall()
    return Crew(server, folder, Journal(folder / "journal"), client)


@pytest.fixture(scope="module")
def crew(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """One prefork worker with two children, and a resurrector, for all tests of a module."""
    crew = recruit(server, tmp_path_factory.mktemp("crew"))
    crew.start(env={"RELIER_HEARTBEAT_TTL": "4"})
    crew.start_resurrector(RELIER_HEARTBEAT_TTL="4", RELIER_RESURRECTION_CHECK_INTERVAL="0.5")
    yield crew
    crew.stop()


@pytest.fixture
def members(server: RedisServer, tmp_path: Path) -> Iterator[Crew]:
    """A crew without members on an empty database: the test says who joins. Not beside `crew`: same Redis."""
    crew = recruit(server, tmp_path)
    yield crew
    crew.stop()


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Give this process other settings, without a flush: `producer(secret_key="…")`; `None` takes one away."""

    def apply(**values: object) -> None:
        for name, value in values.items():
            if value is None:
                monkeypatch.delenv(f"RELIER_{name.upper()}", raising=False)
            else:
                monkeypatch.setenv(f"RELIER_{name.upper()}", str(value))
        forget()

    yield apply
    monkeypatch.undo()
    forget()


@pytest.fixture(scope="session")
def features() -> SimpleNamespace:
    """The tasks of `MODULES`, imported only when Relier knows its Redis."""
    return SimpleNamespace(**{k: v for name in MODULES for k, v in vars(importlib.import_module(name)).items()})


@pytest.fixture
def token() -> str:
    """A name for one test's bodies in the journal."""
    return uuid.uuid4().hex[:12]


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine on a loop of its own and close the ledger's connections with it."""

    async def finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
        from relier.ledger import get_async_ledger

        try:
            return await coroutine
        finally:
            ledger = get_async_ledger()
            for connection in ledger._idle:
                await connection.disconnect(nowait=True)
            await ledger.client.aclose()

    return lambda coroutine: asyncio.run(finish(coroutine))
