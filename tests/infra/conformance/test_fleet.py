"""Workers as they registered and as they answer: who consumes what, with how many hands."""

from __future__ import annotations

import json
from collections.abc import Iterator

from infra.topology.workload import Workload
from tests.infra.conformance.adapters.base import Instance
from tests.infra.conformance.deployment import Deployment, all_hold


def nodes_of(deployment: Deployment, worker: Workload) -> dict[str, dict[str, object]]:
    """What answers under a workload's name."""
    answering = deployment.fleet["answering"]
    return {node: told for node, told in answering.items() if node.partition("@")[0] == worker.name}


def test_as_many_workers_answer_as_planned(deployment: Deployment, worker: Workload) -> None:
    found = nodes_of(deployment, worker)
    said = ", ".join(found) or "none"
    all_hold(
        [f"{worker.name}: {len(found)} answer ({said}), the plan says {worker.replicas}."]
        if len(found) != worker.replicas
        else []
    )


def test_its_pool_has_the_planned_size(deployment: Deployment, worker: Workload) -> None:
    def findings() -> Iterator[str]:
        for node, told in nodes_of(deployment, worker).items():
            if told["size"] != worker.concurrency:
                yield f"{node}: its pool takes {told['size']} tasks at once, the plan says {worker.concurrency}."
        for instance in deployment.instances(worker) if "prefork" in worker.argv else ():
            if (found := _children(deployment, instance, worker)) != worker.concurrency:
                yield f"{instance}: its pool has {found} processes, the plan says {worker.concurrency}."

    all_hold(findings())


def _children(deployment: Deployment, instance: Instance, worker: Workload) -> int:
    """Processes of the pool: all that were started as this worker, without their parent and an init or a shell."""
    seen = deployment.processes(instance)
    words = {p.pid: tuple(f"{worker.name}@%h" if w.startswith(f"{worker.name}@") else w for w in p.argv) for p in seen}
    mine = [p for p in seen if words[p.pid][-len(worker.argv) + 1 :] == worker.argv[1:]]
    return len([p for p in mine if not any(starter in p.argv[0] for starter in ("tini", "init", "/sh"))]) - 1


def test_it_consumes_the_planned_queues_and_no_others(deployment: Deployment, worker: Workload) -> None:
    wanted = sorted(worker.queues)
    all_hold(
        f"{node}: it consumes {', '.join(map(str, told['queues']))}, the plan says {', '.join(wanted)}."  # type: ignore[call-overload]
        for node, told in nodes_of(deployment, worker).items()
        if told["queues"] != wanted
    )


def test_this_queue_is_consumed_by_whom_the_plan_says(deployment: Deployment, queue: str) -> None:
    told = deployment.fleet["answering"].items()
    found = sorted({node.partition("@")[0] for node, answer in told if queue in answer["queues"]})
    wanted = sorted(deployment.plan.queues[queue])
    said = ", ".join(found) or "nobody"
    all_hold([f"{queue}: {said} consumes it, the plan says {', '.join(wanted)}."] if found != wanted else [])


def test_nobody_answers_who_is_not_planned(deployment: Deployment) -> None:
    planned = {worker.name for worker in deployment.plan.of_kind("worker")}
    strangers = [node for node in deployment.fleet["answering"] if node.partition("@")[0] not in planned]
    all_hold(f"{node}: it consumes queues here, the plan knows nothing of it." for node in strangers)


def test_whoever_answers_is_registered_as_consuming(deployment: Deployment) -> None:
    online = {row["node"] for row in deployment.fleet["registered"] if row["state"] == "ONLINE"}
    all_hold(
        f"{node}: it answers Celery but rl worker status does not call it ONLINE."
        for node in set(deployment.fleet["answering"]) - online
    )


def test_whoever_consumes_answers_celery_inspect_stats(deployment: Deployment) -> None:
    """What dashboards like Flower ask for."""
    silent = set(deployment.fleet["answering"]) - set(deployment.fleet["stats"])
    all_hold(f"{node}: it consumes, but does not answer celery inspect stats; look at its log." for node in silent)


def test_config_validate_finds_nothing_wrong_inside(deployment: Deployment) -> None:
    def findings() -> Iterator[str]:
        for instance in deployment.app:
            answer = deployment.run(instance, "rl", "config", "validate", "--json", timeout=60)
            try:
                found = [f["message"] for f in json.loads(answer.out)["findings"] if f["level"] == "error"]
            except (ValueError, KeyError):
                found = [answer.text[-300:]]
            for sentence in found if answer.code else ():
                yield f"{instance}: rl config validate says: {sentence}"

    all_hold(findings())
