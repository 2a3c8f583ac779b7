"""One side's run: push, kill, restart, wait, and judge by the journal alone."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from demo.bodies import PAGE, SECONDS
from demo.contender import Contender
from demo.load import FAULTS, SILENT_PUSHES, Fault, Job, Load
from harness.journal import END, START, Reader, Tally
from harness.process import Worker, process_state

# How long both sides are waited for after the last push and the last death, in seconds. More than twice
# what stock Celery's visibility timeout needs here.
PATIENCE = 25.0
TICK = 0.02


@dataclass
class Death:
    """One SIGKILL, and the tasks that it interrupted."""

    at: float
    what: str
    victims: list[str]


@dataclass
class Progress:
    """What a viewer sees."""

    total: int
    phase: str = "starting"
    pushed: int = 0
    running: int = 0
    done: int = 0
    resurrected: int = 0
    events: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Recovery:
    """Seconds from a death to the next start of a task that it interrupted; None if it had none."""

    death: str
    seconds: float | None


@dataclass(frozen=True)
class Outcome:
    """The figures of one side. Times in seconds."""

    title: str
    pushed: int
    finished: int
    lost: list[str]
    twice: list[str]
    commits: int | None
    deaths: list[str]
    recoveries: list[Recovery]
    pages_again: int
    seconds: float

    @property
    def recovery_times(self) -> list[float]:
        return [one.seconds for one in self.recoveries if one.seconds is not None]

    @property
    def never(self) -> int:
        """Interrupted tasks that did not start again."""
        return len(self.recoveries) - len(self.recovery_times)

    @property
    def double_commits(self) -> int:
        """Bodies that ended twice, or commits that the engine counted beyond one a task."""
        beyond = (self.commits or 0) - self.finished
        return max(len(self.twice), beyond, 0)

    @property
    def kept_its_promise(self) -> bool:
        return not self.lost and self.double_commits == 0


class Run:
    """Drives one contender through the load and the faults."""

    def __init__(self, contender: Contender, load: Load, watch: Callable[[Progress], None]) -> None:
        self.contender, self.load, self.watch = contender, load, watch
        self.reader = Reader(contender.journal)
        self.progress = Progress(load.total)
        self.jobs: dict[str, Job] = {}
        self.deaths: list[Death] = []
        self._supervisor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="supervisor")
        self._restarts: list[Future[None]] = []

    def execute(self) -> Outcome:
        """Run it to its end. Whatever happens, nothing stays behind."""
        began = time.time()
        try:
            self.contender.start()
            self._silent_deaths()
            self._steady_load()
            self._wait_for_all()
            return self._outcome(time.time() - began)
        finally:
            self._supervisor.shutdown(wait=True, cancel_futures=True)
            self.contender.stop()

    def _tick(self) -> Tally:
        tally = self.reader.poll()
        progress = self.progress
        alive = {pid for worker in self.contender.workers if worker.alive for pid in worker.children()}
        progress.pushed, progress.done = len(self.jobs), len(tally.finished)
        progress.running = sum(1 for pid in alive if in_body(tally, pid))
        progress.resurrected = len(tally.restarted | self._swallowed() & set(tally.starts))
        for restart in self._restarts:
            if restart.done():
                restart.result()
        self.watch(progress)
        time.sleep(TICK)
        return self.reader.poll()

    def _tick_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not (met := condition()) and time.monotonic() < deadline:
            self._tick()
        return met

    def _push(self, job: Job) -> str:
        task_id = self.contender.push(job)
        self.jobs[task_id] = job
        return task_id

    def _say(self, text: str) -> None:
        self.progress.events.append(text)

    def _swallowed(self) -> set[str]:
        return {i for death in self.deaths if death.what == "silent" for i in death.victims}

    def _silent_deaths(self) -> None:
        self._warm_up()
        self.progress.phase = "workers die with a message in hand"
        jobs = iter(self.load.silent)
        while batch := list(itertools.islice(jobs, SILENT_PUSHES)):
            self._silent_death(self.contender.workers[0], batch)
            self._tick_until(self._restarted, 15)

    def _warm_up(self) -> None:
        """The first task of a process imports and connects; that is nobody's recovery."""
        self.progress.phase = "warming up"
        pushed = {self._push(job) for job in self.load.warm}
        self._tick_until(lambda: pushed <= self.reader.tally.finished, 15)

    def _silent_death(self, worker: Worker, batch: list[Job]) -> None:
        """Freeze an idle worker, push, kill it: Redis has given it a message that it never saw."""
        self._tick_until(lambda: worker.ready, 30)
        # A body that has ended and is not committed yet would be interrupted too, and nobody would know.
        self._tick_until(lambda: self.reader.tally.finished <= self.contender.stored(list(self.jobs)), 5)
        self._tick_until(lambda: self._frozen_while_waiting(worker), 10)
        pushed = [self._push(job) for job in batch]
        # The other worker runs what Redis gave to it. One task stays behind, unless Redis gave the frozen one none.
        others = len(batch) - 1
        self._tick_until(lambda: len(self.reader.tally.finished & set(pushed)) >= others, 0.5)
        self._bury(worker, "silent", [i for i in pushed if not self.reader.tally.starts[i]])

    def _frozen_while_waiting(self, worker: Worker) -> bool:
        """Freeze it while every worker waits for a message inside Redis; thaw it if the moment had passed."""
        if not self._all_wait():
            return False
        worker.freeze()
        wait_stopped([worker.pid])
        if self._all_wait():
            return True
        worker.thaw()
        return False

    def _all_wait(self) -> bool:
        with self.contender.redis.client() as client:
            return int(client.info("clients")["blocked_clients"]) >= len(self.contender.workers)

    def _restarted(self) -> bool:
        return all(restart.done() for restart in self._restarts)

    def _bury(self, worker: Worker, what: str, victims: list[str]) -> None:
        """Kill a frozen worker whole, as a container ends, and let its supervisor see it."""
        worker.kill_tree()
        self.deaths.append(Death(time.time(), what, victims))
        how = "while it waited for a message" if what == "silent" else "in the middle of its tasks"
        self._say(f"kill -9 worker {worker.name} {how}: {len(victims)} task(s) interrupted")
        self._restarts.append(self._supervisor.submit(self.contender.supervise, worker))

    def _steady_load(self) -> None:
        """Push at an even rate and kill at fixed shares of the work done."""
        self.progress.phase = "steady load, processes die while they work"
        faults = list(FAULTS)
        jobs = list(self.load.steady)
        began = time.monotonic()
        deadline = began + len(jobs) / self.load.rate + PATIENCE
        sent = 0
        while (jobs or faults) and time.monotonic() < deadline:
            due = int((time.monotonic() - began) * self.load.rate) + 1 - sent
            batch, jobs = jobs[: max(due, 0)], jobs[max(due, 0) :]
            sent += len(batch)
            for job in batch:
                self._push(job)
            done = len(self._tick().finished)
            if faults and done >= self.load.due(faults[0]) and self._strike(faults[0]):
                faults.pop(0)
            if not jobs and done == self.load.total:
                break

    def _strike(self, fault: Fault) -> bool:
        """Carry out a fault now, if some process is in the middle of a body worth interrupting."""
        if not self._restarted():
            return False
        return self._strike_worker() if fault.target == "worker" else self._strike_child()

    def _strike_child(self) -> bool:
        for worker in self.contender.workers:
            for pid in worker.children():
                if self._killable(pid) and self._kill_child(worker, pid):
                    return True
        return False

    def _kill_child(self, worker: Worker, pid: int) -> bool:
        """Stop it first: a body that has already written its last line is let go."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            wait_stopped([pid])
            if not in_body(self.reader.poll(), pid):
                os.kill(pid, signal.SIGCONT)
                return False
            os.kill(pid, signal.SIGKILL)
            victim = self.reader.tally.last_by_pid[pid].task_id
            self.deaths.append(Death(time.time(), "child", [victim]))
            self._say(f"kill -9 pool child {pid} of {worker.name}: {self.jobs[victim].kind} interrupted")
            return True
        return False

    def _strike_worker(self) -> bool:
        worker = self.contender.workers[1]
        pool = worker.children()
        if not pool or not all(map(self._killable, pool)):
            return False
        worker.freeze()
        wait_stopped(pool)
        tally = self.reader.poll()
        if not all(in_body(tally, pid) for pid in pool):
            worker.thaw()
            return False
        self._bury(worker, "worker", [tally.last_by_pid[pid].task_id for pid in pool])
        return True

    def _killable(self, pid: int) -> bool:
        """In a body of some length: quick ones end before a signal gets there."""
        tally = self.reader.tally
        if not in_body(tally, pid):
            return False
        job = self.jobs.get(tally.last_by_pid[pid].task_id)
        return job is not None and SECONDS[job.kind] > 0.1

    def _wait_for_all(self) -> None:
        """Until every task has finished, or patience ends after the last push and the last death."""
        self.progress.phase = "waiting for what is missing"
        wanted = set(self.jobs)
        self._tick_until(lambda: wanted <= self.reader.tally.finished, PATIENCE)
        self._tick_until(lambda: wanted <= self.contender.stored(list(wanted)), 2.0)
        self.progress.phase = "done"
        self._tick()

    def _outcome(self, seconds: float) -> Outcome:
        tally = self.reader.poll()
        finished = tally.finished & self.contender.stored(list(self.jobs))
        pages = Counter((e.task_id, e.extra) for e in tally.entries if e.kind == PAGE)
        return Outcome(
            title=self.contender.title,
            pushed=len(self.jobs),
            finished=len(finished),
            lost=sorted(set(self.jobs) - finished),
            twice=sorted(tally.twice),
            commits=self.contender.commits(),
            deaths=[death.what for death in self.deaths],
            recoveries=[recovery(tally, death, task) for death in self.deaths for task in death.victims],
            pages_again=sum(count - 1 for count in pages.values()),
            seconds=seconds,
        )


def recovery(tally: Tally, death: Death, victim: str) -> Recovery:
    later = (entry.at - death.at for entry in tally.of(victim, START))
    return Recovery(death.what, next((seconds for seconds in later if seconds > 0), None))


def in_body(tally: Tally, pid: int) -> bool:
    """Whether the last line that this process wrote says that a body is under way."""
    last = tally.last_by_pid.get(pid)
    return last is not None and last.kind != END


def wait_stopped(pids: list[int]) -> None:
    """SIGSTOP takes effect a moment after it was sent."""
    deadline = time.monotonic() + 0.5
    while any(process_state(pid) not in "TZX" for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.001)
