"""What every row stands on: the Redis of the run, a temporary home, producers and workers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from bench.contestant import Contestant
from bench.effort import Effort
from bench.processes import Agent, StampedWorker, Stamps
from harness.process import REPO
from harness.redis import RedisServer


class Stage:
    """One run. Leaves nothing running: enter it with `with`."""

    def __init__(self, server: RedisServer, home: Path, everyone: list[Contestant], effort: Effort) -> None:
        self.server, self.home, self.everyone, self.effort = server, home, everyone, effort
        self._agents: dict[str, Agent] = {}
        self._logs = 0
        # The contestants' interpreters must find `bench` without finding this repository's `relier`.
        (home / "bench").symlink_to(REPO / "bench")

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.rest()

    def only(self, *names: str) -> list[Contestant]:
        """Those of `names` that take part, in the order of the round."""
        return [one for one in self.everyone if one.name in names]

    def client(self, database: int) -> redis.Redis:
        """A client for the harness's own questions; scripts that fill a database may take a while."""
        return self.server.client(db=database, socket_timeout=60)

    def flush(self, who: Contestant) -> None:
        """Empty one contestant's database. Never while a worker of it lives: it would lose its bindings."""
        self.client(who.database).flushdb()

    def log(self, who: Contestant, what: str) -> Path:
        self._logs += 1
        return self.home / f"{self._logs:03d}-{who.name}-{what}.log"

    def agent(self, who: Contestant) -> Agent:
        """The contestant's producer, started once."""
        if who.name not in self._agents:
            env = who.env(self.server.port, self.home)
            self._agents[who.name] = Agent(who.label, who.agent_argv(), env, self.log(who, "agent"))
        return self._agents[who.name]

    def rest(self) -> None:
        """End every producer."""
        while self._agents:
            self._agents.popitem()[1].close()

    @contextmanager
    def workers(
        self, everyone: Sequence[Contestant], pool: str, concurrency: int, probes: int = 200
    ) -> Iterator[dict[str, StampedWorker]]:
        """One worker for each contestant on an empty database, all up at once and warm from `probes` tasks.

        Those whose turn it is not have nothing to do.
        """
        with ExitStack() as stack:
            running = {who.name: stack.enter_context(self._started(who, pool, concurrency)) for who in everyone}
            for who in everyone:
                running[who.name].stamps.mark()
                self.agent(who).ask("bulk", "noop", probes)
            for worker in running.values():
                worker.await_stamps(probes, 60.0, f"first tasks on -P {pool} -c {concurrency}")
            yield running

    @contextmanager
    def worker(self, who: Contestant, pool: str, concurrency: int) -> Iterator[StampedWorker]:
        """The same for one contestant alone."""
        with self.workers([who], pool, concurrency, probes=20) as running:
            yield running[who.name]

    @contextmanager
    def _started(self, who: Contestant, pool: str, concurrency: int) -> Iterator[StampedWorker]:
        self.flush(who)
        env, stamps = who.env(self.server.port, self.home), Stamps(who.stamps(self.home))
        log = self.log(who, f"worker-{pool}")
        worker = StampedWorker(who.label, who.worker_argv(pool, concurrency), env, log, stamps)
        with worker:
            try:
                yield worker
            finally:
                worker.kill_tree()

    def backlog(self, who: Contestant, worker: StampedWorker, task: str, count: int, **spec: Any) -> None:
        """Push `count` tasks while the worker is frozen, then thaw it: it finds all of them waiting."""
        worker.stamps.mark()
        worker.freeze()
        try:
            self.agent(who).ask("bulk", task, count, **spec)
        finally:
            worker.thaw()

    def settle(self, seconds: float = 0.3) -> None:
        """Let acknowledgements and commits of the last tasks get through before the next one's turn."""
        time.sleep(seconds)
