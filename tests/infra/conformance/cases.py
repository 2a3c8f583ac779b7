"""What the tests are repeated for, from the stack alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from infra.topology import Plan, Topology, environment, plan_of, read
from tests.infra.conformance import redis_rules


@cache
def known(stack: Path) -> tuple[Topology, Plan]:
    topology = read(str(stack))
    return topology, plan_of(topology)


def of(name: str, stack: Path) -> list[Any]:
    """All workloads, or the nodes, queues or Redis settings of the plan."""
    topology, plan = known(stack)
    ours = bool(topology.redis.nodes)
    made: dict[str, Any] = {
        "workload": lambda: plan.workloads,
        "worker": lambda: plan.of_kind("worker"),
        "data_node": lambda: environment.redis_nodes(topology).split(",") if ours else (),
        "sentinel_node": lambda: environment.sentinel_nodes(topology).split(",") if topology.sentinel else (),
        "queue": lambda: plan.queues,
        "redis_setting": lambda: redis_rules.expected(topology, stack.stem) if ours else (),
    }
    return list(made[name]())
