"""What comes first: the namespace, priorities, secrets, shared disks, and an account for every workload."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import pulumi
from pulumi_kubernetes.core.v1 import (
    Namespace,
    PersistentVolumeClaim,
    Secret,
    ServiceAccount,
)
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs
from pulumi_kubernetes.scheduling.v1 import PriorityClass

from infra.pulumi.components import k8s_volumes as disks
from infra.pulumi.components.k8s_scope import DATA, WORK, Component, Scope, kebab
from infra.topology.workload import VolumeMount

LEVEL = "restricted"
PRIORITIES = {
    DATA: (1_000_000, "Redis and Sentinel of Relier: without them no worker works."),
    WORK: (100_000, "Workers and the resurrector of Relier."),
}

#: What Kubernetes changes in no claim: the provider would delete it, with all that is on it, and make another.
FIXED = ["spec.accessModes", "spec.storageClassName"]


class Foundation(Component):
    """Everything that the workloads stand on."""

    def __init__(self, name: str, *, scope: Scope, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("Foundation", name, opts=opts)
        self._scope = scope
        self.namespace = self._namespace() if scope.options.create_namespace else None
        self.priorities = self._priorities() if scope.options.priority_classes else []
        self.accounts = [self._account(workload.name) for workload in scope.plan.workloads]
        self.secrets = {name: self._secret(name, keys) for name, keys in values(scope).items()}
        self.disks = [self._disk(mount) for mount in shared_disks(scope)]
        self.register_outputs({"namespace": scope.namespace})

    def checksum(self, references: Iterable[str]) -> pulumi.Output[str] | None:
        """Of what a workload reads, as far as its values are known here: another's password is not its business."""
        made = values(self._scope)
        places = sorted({disks.located(reference) for reference in references})
        held = {f"{secret}/{key}": made[secret][key] for secret, key in places if secret in made}
        if not held:
            return None
        # Nobody can go back from it to a password, so pods may show it and previews stay readable.
        return pulumi.Output.unsecret(pulumi.Output.json_dumps(held).apply(digest))

    def _namespace(self) -> Namespace:
        modes = {f"pod-security.kubernetes.io/{mode}": LEVEL for mode in ("enforce", "audit", "warn")}
        name, kept = self._scope.namespace, self._scope.options.protect
        labels = {**self._scope.labels("namespace"), **modes}
        # It takes everything along that is in it, so once unprotected it still only leaves the state.
        opts = self.child(protect=kept, retain_on_delete=kept)
        return Namespace(name, metadata=ObjectMetaArgs(name=name, labels=labels), opts=opts)

    def _priorities(self) -> list[PriorityClass]:
        return [self._priority(kind, value, text) for kind, (value, text) in PRIORITIES.items()]

    def _priority(self, kind: str, value: int, text: str) -> PriorityClass:
        name = f"{self._scope.namespace}-{kind}"
        meta = ObjectMetaArgs(name=name, labels=self._scope.labels("priority"))
        return PriorityClass(name, metadata=meta, value=value, description=text, opts=self.child())

    def _inside(self, **more: Any) -> pulumi.ResourceOptions:
        return self.child(self.namespace, **more)

    def _account(self, name: str) -> ServiceAccount:
        meta = self._scope.meta(name)
        return ServiceAccount(name, metadata=meta, automount_service_account_token=False, opts=self._inside())

    def _secret(self, name: str, keys: Mapping[str, pulumi.Output[str]]) -> Secret:
        return Secret(
            name,
            metadata=self._scope.meta(name, "secrets"),
            type="Opaque",
            string_data=dict(keys),
            opts=self._inside(),
        )

    def _disk(self, mount: VolumeMount) -> PersistentVolumeClaim:
        name = kebab(mount.volume)
        # A class that binds at first use would never be done waiting.
        meta = self._scope.meta(name, annotations={"pulumi.com/skipAwait": "true"})
        opts = self._inside(protect=self._scope.options.protect, ignore_changes=FIXED)
        return PersistentVolumeClaim(name, metadata=meta, spec=disks.claim(self._scope, mount), opts=opts)


@cache
def digest(text: str) -> str:
    """Slow on purpose: a weak password must not be guessed from the annotation of a pod."""
    return hashlib.scrypt(text.encode(), salt=b"relier", n=2**14, r=8, p=1).hex()[:32]


def values(scope: Scope) -> dict[str, dict[str, pulumi.Output[str]]]:
    """The Secrets to make, by name and key. What has no value here is somebody else's to make."""
    made: dict[str, dict[str, pulumi.Output[str]]] = {}
    for name, reference in sorted(scope.plan.secrets.items()):
        if (value := scope.secrets.get(name)) is not None:
            secret, key = disks.located(reference)
            made.setdefault(secret, {})[key] = value
    return made


def shared_disks(scope: Scope) -> list[VolumeMount]:
    """Disks that outlive their pods and belong to no node."""
    found: dict[str, Any] = {}
    for workload in scope.plan.workloads:
        for mount in workload.volumes:
            if not disks.claims(workload) and mount.volume != disks.SCRATCH:
                found.setdefault(mount.volume, mount)
    return list(found.values())
