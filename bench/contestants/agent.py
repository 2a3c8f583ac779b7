"""A producer in a process of its own, told what to do in lines of JSON.

`python -m bench.contestants.agent MODULE` reads one command a line from standard input and answers one
line: `{"ok": ...}` or `{"error": ...}`. Celery pushes with `.delay` whatever is asked; the others with
`push` or `apush`.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

LOOP = asyncio.new_event_loop()


def _arguments(spec: dict[str, Any]) -> Callable[[int], Any]:
    """The task's only argument: a number that grows, a fixed one, or text of a given size in bytes."""
    if "size" in spec:
        text = "x" * int(spec["size"])
        return lambda _: text
    fixed = spec.get("value")
    return (lambda number: number) if fixed is None else (lambda _: fixed)


def _timed(call: Callable[[Any], Any], argument: Callable[[int], Any], count: int) -> list[float]:
    seconds = []
    for number in range(count):
        value = argument(number)
        begin = time.perf_counter()
        call(value)
        seconds.append(time.perf_counter() - begin)
    return seconds


async def _timed_async(call: Callable[[Any], Any], argument: Callable[[int], Any], count: int) -> list[float]:
    seconds = []
    for number in range(count):
        value = argument(number)
        begin = time.perf_counter()
        await call(value)
        seconds.append(time.perf_counter() - begin)
    return seconds


async def _windows(call: Callable[[Any], Any], argument: Callable[[int], Any], count: int) -> None:
    for first in range(0, count, 50):
        await asyncio.gather(*[call(argument(number)) for number in range(first, min(first + 50, count))])


def latencies(task: Any, spec: dict[str, Any]) -> list[float]:
    """Seconds of each of `count` pushes, one after the other, by `call`: push or apush."""
    if not hasattr(task, "apush"):
        return _timed(task.delay, _arguments(spec), spec["count"])
    if spec["call"] == "push":
        return _timed(task.push, _arguments(spec), spec["count"])
    return LOOP.run_until_complete(_timed_async(task.apush, _arguments(spec), spec["count"]))


def bulk(task: Any, spec: dict[str, Any]) -> float:
    """Seconds for `count` pushes as fast as it goes: 50 at once, or one by one where there is no `apush`."""
    argument = _arguments(spec)
    begin = time.perf_counter()
    if hasattr(task, "apush"):
        LOOP.run_until_complete(_windows(task.apush, argument, spec["count"]))
    else:
        for number in range(spec["count"]):
            task.delay(argument(number))
    return time.perf_counter() - begin


DOES: dict[str, Callable[[Any, dict[str, Any]], Any]] = {"latencies": latencies, "bulk": bulk}


def _answer(tasks: dict[str, Any], line: str) -> dict[str, Any]:
    spec = json.loads(line)
    try:
        return {"ok": DOES[spec["do"]](tasks[spec["task"]], spec)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _protocol() -> TextIO:
    """Keep standard output for answers; whatever a library prints goes to the log."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def main() -> None:
    """Answer until standard input ends."""
    answers = _protocol()
    module = importlib.import_module(sys.argv[1])
    DOES.update(getattr(module, "MORE", {}))
    print(json.dumps({"ok": "ready"}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(module.TASKS, line)), file=answers, flush=True)


if __name__ == "__main__":
    main()
