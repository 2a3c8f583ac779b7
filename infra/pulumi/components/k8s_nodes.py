"""Redis and Sentinel: pods with names and disks of their own."""

from __future__ import annotations

import pulumi
from pulumi_kubernetes.apps.v1 import (
    StatefulSet,
    StatefulSetPersistentVolumeClaimRetentionPolicyArgs,
    StatefulSetSpecArgs,
    StatefulSetUpdateStrategyArgs,
)
from pulumi_kubernetes.core.v1 import (
    PersistentVolumeClaimArgs,
    Service,
    ServicePortArgs,
    ServiceSpecArgs,
)
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from infra.pulumi.components import k8s_files as files
from infra.pulumi.components import k8s_volumes as disks
from infra.pulumi.components.k8s_base import Foundation
from infra.pulumi.components.k8s_budget import budget
from infra.pulumi.components.k8s_pod import checksummed, template
from infra.pulumi.components.k8s_scope import Component, Scope, chosen, kebab
from infra.topology.workload import Workload

#: Another size or class of disk would replace the set, so stop all nodes at once, and change none of their claims.
FIXED = ["spec.volumeClaimTemplates"]


class Nodes(Component):
    """A StatefulSet behind a headless Service, whose names resolve before a pod is ready: that is how nodes meet."""

    def __init__(
        self,
        name: str,
        *,
        scope: Scope,
        workload: Workload,
        foundation: Foundation,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("Nodes", name, after=[foundation], opts=opts)
        self._scope, self._workload, self._foundation = scope, workload, foundation
        self.service = self._service()
        self.files = files.config_map(scope, workload, self.child())
        self.budget = budget(scope, workload, self.child())
        self.set = StatefulSet(
            workload.name,
            metadata=scope.meta(workload.name, annotations=scope.awaited()),
            spec=self._spec(),
            opts=self.child(self.service, self.files, ignore_changes=FIXED),
        )
        self.register_outputs({"name": workload.name, "nodes": list(workload.nodes)})

    def _service(self) -> Service:
        """Headless. Waiting for endpoints would be waiting for the StatefulSet, which waits for this."""
        workload, scope = self._workload, self._scope
        ports = [ServicePortArgs(name=workload.kind, port=port.port) for port in workload.ports]
        return Service(
            workload.name,
            metadata=scope.meta(workload.name, annotations={"pulumi.com/skipAwait": "true"}),
            spec=ServiceSpecArgs(
                cluster_ip="None",
                publish_not_ready_addresses=True,
                selector=scope.selector(workload.name),
                ports=ports,
            ),
            opts=self.child(),
        )

    def _spec(self) -> StatefulSetSpecArgs:
        """All at once at first, as each waits for the others; one after the other in an update."""
        workload, scope = self._workload, self._scope
        secrets = self._foundation.checksum(mount.reference for mount in workload.secrets)
        sums = checksummed(files=files.checksum(scope, workload), secrets=secrets)
        return StatefulSetSpecArgs(
            service_name=workload.name,
            replicas=workload.replicas,
            pod_management_policy="Parallel",
            update_strategy=StatefulSetUpdateStrategyArgs(type="RollingUpdate"),
            persistent_volume_claim_retention_policy=StatefulSetPersistentVolumeClaimRetentionPolicyArgs(
                when_deleted="Retain", when_scaled="Retain"
            ),
            selector=chosen(scope.selector(workload.name)),
            template=template(scope, workload, sums),
            volume_claim_templates=[self._claim(number) for number in range(len(workload.volumes))],
        )

    def _claim(self, number: int) -> PersistentVolumeClaimArgs:
        mount = self._workload.volumes[number]
        labels = self._scope.selector(self._workload.name)
        meta = ObjectMetaArgs(name=kebab(mount.volume), labels=labels)
        return PersistentVolumeClaimArgs(
            api_version="v1", kind="PersistentVolumeClaim", metadata=meta, spec=disks.claim(self._scope, mount)
        )
