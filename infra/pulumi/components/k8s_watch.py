"""For the Prometheus operator: where the exporter's figures are."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from infra.pulumi.components.k8s_scope import Scope
from infra.topology.environment import redis_nodes
from infra.topology.workload import Workload


def monitor(scope: Scope, workload: Workload, opts: pulumi.ResourceOptions) -> CustomResource | None:
    """A ServiceMonitor over every data node, where it is asked for."""
    if not scope.options.service_monitor:
        return None
    return CustomResource(
        f"{workload.name}-monitor",
        api_version="monitoring.coreos.com/v1",
        kind="ServiceMonitor",
        metadata=scope.meta(workload.name),
        spec={
            "selector": {"matchLabels": scope.selector(workload.name)},
            "endpoints": [endpoint(f"redis://{node}") for node in redis_nodes(scope.topology).split(",")],
        },
        opts=opts,
    )


def endpoint(node: str) -> dict[str, Any]:
    """One data node, which the exporter asks in our place; the figures bear the node's name and not the exporter's."""
    named = {"sourceLabels": ["__param_target"], "regex": "redis://(.*)", "targetLabel": "instance"}
    scrape = {"port": "metrics", "interval": "15s", "path": "/scrape"}
    return {**scrape, "params": {"target": [node]}, "relabelings": [named]}
