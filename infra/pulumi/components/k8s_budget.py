"""How many of a kind a drained node may take along."""

from __future__ import annotations

import pulumi
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget, PodDisruptionBudgetSpecArgs

from infra.pulumi.components.k8s_scope import Scope, chosen
from infra.topology.workload import Workload


def budget(scope: Scope, workload: Workload, opts: pulumi.ResourceOptions) -> PodDisruptionBudget | None:
    """One at a time. A lone pod gets none: it would only hold up whoever drains its node."""
    if workload.replicas < 2 and not scope.scaled(workload):
        return None
    spec = PodDisruptionBudgetSpecArgs(
        max_unavailable=1,
        unhealthy_pod_eviction_policy="AlwaysAllow",
        selector=chosen(scope.selector(workload.name)),
    )
    return PodDisruptionBudget(workload.name, metadata=scope.meta(workload.name), spec=spec, opts=opts)
