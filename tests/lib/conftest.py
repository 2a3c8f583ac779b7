"""Fixtures: a real Redis, the library in this process, workers as real processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from harness.journal import Journal
from harness.process import Resurrector, Worker
from harness.redis import RedisServer, find_server, server_version
from tests.lib import faults
from tests.lib.in_process import forget


@pytest.fixture(scope="session")
def server() -> Iterator[RedisServer]:
    """One Redis for all tests that do not harm it, where `tests/conftest.py` says.

    The library works there as the user whom the kit gives an application, and asks for nothing that is denied to it.
    """
    address = urlsplit(os.environ["RELIER_REDIS_URL"])
    with RedisServer(port=address.port, app=address.password) as running, running.client() as admin:
        yield running
        denied = {f"{row['reason']} {row['object']}" for row in admin.acl_log() if row["username"] == "app"}
        # Before 7.0 a rule cannot grant `client setinfo` alone, by which redis-py names itself.
        assert denied <= ({"command client"} if server_version(find_server()) < (7,) else set())


@pytest.fixture
def db(server: RedisServer) -> redis.Redis:
    """A client that decodes text, on an empty database."""
    client = server.client()
    client.flushall()
    return client


@pytest.fixture
def settings(db: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Set `RELIER_*` for one test: `settings(admission_limit=3)`; returns the new settings."""
    from relier.settings import get_settings

    def apply(**values: Any) -> Any:
        for name, value in values.items():
            monkeypatch.setenv(f"RELIER_{name.upper()}", str(value))
        forget()
        return get_settings()

    forget()
    yield apply
    monkeypatch.undo()
    forget()


@pytest.fixture
def ledger(settings: Callable[..., Any]) -> Any:
    """The ledger of this process, on an empty database."""
    from relier.ledger import get_ledger

    return get_ledger()


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """The outcomes that task bodies write themselves; workers find it by JOURNAL."""
    path = tmp_path / "journal"
    monkeypatch.setenv("JOURNAL", str(path))
    return Journal(path)


@pytest.fixture
def outcomes(db: redis.Redis, ledger: Any, journal: Journal) -> faults.Outcomes:
    """What Redis accepts from now on, whoever reports it. This process may push."""
    return faults.Outcomes(db, journal)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """Bodies wait until this file exists; it is opened when the test ends, whatever its outcome."""
    path = tmp_path / "gate"
    yield path
    path.touch()


@pytest.fixture
def start_worker(
    db: redis.Redis, server: RedisServer, journal: Journal, tmp_path: Path
) -> Iterator[Callable[..., Worker]]:
    """Start workers that import `tests.lib.tasks`; all are gone when the test ends.

    `start_worker(pool="solo", name="a", env={"RELIER_HEARTBEAT_TTL": "3"})`; `wait=False` does not wait for readiness.
    """
    started: list[Worker] = []

    def start(*, env: dict[str, str] | None = None, wait: bool = True, name: str = "worker", **options: Any) -> Worker:
        variables = {"RELIER_REDIS_URL": server.url, "JOURNAL": str(journal.path)} | (env or {})
        options.setdefault("include", "tests.lib.tasks")
        log = tmp_path / f"{name}-{len(started)}.log"
        worker = Worker(variables, log=log, name=name, **options).start()
        started.append(worker)
        return worker.wait_ready() if wait else worker

    yield start
    for worker in started:
        worker.stop(timeout=0.1)


@pytest.fixture
def start_resurrector(db: redis.Redis, server: RedisServer, tmp_path: Path) -> Iterator[Callable[..., Resurrector]]:
    """Start `rl run-resurrector`, with `RELIER_*` variables of its own when given."""
    started: list[Resurrector] = []

    def start(**env: str) -> Resurrector:
        log = tmp_path / f"resurrector-{len(started)}.log"
        process = Resurrector({"RELIER_REDIS_URL": server.url} | env, log=log).start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.stop(timeout=2.0)
