"""The data is lost on every node, and comes back from the backup."""

from __future__ import annotations

import time

import pytest

from tests.infra.conformance.deployment import Deployment, all_hold, eventually
from tests.infra.conformance.keyspace import keys_of, leader, missing

DONE, WAITING = 20, 40
#: Long enough that none of them is due before the application rests.
DELAY = 100.0
BACK = 180.0


@pytest.mark.timeout(1200)
def test_a_backup_gives_back_every_key_after_all_disks_are_wiped(deployment: Deployment) -> None:
    """Work that is done, and work that is due later; then the application rests, so that no key changes meanwhile."""
    plan, adapter = deployment.plan, deployment.adapter
    if not plan.of_kind("backup"):
        pytest.skip("the plan has no backup")
    backup, first = plan.of_kind("backup")[0], plan.of_kind("redis")[0]
    app, data = plan.of_kind("worker", "resurrector"), plan.of_kind("redis")
    servers = (*plan.of_kind("sentinel"), *data)
    waiting = _work(deployment)
    adapter.stop(app)
    try:
        before = keys_of(deployment, leader(deployment))
        try:
            adapter.backup(backup)
            adapter.stop(servers)
            adapter.wipe(servers)
            said = adapter.restore(first, backup)
        finally:
            adapter.resume((*data, *plan.of_kind("sentinel")))
        deployment.forget()
        place = eventually(lambda: leader(deployment), BACK, "Redis leads again after the restore", 2)
        after = keys_of(deployment, place)
    finally:
        adapter.resume(app)
    deployment.forget()
    print(f"\n{len(before)} keys before, {len(after)} after: {said.splitlines()[-1]}")
    all_hold(missing(before, after, time.time()))
    eventually(lambda: _ended(deployment, waiting), DELAY + BACK, "what was due later is done after the restore", 2)


def _work(deployment: Deployment) -> list[str]:
    producer, queue = deployment.producer(), deployment.plan.of_kind("worker")[0].queues[0]
    soon = {"count": DONE, "seconds": 0.01, "queue": queue}
    done = deployment.ask("tasks", {"push": soon, "until": "ended", "patience": 60}, at=producer)
    later = {"count": WAITING, "seconds": 0.01, "queue": queue, "countdown": DELAY}
    waiting: list[str] = deployment.ask("tasks", {"push": later, "until": "ended"}, at=producer)["ids"]
    all_hold([] if done["met"] else ["the work before the backup does not end within 60 s."])
    return waiting


def _ended(deployment: Deployment, ids: list[str]) -> bool:
    seen = deployment.ask("tasks", {"ids": ids, "until": "ended", "patience": 60}, timeout=120)
    return all(task["result"] == "SUCCESS" for task in seen["tasks"].values())
