"""Load on a deployment of any tier: a producer in its own image, and a verdict on every push that was acknowledged."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import load_program
from harness.process import wait_until

PROGRAM = Path(load_program.__file__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the ledger says of the acknowledged pushes once all is settled."""

    acknowledged: int
    committed: int
    lost: list[str]
    states: dict[str, int]
    unsettled: int
    dead_letters: int
    successes: int
    results: int

    @property
    def twice(self) -> int:
        """Commits accepted beyond one a task: the ledger counts each, and a result is there once."""
        return max(0, self.successes - self.results)


@dataclass
class Load:
    """A producer that runs until told to stop. `prefix` runs a command with standard input where Relier is configured:
    `docker run -i --rm … IMAGE`, `kubectl exec -i POD --`, `ssh HOST …`."""

    prefix: Sequence[str]
    rate: float = 200.0
    seconds: float = 0.05
    acknowledged: dict[str, float] = field(default_factory=dict)
    failed: dict[str, tuple[float, float, str]] = field(default_factory=dict)

    def start(self) -> Load:
        """Returns once the first pushes are acknowledged."""
        self._process = subprocess.Popen(
            _command(self.prefix, "push", self.rate, self.seconds),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_until(lambda: len(self.acknowledged) > 20 or self._over(), 60, "the producer pushes")
        if self._over():
            raise RuntimeError(f"the producer ended with {self._process.returncode}: {' '.join(self.prefix)}")
        return self

    def _over(self) -> bool:
        return self._process.poll() is not None

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            match line.split():
                case ["ack", task_id, at]:
                    self.acknowledged[task_id] = float(at)
                case ["fail", task_id, at, took, error]:
                    self.failed[task_id] = (float(at), float(took), error)

    def stop(self, timeout: float = 90.0) -> None:
        """Ends the producer; pushes under way are waited for."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout)
        self._reader.join(timeout)

    def gap(self, since: float) -> float:
        """Seconds from `since` until pushes were acknowledged again after the longest pause; infinite before that."""
        times = [since, *sorted(at for at in list(self.acknowledged.values()) if at > since)]
        pauses = [(after - before, after) for before, after in itertools.pairwise(times)]
        longest, resumed = max(pauses, default=(math.inf, math.inf))
        return resumed - since if longest > 0.5 else 0.0

    def verdict(self, timeout: float = 180.0) -> Verdict:
        """Waits inside the deployment until nothing is queued or running, then looks at every acknowledged id."""
        return verdict(self.prefix, self.acknowledged, timeout)


def verdict(prefix: Sequence[str], ids: Any, timeout: float = 180.0) -> Verdict:
    """The verdict on some ids."""
    told = subprocess.run(
        _command(prefix, "verdict", timeout),
        input="\n".join(ids),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=timeout + 60,
    )
    return Verdict(**json.loads(told.stdout.splitlines()[-1]))


def _command(prefix: Sequence[str], *words: object) -> list[str]:
    return [*prefix, "python", "-c", PROGRAM.read_text(), *map(str, words)]
