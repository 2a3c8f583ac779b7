"""How long a task is gone: from a death to its next start, as its own body notes it.

`python -m tests.lib.recovery --kills 20 [child worker alone host drain]` prints p50, p99 and the slowest, for the first
and for the second death of the same tasks. Shipped settings, a Redis of its own.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import redis

from harness.journal import START, Journal
from harness.process import Resurrector, Worker, wait_until
from harness.redis import RedisServer
from tests.lib import faults
from tests.lib.in_process import forget

TARGETS = {"child": 0.5, "worker": 2.5, "alone": 2.5, "host": 13.0, "drain": 1.0}
WHAT = {
    "child": "pool child killed",
    "worker": "supervised worker killed, another one there",
    "alone": "supervised worker killed, the only one",
    "host": "host lost (heartbeat TTL + scan)",
    "drain": "SIGTERM, tasks longer than the drain",
}
Death = Callable[["Drill"], float]


class Drill:
    """Workers with tasks that run until a gate opens, so that they can die as often as one likes."""

    def __init__(self, kind: str, folder: Path, url: str, env: Mapping[str, str] | None = None) -> None:
        self.kind, self.folder, self.gate = kind, folder, folder / "gate"
        self.journal = Journal(folder / "journal")
        self.args: tuple[str, ...] = ()
        self._dead = 0
        self.env = {"RELIER_REDIS_URL": url, "JOURNAL": str(self.journal.path), **(env or {})}
        self.tasks = {"child": 2, "worker": 4, "alone": 4, "host": 8, "drain": 4}[kind]
        self.workers: list[Worker] = []

    @contextmanager
    def running(self) -> Iterator[Drill]:
        with ExitStack() as stack:
            resurrector = Resurrector(self.env, log=self.folder / "resurrector.log")
            stack.enter_context(resurrector)
            for name in ("a",) if self.kind in ("child", "alone") else ("a", "b"):
                self.workers.append(self._worker(name))
                stack.callback(self.workers[-1].stop, 0.1)
                self.workers[-1].start()
            for worker in self.workers:
                worker.wait_ready()
                if self.kind in ("worker", "alone"):
                    stack.enter_context(faults.Supervisor(worker))
            yield self

    def _worker(self, name: str) -> Worker:
        env = self.env | {"FAULT_DIR": str(self.folder)}
        env |= {"FAULT_BOOT": "0a0b0c0d"} if self.kind == "host" else {}
        env |= {"RELIER_GRACEFUL_SHUTDOWN_TIMEOUT": "1"} if self.kind == "drain" else {}
        pool = "prefork" if self.kind == "child" else "threads"
        log, include = self.folder / f"{name}.log", "tests.lib.tasks"
        room = self.tasks if pool == "prefork" else 2 * self.tasks  # one worker can take over all of another's
        return Worker(env, log=log, name=name, pool=pool, concurrency=room, include=include, args=self.args)

    def push(self) -> list[str]:
        from tests.lib import tasks

        ids = [tasks.stay.push(str(self.gate)).id for _ in range(self.tasks)]
        faults.wait_for_starts(self.journal, ids)
        return ids

    def die(self, ids: list[str]) -> list[float]:
        """Have one process die and return how long each of its tasks was gone, in seconds."""
        tally = self.journal.read()
        last = {task: tally.of(task, START)[-1] for task in ids}
        victim = last[ids[0]].pid
        hit = [task for task in ids if last[task].pid == victim]
        since = self._kill(victim)
        self._dead = victim
        for task in hit:
            faults.wait_for_starts(self.journal, [task], timeout=60, count=tally.starts[task] + 1)
        again = self.journal.read()
        return [again.of(task, START)[-1].at - since for task in hit]

    def _kill(self, pid: int) -> float:
        if self.kind == "child":
            os.kill(pid, signal.SIGKILL)
            return time.time()
        worker = next(worker for worker in self.workers if worker.pid == pid)
        if self.kind == "drain":
            worker.terminate(20)
            since = time.time()
        else:
            since = time.time()
            worker.kill_tree()
        if self.kind in ("host", "drain"):
            worker.start()
        return since

    def _is_another(self, worker: Worker) -> bool:
        return worker.pid != self._dead

    def settle(self) -> None:
        """Every worker consumes again before the next death."""
        for worker in self.workers:
            wait_until(partial(self._is_another, worker), 30, f"{worker.name} was started again")
            worker.wait_ready()


def drill(
    kind: str,
    folder: Path,
    url: str,
    rounds: int,
    env: Mapping[str, str] | None = None,
    args: tuple[str, ...] = (),
) -> list[list[float]]:
    """First and second deaths of the same tasks: seconds until each ran again. All are committed once in the end."""
    gone: list[list[float]] = [[], []]
    scene = Drill(kind, folder, url, env)
    scene.args = args
    with scene.running(), redis.Redis.from_url(url, decode_responses=True) as db:
        outcomes = faults.Outcomes(db, scene.journal)
        for _ in range(rounds):
            scene.gate.unlink(missing_ok=True)
            ids = scene.push()
            for deaths in gone:
                deaths += scene.die(ids[:1] if kind == "child" else ids)
                scene.settle()
            scene.gate.touch()
            outcomes.wait(ids, 30)
            if wrong := outcomes.wrongs(ids):
                raise AssertionError("; ".join(wrong))
    return gone


def quantile(values: Sequence[float], share: float) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.lib.recovery", description="Measure recovery.")
    parser.add_argument("kinds", nargs="*", default=list(WHAT), help=", ".join(WHAT))
    parser.add_argument("--kills", type=int, default=20, help="kills of each kind, half of them second deaths")
    parser.add_argument("--quick", action="store_true", help="workers without mingle and gossip")
    options = parser.parse_args()
    for kind in options.kinds:
        with RedisServer() as server, tempfile.TemporaryDirectory() as folder:
            os.environ["RELIER_REDIS_URL"] = server.url
            forget()  # each kind has a Redis of its own, and this process pushes to it
            # What the other worker needs for its own start is not what is measured.
            args = faults.QUICK if options.quick or kind == "worker" else ()
            _report(kind, drill(kind, Path(folder), server.url, max(1, options.kills // 2), args=args))


def _report(kind: str, gone: list[list[float]]) -> None:
    for which, values in zip(("first", "second"), gone, strict=True):
        p50, p99 = quantile(values, 0.5), quantile(values, 0.99)
        verdict = "ok" if p99 <= TARGETS[kind] else f"over {TARGETS[kind]:g} s"
        figures = f"p50 {p50:6.3f} s  p99 {p99:6.3f} s  max {max(values):6.3f} s  n={len(values)}"
        print(f"{WHAT[kind]:45} {which:6} death  {figures}  {verdict}", flush=True)


if __name__ == "__main__":
    main()
