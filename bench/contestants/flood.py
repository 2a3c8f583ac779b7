"""Fills our ledger faster than pushes could, and times transitions at that depth. Only our own producer knows it.

The engine's own `create` makes the records, called in a loop inside Redis; their bodies are as large as
real ones but their signatures are not their own, so they must never run.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

from relier import keys
from relier.dispatch import build
from relier.ledger import get_ledger
from relier.phoenix import Resurrector
from relier.scripts import load

Spec = dict[str, Any]
BATCH, QUEUE = 5000, "default"
LINE: deque[str] = deque()  # the queued tasks, the oldest first
AN_HOUR_MS = 3_600_000
PREFIX = "00000000-0000-4000-8000-fill"  # eight digits more make it as long as the id of a real push
# ARGV 1 first and 2 last number  3... the nine fields of `create`, whose id is a prefix
FILL = """
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local task = {unpack(ARGV, 3)}
  task[1] = task[1] .. string.format('%08d', number)
  create(task)
end
"""


def _ids(first: int, last: int) -> Iterator[str]:
    return (f"{PREFIX}{number:08d}" for number in range(first, last))


def _fill(task: Any, first: int, last: int) -> None:
    """Queue the tasks of these numbers, the last one excluded."""
    source = (files("relier") / "lua" / "_prelude.lua").read_text() + FILL
    fields = build(task, (1234,), None, task_id=PREFIX, queue=QUEUE).fields()
    for start in range(first, last, BATCH):
        get_ledger().client.eval(source, 0, start, min(start + BATCH, last) - 1, *fields)


def _claim(task_id: str, holder: str) -> tuple[Any, ...]:
    return ("claim", task_id, holder, 1, AN_HOUR_MS, "", "", 0)


def deepen(task: Any, spec: Spec) -> int:
    """Queue `count` tasks in an empty database; returns how many messages now wait."""
    _fill(task, 0, spec["count"])
    LINE.extend(_ids(0, spec["count"]))
    return int(get_ledger().client.llen(QUEUE))


def transitions(task: Any, spec: Spec) -> dict[str, list[float]]:
    """Seconds of `count` pushes and claims in turn. The depth stays: each round adds a task and takes the oldest."""
    ledger, holder = get_ledger(), "bench@nowhere/1.1.1.ffffffff.0"
    times: dict[str, list[float]] = {"push": [], "claim": []}
    for _ in range(spec["count"]):
        ledger.client.rpop(QUEUE)
        begin = time.perf_counter()
        LINE.append(task.push(0).id)
        pushed = time.perf_counter()
        verdict = ledger.call(*_claim(LINE.popleft(), holder))
        times["claim"].append(time.perf_counter() - pushed)
        times["push"].append(pushed - begin)
        assert verdict[0] == b"run", f"a claim said {verdict[0]!r}"
    return times


def _run_all(ids: Iterator[str], holder: str) -> None:
    """Claim these tasks for a holder that stays alive for an hour."""
    ledger = get_ledger()
    pipe = ledger.client.pipeline(transaction=False)
    for task_id in ids:
        pipe.execute_command("EVALSHA", load("claim").sha, 0, *_claim(task_id, holder)[1:])
    pipe.execute()
    ledger.call("beat", holder, AN_HOUR_MS, "0")


def flight(task: Any, spec: Spec) -> int:
    """`count` running tasks, shared out evenly to a number of holders; returns how many are alive."""
    client, each = get_ledger().client, spec["count"] // spec["holders"]
    _fill(task, 0, spec["count"])
    client.script_load(load("claim").source)
    for first in range(0, spec["count"], each):
        _run_all(_ids(first, first + each), f"bench-{first}@nowhere/1.1.1.ffffffff.0")
    client.delete(QUEUE)
    return int(client.zcard(keys.EXPIRY_INDEX))


def passes(task: Any, spec: Spec) -> list[float]:
    """Seconds of `count` passes of the resurrector; it must find nobody dead."""
    resurrector, seconds = Resurrector(), []
    for _ in range(spec["count"]):
        begin = time.perf_counter()
        revived = resurrector.scan()
        seconds.append(time.perf_counter() - begin)
        assert not revived, f"{len(revived)} healthy tasks were resurrected"
    return seconds


MORE: dict[str, Callable[[Any, Spec], Any]] = {
    "deepen": deepen,
    "transitions": transitions,
    "flight": flight,
    "passes": passes,
}
