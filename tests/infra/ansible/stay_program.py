"""Runs on a worker host as `python -c`: pushes tasks that sleep, and says where each runs, every time it begins anew.

stay QUEUE COUNT SECONDS    lines "ran ID INCARNATION NODE STARTED_AT" until all are done, then "done"
"""

from __future__ import annotations

import sys
import time
import uuid


def main(queue: str, count: int, seconds: float) -> None:
    from relier.connection import connect
    from relier.settings import get_settings
    from relier.tasks.chaos import chaos_sleep

    redis, seen = connect(get_settings()), {}
    ids = [str(uuid.uuid4()) for _ in range(count)]
    for task_id in ids:
        chaos_sleep.apply_async(args=(seconds,), task_id=task_id, queue=queue)
    left = set(ids)
    while left:
        time.sleep(0.02)
        for task_id in list(left):
            try:
                row = redis.hmget(f"rl:phoenix:{task_id}", "state", "incarnation", "holder", "started_at")
            except Exception:  # noqa: S112
                continue  # a failover; what happened meanwhile is seen after it
            state, incarnation, holder, started = (part.decode() if part else "" for part in row)
            if not state:
                left.discard(task_id)
            elif state == "running" and seen.get(task_id) != incarnation:
                seen[task_id] = incarnation
                print("ran", task_id, incarnation, holder.rpartition("/")[0], int(started) / 1000, flush=True)
    print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
