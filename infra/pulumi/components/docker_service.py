"""A workload as containers: what Compose calls a service, with its replicas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pulumi
import pulumi_docker as docker

from infra.pulumi.components.docker_base import Base
from infra.pulumi.components.docker_files import Files, is_source, uploads
from infra.pulumi.settings import ROOT, Deployment
from infra.topology.build_redis import NETWORK
from infra.topology.units import number
from infra.topology.workload import Port, Probe, Workload

MIB = 1024**2
WAIT = 300  # seconds; where a check has more patience, so has the provider
APP = ("worker", "resurrector")  # their image has an init of its own
# Docker keeps a container's health check for life: an edit that is not a replacement is reported and never happens.
REPLACE = ["healthcheck", "tmpfs"]
# An image that Compose built passes its project's label on, and `docker compose down` there would remove these too.
NO_COMPOSE = {"com.docker.compose.project": ""}


class Service(pulumi.ComponentResource):
    """All containers of one workload. `containers` are in the order of their numbers."""

    containers: Sequence[docker.Container]

    def __init__(
        self,
        name: str,
        *,
        deployment: Deployment,
        base: Base,
        workload: Workload,
        wait: bool,
        labels: Mapping[str, str],
        after: Sequence[pulumi.Input[pulumi.Resource]] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("relier:docker:Service", name, {}, opts)
        image = base.images[workload.image or ""]
        marks = {**labels, **NO_COMPOSE, "relier.workload": name}
        made: list[docker.Container] = []
        for place in range(1, workload.replicas + 1):
            # One after another, files included: an update never takes a whole pool away.
            files = self._files(deployment, workload, image, marks, made)
            properties = container(deployment, workload, base, files.holder if files else None, image, marks, wait)
            first = [image, *(base.volumes[mount.volume] for mount in workload.volumes), *after, *made[-1:]]
            made.append(
                docker.Container(
                    f"{name}-{place}",
                    name=f"{deployment.project}-{name}-{place}",
                    **properties,
                    opts=pulumi.ResourceOptions(
                        parent=self,
                        depends_on=first,
                        delete_before_replace=True,
                        replace_on_changes=REPLACE,
                    ),
                )
            )
        self.containers = made
        self.register_outputs({"containers": [each.name for each in made]})

    def _files(
        self,
        deployment: Deployment,
        workload: Workload,
        image: docker.RemoteImage,
        labels: Mapping[str, str],
        before: Sequence[docker.Container],
    ) -> Files | None:
        """Those of the next container. The first one's go by the workload's name alone."""
        files = uploads(deployment, workload)
        if not files:
            return None
        return Files(
            f"{workload.name}-{len(before) + 1}-files" if before else f"{workload.name}-files",
            project=deployment.project,
            image=image,
            reference=workload.image or "",
            uploads=files,
            labels={**labels, "relier.holds": "files"},
            after=before[-1:],
            opts=pulumi.ResourceOptions(parent=self),
        )


def container(
    deployment: Deployment,
    workload: Workload,
    base: Base,
    holder: docker.Container | None,
    image: docker.RemoteImage,
    labels: Mapping[str, str],
    wait: bool,
) -> dict[str, Any]:
    """The properties that all containers of a workload share."""
    return {
        "image": workload.image,
        **command(workload),
        "user": workload.user,
        "envs": [f"{name}={value}" for name, value in sorted(workload.env.items())],
        **limits(workload),
        **confinement(workload),
        **networking(workload, base),
        **leaving(workload),
        "restart": workload.restart,
        "init": workload.kind not in APP,
        "tmpfs": dict.fromkeys(workload.tmpfs, ""),
        "volumes": list(volumes(workload, base, holder)),
        "log_driver": "json-file",
        "log_opts": {"max-size": f"{deployment.plan.log_size // MIB}m", "max-file": str(deployment.plan.log_files)},
        # Nobody sees an image that was built anew under the same tag, except by its identity.
        "labels": [
            *({"label": label, "value": value} for label, value in labels.items()),
            {"label": "relier.image", "value": image.image_id},
        ],
        **health(workload.health, wait),
    }


def command(workload: Workload) -> dict[str, Any]:
    """A program of ours replaces the image's entrypoint; anything else is handed to it."""
    if workload.argv and workload.argv[0].startswith("/"):
        return {"entrypoints": [workload.argv[0]], "command": list(workload.argv[1:])}
    return {"command": list(workload.argv)} if workload.argv else {}


def limits(workload: Workload) -> dict[str, Any]:
    """Memory without swap on top, for a limit that is not given back is shown as a change for ever."""
    size = -(-workload.memory // MIB)
    return {"memory": size, "memory_swap": size, **({"cpus": number(workload.cpus)} if workload.cpus else {})}


def confinement(workload: Workload) -> dict[str, Any]:
    """Nothing that the process does not need."""
    return {
        "read_only": workload.read_only,
        "capabilities": {"drops": ["ALL"]},
        "security_opts": ["no-new-privileges:true"],
    }


def leaving(workload: Workload) -> dict[str, Any]:
    """pulumi-docker kills what it replaces unless the grace was in its state before, so it is there from the first."""
    seconds = int(-(-workload.grace // 1))
    return {"stop_timeout": seconds, "destroy_grace_seconds": seconds}


def networking(workload: Workload, base: Base) -> dict[str, Any]:
    """Others find it by the workload's name, on every network that it is in."""
    ports = [publish(port) for port in workload.ports if port.published]
    if not workload.networks:
        return {"network_mode": "none"}
    joined = [
        {"name": base.networks[name].name, "aliases": [workload.name], **addressed(workload, name)}
        for name in workload.networks
    ]
    hosts = [{"host": name, "ip": address} for name, address in workload.hosts.items()]
    return {"networks_advanced": joined, **({"hosts": hosts} if hosts else {}), **({"ports": ports} if ports else {})}


def addressed(workload: Workload, network: str) -> dict[str, str]:
    """A node's own address, on the one network where it has one."""
    return {"ipv4_address": workload.address} if workload.address and network == NETWORK else {}


def publish(port: Port) -> dict[str, Any]:
    """A published port with its address."""
    address, _, number_ = str(port.published).rpartition(":")
    return {"internal": port.port, "external": int(number_), "ip": address.strip("[]"), "protocol": "tcp"}


def volumes(workload: Workload, base: Base, holder: docker.Container | None) -> Iterator[dict[str, Any]]:
    """Durable disk, the code under work, and the folders that the holder filled."""
    for mount in workload.volumes:
        named = base.volumes[mount.volume].name
        yield {"container_path": mount.path, "volume_name": named, "read_only": mount.read_only}
    for file in filter(is_source, workload.files):
        yield {"container_path": file.path, "host_path": str(ROOT / file.source), "read_only": True}
    if holder is not None:
        yield {"from_container": pulumi.Output.concat(holder.id, ":ro")}


def health(probe: Probe | None, wait: bool) -> dict[str, Any]:
    """The one check that Docker knows, and whether what comes next waits for it."""
    if probe is None:
        return {}
    check = {
        "tests": ["CMD", *probe.command],
        "interval": duration(probe.every),
        "timeout": duration(probe.timeout),
        "retries": probe.failures,
        "start_period": duration(probe.start_period),
    }
    timeout = max(WAIT, round(probe.patience))
    return {"healthcheck": check, **({"wait": True, "wait_timeout": timeout} if wait else {})}


def duration(seconds: float) -> str:
    """As Go prints it, so that what is read back is no difference."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = [f"{hours}h" if hours else "", f"{minutes}m" if hours or minutes else "", f"{number(rest)}s"]
    return "".join(parts)
