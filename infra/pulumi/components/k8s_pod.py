"""A workload of the plan as a pod: restricted, limited, probed, with its secrets as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi_kubernetes.core.v1 import (
    AffinityArgs,
    CapabilitiesArgs,
    ContainerArgs,
    ContainerPortArgs,
    EnvVarArgs,
    ExecActionArgs,
    LifecycleArgs,
    LifecycleHandlerArgs,
    LocalObjectReferenceArgs,
    PodAffinityTermArgs,
    PodAntiAffinityArgs,
    PodSecurityContextArgs,
    PodSpecArgs,
    PodTemplateSpecArgs,
    ProbeArgs,
    ResourceRequirementsArgs,
    SeccompProfileArgs,
    SecurityContextArgs,
    TopologySpreadConstraintArgs,
    WeightedPodAffinityTermArgs,
)
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from infra.pulumi.components import k8s_volumes as disks
from infra.pulumi.components.k8s_scope import DATA, WORK, Scope, chosen, cpu, quantity, seconds
from infra.topology.workload import Probe, Workload

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
STATEFUL = ("redis", "sentinel")
APP = ("worker", "resurrector")


def template(
    scope: Scope, workload: Workload, checksums: Mapping[str, pulumi.Input[str]], *, restart: str | None = None
) -> PodTemplateSpecArgs:
    """The pod of a workload. A changed checksum is a new pod."""
    annotations = {f"relier.dev/{name}-checksum": value for name, value in checksums.items()}
    meta = ObjectMetaArgs(labels=scope.labels(workload.name), annotations=annotations or None)
    return PodTemplateSpecArgs(metadata=meta, spec=pod(scope, workload, restart))


def pod(scope: Scope, workload: Workload, restart: str | None) -> PodSpecArgs:
    """Without a token, without its neighbours' addresses in its environment, and never as root."""
    uid, gid = map(int, workload.user.split(":"))
    pulls = [LocalObjectReferenceArgs(name=name) for name in scope.options.image_pull_secrets]
    return PodSpecArgs(
        service_account_name=workload.name,
        automount_service_account_token=False,
        enable_service_links=False,
        priority_class_name=scope.priority(DATA if workload.kind in STATEFUL else WORK),
        restart_policy=restart,
        image_pull_secrets=pulls or None,
        termination_grace_period_seconds=seconds(workload.grace),
        security_context=PodSecurityContextArgs(
            run_as_non_root=True,
            run_as_user=uid,
            run_as_group=gid,
            fs_group=gid,
            fs_group_change_policy="OnRootMismatch",
            seccomp_profile=SeccompProfileArgs(type="RuntimeDefault"),
        ),
        affinity=apart(scope, workload) if workload.schedule is None else None,
        topology_spread_constraints=spread(scope, workload) if workload.schedule is None else None,
        init_containers=disks.writers(scope, workload, SECURE) or None,
        containers=[container(scope, workload)],
        volumes=disks.volumes(scope, workload) or None,
    )


SECURE = SecurityContextArgs(
    allow_privilege_escalation=False,
    read_only_root_filesystem=True,
    capabilities=CapabilitiesArgs(drop=["ALL"]),
)


def container(scope: Scope, workload: Workload) -> ContainerArgs:
    """The process itself."""
    argv = list(workload.argv) or None
    ours = (
        workload.kind in APP
    )  # its image begins with an init process, which stays; others' entry points are passed by
    return ContainerArgs(
        name=workload.kind,
        image=workload.image or "",
        image_pull_policy="IfNotPresent",
        args=argv if ours else None,
        command=None if ours else argv,
        env=environment(workload) or None,
        ports=[ContainerPortArgs(container_port=port.port) for port in workload.ports] or None,
        resources=resources(scope, workload),
        security_context=SECURE,
        volume_mounts=disks.mounts(workload) or None,
        lifecycle=lifecycle(workload),
        liveness_probe=probe(workload.live),
        readiness_probe=probe(workload.ready),
        startup_probe=probe(start(workload)),
    )


def environment(workload: Workload) -> list[EnvVarArgs]:
    """Variables as the plan has them. None is a secret."""
    return [EnvVarArgs(name=name, value=value) for name, value in workload.env.items()]


def resources(scope: Scope, workload: Workload) -> ResourceRequirementsArgs:
    """Memory is always limited; CPU where the topology says so, for a throttled Redis or resurrector looks dead."""
    limits = {"memory": quantity(workload.memory)} | ({"cpu": cpu(workload.cpus)} if workload.cpus else {})
    requests = {
        "memory": quantity(workload.memory_request or workload.memory),
        "cpu": cpu(workload.cpu_request or scope.options.cpu_request),
    }
    return ResourceRequirementsArgs(limits=limits, requests=requests)


def start(workload: Workload) -> Probe | None:
    """The plan's start probe. Where it only grants time to start, liveness begins after that."""
    live, ready = workload.live, workload.ready
    if workload.start or live is None or ready is None or not ready.start_period:
        return workload.start
    return Probe(live.command, ready.every, live.timeout, seconds(ready.start_period / ready.every) + ready.failures)


def probe(value: Probe | None) -> ProbeArgs | None:
    """A command, and how often it may fail."""
    if value is None:
        return None
    return ProbeArgs(
        exec_=ExecActionArgs(command=list(value.command)),
        period_seconds=seconds(value.every),
        timeout_seconds=seconds(value.timeout),
        failure_threshold=value.failures,
    )


def lifecycle(workload: Workload) -> LifecycleArgs | None:
    """The pause before SIGTERM. It is part of the grace."""
    if not workload.pre_stop:
        return None
    pause = ExecActionArgs(command=["sleep", str(seconds(workload.pre_stop))])
    return LifecycleArgs(pre_stop=LifecycleHandlerArgs(exec_=pause))


def spread(scope: Scope, workload: Workload) -> Sequence[TopologySpreadConstraintArgs]:
    """Over zones, then over hosts, as evenly as there is room: a full zone must not stop a worker."""
    return [
        TopologySpreadConstraintArgs(
            max_skew=1,
            topology_key=key,
            when_unsatisfiable="ScheduleAnyway",
            label_selector=chosen(scope.selector(workload.name)),
        )
        for key in (ZONE, HOST)
    ]


def apart(scope: Scope, workload: Workload) -> AffinityArgs:
    """Two of a kind on one host die together. Preferred, so that one host is enough to try it."""
    term = PodAffinityTermArgs(topology_key=HOST, label_selector=chosen(scope.selector(workload.name)))
    preferred = [WeightedPodAffinityTermArgs(weight=100, pod_affinity_term=term)]
    return AffinityArgs(
        pod_anti_affinity=PodAntiAffinityArgs(preferred_during_scheduling_ignored_during_execution=preferred)
    )


def checksummed(**sums: pulumi.Input[str] | None) -> dict[str, Any]:
    """Those that are there."""
    return {name: value for name, value in sums.items() if value is not None}
