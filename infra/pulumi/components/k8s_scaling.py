"""Workers by load: what waits in line and what runs, for each slot. The resurrector reports both."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.autoscaling.v2 import (
    CrossVersionObjectReferenceArgs,
    ExternalMetricSourceArgs,
    HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehaviorArgs,
    HorizontalPodAutoscalerSpecArgs,
    HPAScalingPolicyArgs,
    HPAScalingRulesArgs,
    MetricIdentifierArgs,
    MetricSpecArgs,
    MetricTargetArgs,
)

from infra.pulumi.components.k8s_options import Autoscale
from infra.pulumi.components.k8s_scope import Scope, chosen
from infra.topology.workload import Workload

METRIC = "relier_load"
TARGET = {"api_version": "apps/v1", "kind": "Deployment"}


def scaler(scope: Scope, workload: Workload, opts: pulumi.ResourceOptions) -> pulumi.Resource | None:
    """KEDA's object or Kubernetes' own, where a pool is to be scaled."""
    part = scope.options.autoscale.get(workload.name)
    if part is None:
        return None
    make = keda if part.by == "keda" else hpa
    return make(scope, workload, part, opts)


def slots(workload: Workload, part: Autoscale) -> float:
    """Tasks that one worker may have waiting and running."""
    return round(part.load * (workload.concurrency or 1), 3)


def query(workload: Workload) -> str:
    """What waits in the pool's queues, and all that runs: too much where there are several pools, never too little.

    The maximum, for a resurrector that was replaced leaves its last figures behind for some minutes. Without any figure
    there is no answer, and nobody is taken away: what is not known is not nothing.
    """
    queues = "|".join(workload.queues)
    waiting = f'sum(max by (rl_task_queue) (relier_queue_depth{{rl_task_queue=~"{queues}"}}))'
    return f"({waiting} or vector(0)) + max(relier_tasks_inflight)"


def keda(scope: Scope, workload: Workload, part: Autoscale, opts: pulumi.ResourceOptions) -> CustomResource:
    """A ScaledObject. A length of a list would not see what runs, and would take busy workers away."""
    trigger: dict[str, Any] = {
        "type": "prometheus",
        "metadata": {
            "serverAddress": part.prometheus,
            "query": query(workload),
            "threshold": f"{slots(workload, part):g}",
            "ignoreNullValues": "false",
        },
    }
    return CustomResource(
        f"{workload.name}-scaler",
        api_version="keda.sh/v1alpha1",
        kind="ScaledObject",
        metadata=scope.meta(workload.name),
        spec={
            "scaleTargetRef": {"name": workload.name},
            "minReplicaCount": part.least,
            "maxReplicaCount": part.most,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": calm(part)}},
            "triggers": [trigger],
        },
        opts=opts,
    )


def calm(part: Autoscale) -> dict[str, Any]:
    """One worker at a time goes, and only after a while of less load: each of them drains first."""
    policy = {"type": "Pods", "value": 1, "periodSeconds": 60}
    return {"scaleDown": {"stabilizationWindowSeconds": part.settle, "policies": [policy]}}


def hpa(scope: Scope, workload: Workload, part: Autoscale, opts: pulumi.ResourceOptions) -> HorizontalPodAutoscaler:
    """Kubernetes' own, over an external metric `relier_load` with the label `pool`, as a metrics adapter serves it."""
    metric = MetricIdentifierArgs(name=METRIC, selector=chosen({"pool": workload.name}))
    target = MetricTargetArgs(type="AverageValue", average_value=f"{round(slots(workload, part) * 1000)}m")
    down = HPAScalingRulesArgs(
        stabilization_window_seconds=part.settle,
        policies=[HPAScalingPolicyArgs(type="Pods", value=1, period_seconds=60)],
    )
    return HorizontalPodAutoscaler(
        workload.name,
        metadata=scope.meta(workload.name),
        spec=HorizontalPodAutoscalerSpecArgs(
            scale_target_ref=CrossVersionObjectReferenceArgs(name=workload.name, **TARGET),
            min_replicas=part.least,
            max_replicas=part.most,
            metrics=[MetricSpecArgs(type="External", external=ExternalMetricSourceArgs(metric=metric, target=target))],
            behavior=HorizontalPodAutoscalerBehaviorArgs(scale_down=down),
        ),
        opts=opts,
    )
