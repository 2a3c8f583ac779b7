"""Load from inside a deployment: runs wherever Relier is installed and configured, as `python -c` of its own source.

    push RATE SECONDS    pushes tasks that sleep SECONDS, RATE a second, until standard input ends
    verdict TIMEOUT      reads acknowledged ids on standard input, waits until all is settled, prints JSON

Needs nothing but the standard library and Relier, so that a container without the test tools can run it.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid
from typing import Any

QUEUES = ("high_priority", "default", "low_priority")
THREADS = 8
RESULT = "celery-task-meta-"


def say(*words: object) -> None:
    """One line, whole and at once: its reader counts the lines of a process that may be killed."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def push(rate: float, seconds: float) -> None:
    """`ack ID WHEN` once a push has returned; `fail ID WHEN TOOK ERROR` when it did not."""
    over = threading.Event()
    threads = [threading.Thread(target=_pusher, args=(rate / THREADS, seconds, over)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()


def _pusher(rate: float, seconds: float, over: threading.Event) -> None:
    from relier.tasks.chaos import chaos_sleep

    due = time.monotonic()
    while not over.wait(max(0.0, due - time.monotonic())):
        due = max(due + 1 / rate, time.monotonic() - 1)
        task_id, began = str(uuid.uuid4()), time.monotonic()
        queue = QUEUES[int(task_id[:8], 16) % len(QUEUES)]
        try:
            chaos_sleep.apply_async(args=(seconds,), task_id=task_id, queue=queue)
        except Exception as error:
            say("fail", task_id, time.time(), round(time.monotonic() - began, 3), type(error).__name__)
        else:
            say("ack", task_id, time.time())


def verdict(timeout: float) -> None:
    """What became of the acknowledged tasks, and how often the ledger counted a success."""
    from relier.connection import connect
    from relier.settings import get_settings

    ids, redis = sys.stdin.read().split(), connect(get_settings())
    deadline = time.monotonic() + timeout
    while (open_records := _records(redis)) and time.monotonic() < deadline:
        time.sleep(0.5)
    found = _states(redis, ids)
    committed = [task_id for task_id, state in found.items() if state == "SUCCESS"]
    every = [key.decode().removeprefix(RESULT) for key in redis.scan_iter(f"{RESULT}*", count=5000)]
    say(
        json.dumps(
            {
                "acknowledged": len(ids),
                "committed": len(committed),
                "lost": sorted(set(ids) - set(committed)),
                "states": {state: list(found.values()).count(state) for state in set(found.values())},
                "unsettled": open_records,
                "dead_letters": int(redis.hlen("rl:dlq")),
                # A second accepted commit of one task counts twice and overwrites one result.
                "successes": int(redis.get("rl:m:global:success") or 0),
                "results": list(_states(redis, every).values()).count("SUCCESS"),
            }
        )
    )


def _records(redis: Any) -> int:
    return sum(1 for _ in redis.scan_iter("rl:phoenix:*-*", count=5000))


def _states(redis: Any, ids: list[str]) -> dict[str, str]:
    states = {}
    for start in range(0, len(ids), 500):
        part = ids[start : start + 500]
        for task_id, value in zip(part, redis.mget([RESULT + task_id for task_id in part]), strict=True):
            states[task_id] = json.loads(value)["status"] if value else "none"
    return states


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["push", rate, seconds]:
            push(float(rate), float(seconds))
        case ["verdict", timeout]:
            verdict(float(timeout))
        case _:
            sys.exit(__doc__)
