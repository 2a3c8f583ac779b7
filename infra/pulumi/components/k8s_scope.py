"""What every object of a deployment shares: names, labels, quantities, and who its parent is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs

from infra.pulumi.components.k8s_options import Options
from infra.topology import Plan, Topology
from infra.topology.workload import Workload

INSTANCE, COMPONENT = "app.kubernetes.io/instance", "app.kubernetes.io/component"
TYPE = "relier:kubernetes"
DATA, WORK = "data", "work"


@dataclass(frozen=True)
class Scope:
    """One deployment in one namespace. `secrets` go by the plan's names."""

    topology: Topology
    plan: Plan
    options: Options
    secrets: Mapping[str, pulumi.Output[str]] = field(repr=False)

    @property
    def namespace(self) -> str:
        return self.options.namespace or self.topology.name

    def labels(self, component: str) -> dict[str, str]:
        """What objects and pods of a part carry."""
        return {
            "app.kubernetes.io/name": "relier",
            "app.kubernetes.io/part-of": "relier",
            "app.kubernetes.io/managed-by": "pulumi",
            **self.selector(component),
        }

    def selector(self, component: str) -> dict[str, str]:
        """What finds the pods of a part. It never changes, for Kubernetes would not let it."""
        return {INSTANCE: self.topology.name, COMPONENT: component}

    def meta(self, name: str, component: str | None = None, **more: Any) -> ObjectMetaArgs:
        """The metadata of an object in the namespace."""
        return ObjectMetaArgs(name=name, namespace=self.namespace, labels=self.labels(component or name), **more)

    def awaited(self) -> dict[str, str] | None:
        """The annotation that lets `pulumi up` go on."""
        return None if self.options.wait else {"pulumi.com/skipAwait": "true"}

    def priority(self, kind: str) -> str | None:
        """The name of a priority class. The whole cluster sees it, so the namespace is in it."""
        return f"{self.namespace}-{kind}" if self.options.priority_classes else None

    def scaled(self, workload: Workload) -> bool:
        """Does somebody else decide the number of replicas?"""
        return workload.name in self.options.autoscale


class Component(pulumi.ComponentResource):
    """A typed part of the deployment; everything in it is its child."""

    def __init__(
        self,
        kind: str,
        name: str,
        *,
        after: Sequence[pulumi.Resource | None] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        merged = pulumi.ResourceOptions.merge(pulumi.ResourceOptions(depends_on=present(after)), opts)
        self._waits = pulumi.ResourceOptions(depends_on=merged.depends_on)
        super().__init__(f"{TYPE}:{kind}", name, None, merged)

    def child(self, *after: pulumi.Resource | None, **more: Any) -> pulumi.ResourceOptions:
        """Options of a child. It waits for what its parent waits for, which Pulumi does not see to."""
        own = pulumi.ResourceOptions(parent=self, depends_on=present(after), **more)
        return pulumi.ResourceOptions.merge(self._waits, own)


def present(resources: Sequence[pulumi.Resource | None]) -> list[pulumi.Resource]:
    """Those that are there."""
    return [resource for resource in resources if resource is not None]


def chosen(labels: Mapping[str, str]) -> LabelSelectorArgs:
    """A selector by labels."""
    return LabelSelectorArgs(match_labels=labels)


def kebab(name: str) -> str:
    """A volume's name as Kubernetes takes names."""
    return name.replace("_", "-")


def quantity(size: int) -> str:
    """Bytes as the API server itself writes them, so that nothing differs after a refresh."""
    for unit, factor in (("Gi", 1024**3), ("Mi", 1024**2), ("Ki", 1024)):
        if size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def cpu(cores: float) -> str:
    """Cores as the API server writes them."""
    return str(int(cores)) if cores == int(cores) else f"{round(cores * 1000)}m"


def seconds(value: float) -> int:
    """Whole seconds, never fewer than meant."""
    return int(-(-value // 1))
