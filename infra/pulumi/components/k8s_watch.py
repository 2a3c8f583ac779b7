"""For the Prometheus operator: where the exporter's figures are."""

from __future__ import annotations

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from infra.pulumi.components.k8s_scope import Scope
from infra.topology.workload import Workload


def monitor(scope: Scope, workload: Workload, opts: pulumi.ResourceOptions) -> CustomResource | None:
    """A ServiceMonitor, where it is asked for."""
    if not scope.options.service_monitor:
        return None
    return CustomResource(
        f"{workload.name}-monitor",
        api_version="monitoring.coreos.com/v1",
        kind="ServiceMonitor",
        metadata=scope.meta(workload.name),
        spec={
            "selector": {"matchLabels": scope.selector(workload.name)},
            "endpoints": [{"port": "metrics", "interval": "15s"}],
        },
        opts=opts,
    )
