"""What a backend would say of a workload that runs exactly as planned."""

from __future__ import annotations

from infra.topology.workload import Workload
from tests.infra.conformance.adapters.base import Facts, Instance, Mount


def instance(workload: Workload) -> Instance:
    return Instance(f"project-{workload.name}-1", workload.name)


def facts(workload: Workload) -> Facts:
    return Facts(
        image=workload.image,
        user=workload.user,
        memory=workload.memory,
        argv=("tini", "--", *workload.argv),
        env=dict(workload.env) | {"PATH": "/usr/bin"},
        mounts=mounts(workload),
        read_only_root=workload.read_only,
        restart=workload.restart,
        grace=workload.grace,
        published={port.port: (port.published,) for port in workload.ports if port.published},
        networks=workload.networks,
        address=workload.address,
        hosts=workload.hosts,
        checks={"health": workload.health} if workload.health else {},
        health="healthy",
        privileges=(),
    )


def mounts(workload: Workload) -> tuple[Mount, ...]:
    return (
        *(Mount(secret.path, "bind", "/run/files/secret", True) for secret in workload.secrets),
        *(Mount(file.path, "bind", f"/project/{file.source}", True) for file in workload.files),
        *(Mount(volume.path, "volume", volume.volume, volume.read_only) for volume in workload.volumes),
        *(Mount(path, "tmpfs") for path in workload.tmpfs),
    )
