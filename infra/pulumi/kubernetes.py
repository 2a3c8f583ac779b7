"""The Kubernetes stack: what the plan says, as typed components, once nothing speaks against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from infra.pulumi import settings
from infra.pulumi.components import k8s_checks
from infra.pulumi.components.k8s_app import Processes
from infra.pulumi.components.k8s_base import Foundation, values
from infra.pulumi.components.k8s_jobs import Timed
from infra.pulumi.components.k8s_network import Walls
from infra.pulumi.components.k8s_nodes import Nodes
from infra.pulumi.components.k8s_options import Options
from infra.pulumi.components.k8s_scope import Scope
from infra.pulumi.settings import Deployment
from infra.topology import Refused

#: A task that is in every image; yours are pushed alike.
PUSH = "from relier.tasks.chaos import chaos_sleep; print(chaos_sleep.push(1))"


def stand_up(deployment: Deployment) -> Mapping[str, pulumi.Input[Any]]:
    """Onto a cluster, where what this program does not make must be there already."""
    if findings := list(k8s_checks.absent_secrets(scope_of(deployment))):
        raise Refused(findings)
    return deploy(deployment)


def deploy(deployment: Deployment) -> Mapping[str, pulumi.Input[Any]]:
    """Everything, or every reason why not."""
    scope = scope_of(deployment)
    foundation = Foundation("foundation", scope=scope)
    if scope.options.network_policies:
        Walls("walls", scope=scope, foundation=foundation)
    nodes = [
        Nodes(workload.name, scope=scope, workload=workload, foundation=foundation)
        for workload in scope.plan.of_kind("redis", "sentinel")
    ]
    for workload in scope.plan.of_kind("worker", "resurrector", "exporter"):
        Processes(workload.name, scope=scope, workload=workload, foundation=foundation, nodes=nodes)
    for workload in scope.plan.of_kind("backup", "drill"):
        Timed(workload.name, scope=scope, workload=workload, foundation=foundation)
    return outputs(scope)


def scope_of(deployment: Deployment) -> Scope:
    """The deployment as this tier sees it, or `Refused`."""
    options = settings.options_of(Options, deployment.options, "kubernetes")
    scope = Scope(deployment.topology, deployment.plan, options, deployment.secrets)
    if findings := list(k8s_checks.findings(scope)):
        raise Refused(findings)
    return scope


def outputs(scope: Scope) -> dict[str, pulumi.Input[Any]]:
    """What there is, and what to do next."""
    return {
        "namespace": scope.namespace,
        "workloads": [workload.name for workload in scope.plan.workloads],
        "secrets": sorted(wanted_secrets(scope)),
        "next": next_steps(scope),
    }


def wanted_secrets(scope: Scope) -> set[str]:
    """References that somebody else must have put there, for this program makes them not."""
    made = values(scope)
    found = {reference.removeprefix("k8s:") for reference in scope.plan.secrets.values()}
    return {reference for reference in found if reference.partition("/")[0] not in made}


def next_steps(scope: Scope) -> list[str]:
    """Commands to copy."""
    kubectl = f"kubectl -n {scope.namespace}"
    worker = scope.plan.of_kind("worker")[0].name
    steps = [
        f"{kubectl} get pods",
        f"{kubectl} exec deploy/{worker} -- rl config validate",
        f"{kubectl} exec deploy/{worker} -- rl worker status",
        f"{kubectl} exec deploy/{worker} -- python -c '{PUSH}'",
    ]
    ports = [(w.name, port.port) for w in scope.plan.of_kind("exporter") for port in w.ports]
    steps += [f"{kubectl} port-forward svc/{name} {port}:{port}" for name, port in ports]
    steps += [f"{kubectl} create job backup-now --from=cronjob/{w.name}" for w in scope.plan.of_kind("backup")]
    return steps
