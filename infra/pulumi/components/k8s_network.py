"""Who may talk to whom: nobody, but for what stands here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

import pulumi
from pulumi_kubernetes.networking.v1 import (
    NetworkPolicy,
    NetworkPolicyEgressRuleArgs,
    NetworkPolicyIngressRuleArgs,
    NetworkPolicyPeerArgs,
    NetworkPolicyPortArgs,
    NetworkPolicySpecArgs,
)

from infra.pulumi.components.k8s_base import Foundation
from infra.pulumi.components.k8s_options import Neighbour
from infra.pulumi.components.k8s_scope import INSTANCE, Component, Scope, chosen
from infra.topology.workload import Kind, Workload

NAMESPACE = "kubernetes.io/metadata.name"
HTTPS = 443
DNS = [NetworkPolicyPortArgs(port=53, protocol=protocol) for protocol in ("UDP", "TCP")]
#: Who asks a data node, and who asks a Sentinel. Producers join them.
CLIENTS: dict[str, tuple[Kind, ...]] = {
    "redis": ("redis", "sentinel", "worker", "resurrector", "backup", "exporter"),
    "sentinel": ("redis", "sentinel", "worker", "resurrector", "backup"),
}
Peers = list[NetworkPolicyPeerArgs]


class Walls(Component):
    """A policy that lets nobody in, and one for each that may be asked or may not ask everybody."""

    def __init__(
        self,
        name: str,
        *,
        scope: Scope,
        foundation: Foundation,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("Walls", name, after=[foundation], opts=opts)
        self._scope = scope
        self.policies = [self._closed(), *(self._policy(w) for w in scope.plan.workloads if _walled(w))]
        self.register_outputs({"policies": len(self.policies)})

    def _closed(self) -> NetworkPolicy:
        """Of this deployment alone: the namespace may hold pods of others, and those are not ours to shut."""
        ours = chosen({INSTANCE: self._scope.topology.name})
        spec = NetworkPolicySpecArgs(pod_selector=ours, policy_types=["Ingress"])
        return NetworkPolicy("closed", metadata=self._scope.meta("closed"), spec=spec, opts=self.child())

    def _policy(self, workload: Workload) -> NetworkPolicy:
        """Workers are free to go out: nobody knows what tasks do."""
        spec = NetworkPolicySpecArgs(
            pod_selector=chosen(self._scope.selector(workload.name)),
            policy_types=["Ingress", "Egress"],
            ingress=[self._entry(workload)] if workload.ports else None,
            egress=self._exits(workload) or None,
        )
        return NetworkPolicy(workload.name, metadata=self._scope.meta(workload.name), spec=spec, opts=self.child())

    def _entry(self, workload: Workload) -> NetworkPolicyIngressRuleArgs:
        ports = [NetworkPolicyPortArgs(port=port.port, protocol="TCP") for port in workload.ports]
        return NetworkPolicyIngressRuleArgs(from_=self._askers(workload), ports=ports)

    def _askers(self, workload: Workload) -> Peers:
        options = self._scope.options
        if workload.kind == "exporter":
            return neighbours(options.monitoring) or self._pods(("exporter",))
        return self._pods(CLIENTS[workload.kind]) + neighbours(options.producers)

    def _pods(self, kinds: Iterable[Kind]) -> Peers:
        found = self._scope.plan.of_kind(*kinds)
        return [NetworkPolicyPeerArgs(pod_selector=chosen(self._scope.selector(w.name))) for w in found]

    def _exits(self, workload: Workload) -> list[NetworkPolicyEgressRuleArgs]:
        """Names, and the nodes that it asks. A rehearsal asks nobody at all."""
        asked = [name for name, clients in CLIENTS.items() if workload.kind in clients]
        targets = [w for w in self._scope.plan.workloads if w.kind in asked]
        exits = [self._exit(target) for target in targets]
        backup = self._scope.topology.backup
        if workload.kind == "backup" and backup and backup.offsite:
            port = urlsplit(backup.offsite.endpoint or "").port or HTTPS
            exits.append(NetworkPolicyEgressRuleArgs(ports=[NetworkPolicyPortArgs(port=port, protocol="TCP")]))
        return [NetworkPolicyEgressRuleArgs(ports=DNS), *exits] if exits else []

    def _exit(self, target: Workload) -> NetworkPolicyEgressRuleArgs:
        ports = [NetworkPolicyPortArgs(port=port.port, protocol="TCP") for port in target.ports]
        peer = NetworkPolicyPeerArgs(pod_selector=chosen(self._scope.selector(target.name)))
        return NetworkPolicyEgressRuleArgs(to=[peer], ports=ports)


def _walled(workload: Workload) -> bool:
    """Workers and the resurrector are asked by nobody, which `closed` says already."""
    return workload.kind not in ("worker", "resurrector")


def neighbours(others: Sequence[Neighbour]) -> Peers:
    """Pods of other namespaces, or of this one."""
    return [
        NetworkPolicyPeerArgs(
            namespace_selector=chosen({NAMESPACE: other.namespace}) if other.namespace else None,
            pod_selector=chosen(other.labels) if other.labels else None,
        )
        for other in others
    ]
