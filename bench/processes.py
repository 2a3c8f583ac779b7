"""Subprocesses of a run: producers that obey lines of JSON, and workers whose bodies leave stamps."""

from __future__ import annotations

import json
import re
import select
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.contestants.stamps import DONE, RECORD, STARTED
from bench.errors import ContestantFailed
from harness.process import Process, wait_until

TROUBLE = re.compile(r"\b(ERROR|CRITICAL|\w*Error\b|\w*Exception\b)")


def last_words(log: Path) -> str:
    """The last line of a log that speaks of an error, for a sentence about it; a banner explains nothing."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if TROUBLE.search(line)]
    return f"; its last words: {lines[-1][:300]}" if lines else "; its log speaks of no error"


class Agent:
    """A contestant's producer process (see `bench.contestants.agent`). It ends with its standard input."""

    def __init__(self, owner: str, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self.owner, self.log = owner, log
        with log.open("ab") as errors:
            self._popen = subprocess.Popen(
                argv, env=env, cwd=log.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )
        self._answer(60.0)

    def _failed(self, what: str) -> ContestantFailed:
        return ContestantFailed(self.owner, f"its producer {what}{last_words(self.log)}")

    def _answer(self, seconds: float) -> Any:
        assert self._popen.stdout is not None
        ready, _, _ = select.select([self._popen.stdout], [], [], seconds)
        line = self._popen.stdout.readline() if ready else b""
        if not line:
            raise self._failed("ended" if ready else f"did not answer within {seconds:.0f} s")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ContestantFailed(self.owner, f"its producer raised {answer['error']}")
        return answer["ok"]

    def ask(self, do: str, task: str, count: int, **spec: Any) -> Any:
        """Run one command, at most two minutes; `bench.contestants.agent` knows the words."""
        assert self._popen.stdin is not None
        order = {"do": do, "task": task, "count": count, **spec}
        try:
            self._popen.stdin.write(json.dumps(order).encode() + b"\n")
            self._popen.stdin.flush()
        except BrokenPipeError:
            raise self._failed("is gone") from None
        return self._answer(120.0)

    def close(self) -> None:
        """End it; nothing of it may still push."""
        self._popen.kill()
        self._popen.communicate()


class Stamps:
    """Reads the log that task bodies write, from the point where `mark` was last called."""

    def __init__(self, path: Path) -> None:
        self.path, self._from = path, 0
        path.touch()

    def mark(self) -> None:
        """Forget what was stamped so far."""
        self._from = self.path.stat().st_size

    def count(self) -> int:
        """Stamps since the mark, of every kind."""
        return (self.path.stat().st_size - self._from) // RECORD.size

    def _times(self, kind: bytes) -> list[float]:
        with self.path.open("rb") as log:
            log.seek(self._from)
            data = log.read()
        return sorted(when for what, when in RECORD.iter_unpack(data) if what == kind)

    def started(self) -> list[float]:
        """When bodies began, monotonic seconds, sorted; only bodies that take time say so."""
        return self._times(STARTED)

    def done(self) -> list[float]:
        """When bodies ended, monotonic seconds, sorted."""
        return self._times(DONE)


class StampedWorker(Process):
    """A worker whose task bodies write to `stamps`."""

    def __init__(self, owner: str, argv: Sequence[str], env: Mapping[str, str], log: Path, stamps: Stamps) -> None:
        super().__init__(argv, env=env, name=owner, log=log)
        self.stamps = stamps

    def await_stamps(self, count: int, seconds: float, what: str) -> None:
        """Wait until the bodies wrote `count` stamps since the mark."""
        try:
            wait_until(lambda: self.stamps.count() >= count or not self.alive, seconds, what)
        except TimeoutError as error:
            seen = f"; {self.stamps.count()} of {count} stamps"
            raise ContestantFailed(self.name, f"{error}{seen}{last_words(self.log)}") from None
        if not self.alive:
            raise ContestantFailed(self.name, f"{what}: its worker exited{last_words(self.log)}")
