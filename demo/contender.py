"""The two sides: how each starts its workers, takes a push, and is supervised."""

from __future__ import annotations

import importlib
import os
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from demo import bodies, stock
from demo.load import CONCURRENCY, WORKERS, Job
from harness.journal import Journal
from harness.process import Process, Resurrector, Worker, rl
from harness.redis import RedisServer

# Between the death of a worker and its restart, as a supervisor's RestartSec= would have it.
RESTART_DELAY = 1.0
# Workers that greet each other wait a second for answers at each start, inside Redis, and that looks like idling.
QUIET = ("--without-mingle", "--without-gossip")


class Contender(ABC):
    """One side of the comparison, with a Redis of its own."""

    title: str
    settings: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder / type(self).__name__.lower()
        self.folder.mkdir()
        self.journal = Journal(self.folder / "journal.log")
        self.redis = RedisServer()
        self.workers: list[Worker] = []

    @property
    def environment(self) -> dict[str, str]:
        return {
            bodies.JOURNAL: str(self.journal.path),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    @abstractmethod
    def make_worker(self, name: str) -> Worker: ...

    @abstractmethod
    def push(self, job: Job) -> str:
        """Push one task, return its id. From here on it counts as acknowledged."""

    def helpers(self) -> list[Process]:
        """What runs beside the workers."""
        return []

    @abstractmethod
    def on_death(self, worker: Worker) -> None:
        """What a supervisor does when a worker has died, before it restarts it."""

    def commits(self) -> int | None:
        """How many commits the engine itself counted, where it counts."""
        return None

    def start(self) -> None:
        self.redis.start()
        self.workers = [self.make_worker(name).start() for name in WORKERS]
        for helper in self.helpers():
            helper.start()
        for worker in self.workers:
            worker.wait_ready()
        self.connect()

    @abstractmethod
    def connect(self) -> None:
        """Make this process a producer."""

    def supervise(self, worker: Worker) -> None:
        """Restart a dead worker."""
        self.on_death(worker)
        time.sleep(RESTART_DELAY)
        worker.start()

    def stored(self, task_ids: list[str]) -> set[str]:
        """Tasks whose result in Redis says SUCCESS; both sides store it under Celery's key."""
        with self.redis.client() as client:
            results = client.mget([f"celery-task-meta-{task_id}" for task_id in task_ids])
        return {i for i, result in zip(task_ids, results, strict=True) if result and '"SUCCESS"' in result}

    def stop(self) -> None:
        for process in [*self.workers, *self.helpers()]:
            process.stop(timeout=3)
        self.redis.close()


class Relier(Contender):
    """Relier with its defaults."""

    title = "Relier"
    settings = "its defaults (heartbeat 10 s, scan 2 s), workers supervised with `rl worker reap`"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._resurrector: Resurrector | None = None
        self._tasks: Any = None

    @property
    def environment(self) -> dict[str, str]:
        own = {"RELIER_REDIS_URL": self.redis.url, "RELIER_RUNTIME_DIR": str(self.folder / "run")}
        return super().environment | own

    def make_worker(self, name: str) -> Worker:
        return Worker(
            self.environment,
            include="demo.tasks",
            concurrency=CONCURRENCY,
            name=name,
            args=QUIET,
            log=self.folder / f"{name}.log",
        )

    def helpers(self) -> list[Process]:
        if self._resurrector is None:
            self._resurrector = Resurrector(self.environment, log=self.folder / "resurrector.log")
        return [self._resurrector]

    def connect(self) -> None:
        os.environ.update(self.environment)
        self._tasks = importlib.import_module("demo.tasks")

    def push(self, job: Job) -> str:
        return str(getattr(self._tasks, job.kind).push(job.number).id)

    def on_death(self, worker: Worker) -> None:
        told = rl(self.environment, "worker", "reap", worker.node)
        if told.returncode:
            raise RuntimeError(f"rl worker reap {worker.node} failed: {' '.join((told.stderr or told.stdout).split())}")

    def commits(self) -> int | None:
        with self.redis.client() as client:
            return int(client.get("rl:m:global:success") or 0)


class StockCelery(Contender):
    """Stock Celery with late acknowledgement."""

    title = "Celery, late acks"
    settings = (
        f"task_acks_late, task_reject_on_worker_lost, visibility_timeout {stock.VISIBILITY_TIMEOUT} s, "
        "restore sweep each second"
    )

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {stock.URL: self.redis.url}

    def make_worker(self, name: str) -> Worker:
        return Worker(
            self.environment,
            app="demo.stock",
            concurrency=CONCURRENCY,
            queues="default",
            name=name,
            args=QUIET,
            log=self.folder / f"{name}.log",
        )

    def connect(self) -> None:
        stock.app.conf.update(broker_url=self.redis.url, result_backend=self.redis.url)

    def push(self, job: Job) -> str:
        return str(getattr(stock, job.kind).delay(job.number).id)

    def on_death(self, worker: Worker) -> None:
        """Celery has nobody to tell."""

    def stop(self) -> None:
        stock.app.close()
        super().stop()
