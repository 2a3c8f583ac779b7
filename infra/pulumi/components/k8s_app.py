"""Workers, the resurrector and the exporter: Deployments."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi_kubernetes.apps.v1 import (
    Deployment,
    DeploymentSpecArgs,
    DeploymentStrategyArgs,
    RollingUpdateDeploymentArgs,
)
from pulumi_kubernetes.core.v1 import Service, ServicePortArgs, ServiceSpecArgs

from infra.pulumi.components.k8s_base import Foundation
from infra.pulumi.components.k8s_budget import budget
from infra.pulumi.components.k8s_pod import checksummed, template
from infra.pulumi.components.k8s_scaling import scaler
from infra.pulumi.components.k8s_scope import Component, Scope, chosen, seconds
from infra.pulumi.components.k8s_watch import monitor
from infra.topology.workload import Workload

PATIENCE = 600


class Processes(Component):
    """Pods that are all alike: a pool of workers, the resurrector, the exporter."""

    def __init__(
        self,
        name: str,
        *,
        scope: Scope,
        workload: Workload,
        foundation: Foundation,
        nodes: Sequence[pulumi.Resource] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("Processes", name, after=[foundation, *nodes], opts=opts)
        self._scope, self._workload = scope, workload
        secrets = foundation.checksum(mount.reference for mount in workload.secrets)
        self.budget = budget(scope, workload, self.child())
        scaled = ["spec.replicas"] if scope.scaled(workload) else None
        self.deployment = Deployment(
            workload.name,
            metadata=scope.meta(workload.name, annotations=scope.awaited()),
            spec=self._spec(secrets),
            opts=self.child(ignore_changes=scaled),
        )
        self.scaler = scaler(scope, workload, self.child(self.deployment))
        self.service = self._service() if workload.kind == "exporter" else None
        self.monitor = monitor(scope, workload, self.child()) if self.service else None
        self.register_outputs({"name": workload.name, "queues": list(workload.queues)})

    def _spec(self, secrets: pulumi.Output[str] | None) -> DeploymentSpecArgs:
        workload, scope = self._workload, self._scope
        return DeploymentSpecArgs(
            replicas=None if scope.scaled(workload) else workload.replicas,
            selector=chosen(scope.selector(workload.name)),
            strategy=self._strategy(),
            revision_history_limit=3,
            progress_deadline_seconds=PATIENCE + seconds(workload.grace),
            template=template(scope, workload, checksummed(secrets=secrets)),
        )

    def _strategy(self) -> DeploymentStrategyArgs:
        """Never fewer workers than planned, and never two resurrectors."""
        if self._workload.update == "recreate":
            return DeploymentStrategyArgs(type="Recreate")
        rolling = RollingUpdateDeploymentArgs(max_surge=1, max_unavailable=0)
        return DeploymentStrategyArgs(type="RollingUpdate", rolling_update=rolling)

    def _service(self) -> Service:
        workload, scope = self._workload, self._scope
        ports = [ServicePortArgs(name="metrics", port=port.port) for port in workload.ports]
        spec = ServiceSpecArgs(selector=scope.selector(workload.name), ports=ports)
        meta = scope.meta(workload.name, annotations=scope.awaited())
        return Service(workload.name, metadata=meta, spec=spec, opts=self.child(self.deployment))
