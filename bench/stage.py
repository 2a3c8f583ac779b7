"""What every row stands on: the Redis of the run, a temporary home, producers and workers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from bench.contestant import LATE, OURS, UPSTREAM, Contestant
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

    def label(self, name: str) -> str:
        """A contestant's name for people, whether it takes part or not."""
        return next((one.label for one in self.everyone if one.name == name), name)

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
    def worker(self, who: Contestant, pool: str, concurrency: int, probes: int = 20) -> Iterator[StampedWorker]:
        """A worker on an empty database that has run `probes` tasks, so that it is up and warm."""
        self.flush(who)
        env = who.env(self.server.port, self.home)
        stamps = Stamps(who.stamps(self.home))
        argv = who.worker_argv(pool, concurrency)
        worker = StampedWorker(who.label, argv, env, self.log(who, f"worker-{pool}"), stamps)
        stamps.mark()
        with worker:
            try:
                self.agent(who).ask("bulk", "noop", probes)
                worker.await_stamps(probes, 60.0, f"first tasks on -P {pool} -c {concurrency}")
                yield worker
            finally:
                worker.kill_tree()

    @contextmanager
    def workers(self, everyone: list[Contestant], pool: str, concurrency: int) -> Iterator[dict[str, StampedWorker]]:
        """One worker for each contestant, all up at once; those whose turn it is not have nothing to do."""
        with ExitStack() as stack:
            yield {who.name: stack.enter_context(self.worker(who, pool, concurrency, probes=200)) for who in everyone}

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


__all__ = ["LATE", "OURS", "UPSTREAM", "Stage"]
