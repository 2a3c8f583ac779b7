"""A worker dies in the middle of its work."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest

from infra.topology.workload import Workload
from tests.infra.conformance.adapters.base import Instance
from tests.infra.conformance.deployment import Deployment, all_hold, eventually

TASKS = 4
SECONDS = 20.0
BACK = 180.0


@pytest.mark.timeout(600)
def test_a_killed_workers_tasks_come_back_and_are_committed_once(deployment: Deployment, worker: Workload) -> None:
    """Its tasks sleep when all its processes die at once; others, or its successor, finish them."""
    mine = [queue for queue, consumers in deployment.plan.queues.items() if consumers == (worker.name,)]
    if not mine:
        pytest.skip(f"every queue of {worker.name} has other consumers too")
    producer = deployment.producer(worker.name) if len(deployment.app) > 1 else deployment.producer()
    asked = {"count": min(TASKS, worker.concurrency or 1), "seconds": SECONDS, "queue": mine[0]}
    seen = deployment.ask("tasks", {"push": asked, "until": "running", "patience": 15}, at=producer)
    victim, held = _victim(deployment, worker, seen)
    deployment.adapter.kill(victim)
    killed = time.time()
    try:
        if not _survivors(deployment, worker):
            deployment.adapter.start(victim)
        question = {"ids": seen["ids"], "until": "ended", "patience": BACK}
        after = deployment.ask("tasks", question, at=producer, timeout=BACK + 60)
        print(f"\n{victim}: its {len(held)} tasks were done {time.time() - killed:.1f} s after the kill.")
    finally:
        deployment.adapter.start(victim)
    all_hold(_verdict(worker, held, after, after["committed"] - seen["before"]))
    _is_back(deployment, worker)


def _survivors(deployment: Deployment, worker: Workload) -> bool:
    """Is there anybody else who takes up what is resurrected?"""
    return worker.name not in deployment.plan.queues["re-queue"] or worker.replicas > 1


def _victim(deployment: Deployment, worker: Workload, seen: dict[str, Any]) -> tuple[Instance, list[str]]:
    """The copy that holds most of the tasks."""
    tasks = seen["tasks"]
    if not seen["met"]:
        places = ", ".join(f"{n} {place}" for place, n in Counter(map(_place, tasks.values())).items())
        pytest.fail(f"{worker.name}: not all of {len(tasks)} tasks run ({places}){_others(seen)}.", pytrace=False)
    node, _ = Counter(task["node"] for task in tasks.values()).most_common(1)[0]
    deployment.forget()
    named = {deployment.run(i, "uname", "-n").out.strip(): i for i in deployment.instances(worker)}
    host = node.partition("@")[2]
    if node.partition("@")[0] != worker.name or host not in named:
        pytest.fail(f"{worker.name}: its tasks run on {node}, which is none of its copies.", pytrace=False)
    return named[host], [task_id for task_id, task in tasks.items() if task["node"] == node]


def _place(task: dict[str, Any]) -> str:
    return f"{task['state'] or task['result']} at {task['node'] or 'nobody'}"


def _verdict(worker: Workload, held: list[str], after: dict[str, Any], committed: int) -> list[str]:
    tasks = after["tasks"]
    failed = [task_id for task_id, task in tasks.items() if task["result"] != "SUCCESS"]
    alone = [task_id for task_id in held if tasks[task_id]["incarnation"] < 2]
    found = [f"{worker.name}: task {task_id} ended as {tasks[task_id]['result']} after the kill." for task_id in failed]
    found += [
        f"{worker.name}: task {task_id} died with it, but nobody took it up as a new incarnation." for task_id in alone
    ]
    if committed != len(tasks):
        found.append(f"{worker.name}: {committed} commits were counted for {len(tasks)} tasks{_others(after)}.")
    return found


def _others(seen: dict[str, Any]) -> str:
    """Whose work that could be, if not ours."""
    named = ", ".join(f"{task_id} {said}" for task_id, said in seen["others"].items())
    return f"; of others {named}" if named else ""


def _is_back(deployment: Deployment, worker: Workload) -> None:
    """The next test wants a whole fleet."""

    def whole() -> bool:
        deployment.forget()
        registered = deployment.fleet["registered"]
        online = [row for row in registered if row["state"] == "ONLINE" and row["node"].startswith(f"{worker.name}@")]
        return len(online) >= worker.replicas

    eventually(whole, BACK, f"{worker.name}: {worker.replicas} copies are back", every=2)
