"""What containers stand on: networks, volumes and images, named as Compose names them."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
import pulumi_docker as docker

from infra.topology import Plan
from infra.topology.workload import Network


class Base(pulumi.ComponentResource):
    """Networks, volumes and images of a whole plan."""

    networks: Mapping[str, docker.Network]
    volumes: Mapping[str, docker.Volume]
    images: Mapping[str, docker.RemoteImage]

    def __init__(
        self,
        name: str,
        *,
        project: str,
        plan: Plan,
        labels: Mapping[str, str],
        protect: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("relier:docker:Base", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        marks = [{"label": label, "value": value} for label, value in labels.items()]
        self.networks = {
            network.name: docker.Network(
                network.name,
                name=f"{project}_{network.name}",
                driver="bridge",
                internal=network.internal,
                ipam_configs=pool(network),
                labels=marks,  # type: ignore[arg-type]
                opts=child,
            )
            for network in plan.networks
        }
        # Docker labels a volume for life, so the provider would replace it for another label, and empty it by that.
        kept = pulumi.ResourceOptions(parent=self, protect=protect, ignore_changes=["labels"])
        self.volumes = {
            mount.volume: docker.Volume(
                mount.volume,
                name=f"{project}_{mount.volume}",
                labels=marks,  # type: ignore[arg-type]
                opts=kept,
            )
            for mount in plan.volumes
        }
        # Taken from the engine if it is there, else pulled; `destroy` leaves it.
        self.images = {
            image: docker.RemoteImage(image, name=image, keep_locally=True, opts=child)
            for image in dict.fromkeys(workload.image for workload in plan.workloads)
            if image
        }
        self.register_outputs({"networks": [network.name for network in self.networks.values()]})


def pool(network: Network) -> list[docker.NetworkIpamConfigArgs]:
    """Where addresses come from; nothing, where the engine may choose."""
    if network.subnet is None:
        return []
    return [docker.NetworkIpamConfigArgs(subnet=network.subnet, ip_range=network.free)]
