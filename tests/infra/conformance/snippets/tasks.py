"""Pushes tasks, or takes their ids, and says where they are once all run or all have ended."""

from __future__ import annotations

import json
import sys
import time
import uuid
from typing import Any

from relier.connection import connect
from relier.settings import get_settings
from relier.tasks.chaos import chaos_sleep

RESULT = "celery-task-meta-"
FEW = 5


def push(count: int, seconds: float, **options: Any) -> list[str]:
    """Tasks that sleep; their ids are ours, so that none is unknown when a reply is lost."""
    ids = [str(uuid.uuid4()) for _ in range(count)]
    for task_id in ids:
        chaos_sleep.apply_async(args=(seconds,), task_id=task_id, **options)
    return ids


def look(ids: list[str]) -> dict[str, Any]:
    """State, node and incarnation of each; after the end its receipt has them for two minutes."""
    redis: Any = connect(get_settings())
    found = {}
    for task_id in ids:
        state, holder, incarnation = redis.hmget(f"rl:phoenix:{task_id}", "state", "holder", "incarnation")
        receipt = (redis.get(f"rl:receipt:{task_id}") or b"").decode().split(" ")
        result = redis.get(RESULT + task_id)
        found[task_id] = {
            "state": state.decode() if state else None,
            "node": (holder or receipt[0].encode()).decode().rpartition("/")[0],
            "incarnation": int(incarnation or (receipt[1] if len(receipt) > 1 and receipt[1].isdigit() else 0)),
            "result": json.loads(result)["status"] if result else None,
        }
    return {"tasks": found, "committed": int(redis.get("rl:m:global:success") or 0)}


def others(ids: list[str]) -> dict[str, str]:
    """Tasks of somebody else that run, or have ended within the last two minutes; a few of them."""
    redis: Any = connect(get_settings())
    found = {}
    for kind, said in (("phoenix", "runs"), ("receipt", "ended")):
        for key in redis.scan_iter(f"rl:{kind}:*", count=1000):
            task_id = key.decode().rpartition(":")[2]
            if task_id not in ids and len(found) < FEW:
                found[task_id] = said
    return found


def wait(ids: list[str], what: str, patience: float) -> dict[str, Any]:
    """Look until all run, or all have ended; then, or when patience ends, what was seen last."""
    deadline = time.monotonic() + patience
    while True:
        seen = look(ids)
        tasks = seen["tasks"].values()
        seen["met"] = all(t["state"] == "running" if what == "running" else t["result"] is not None for t in tasks)
        if seen["met"] or time.monotonic() > deadline:
            return seen
        time.sleep(0.2)


def main() -> None:
    asked = json.loads(sys.argv[1])
    before = look([])["committed"]
    ids = push(**asked["push"]) if "push" in asked else asked["ids"]
    seen = wait(ids, asked["until"], asked.get("patience", 0.0))
    print(json.dumps({"ids": ids, "before": before, **seen, "others": others(ids)}))


main()
