"""Topology → workloads. Knows no YAML, no Pulumi and no Ansible: they are held to what is decided here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from infra.topology import addresses
from infra.topology.build_app import resurrector, workers
from infra.topology.build_redis import NETWORK, backups, data_nodes, drills, sentinels
from infra.topology.build_telemetry import watchers
from infra.topology.workload import Network, Plan, Workload

if TYPE_CHECKING:
    from infra.topology.model import Topology

__all__ = ["Network", "Plan", "Workload", "plan_of"]


def _networks(topology: Topology) -> tuple[Network, ...]:
    """Redis apart from the rest, without a way out."""
    if not topology.on_docker:
        return ()
    subnet = topology.subnet
    data = Network(NETWORK, internal=True, subnet=subnet, free=addresses.free(subnet) if subnet else None)
    return (data, Network("edge"))


def _addressed(workload: Workload, known: Mapping[str, str]) -> Workload:
    """With its own address, and those of all nodes if it talks to them."""
    if NETWORK not in workload.networks or not known:
        return workload
    return replace(workload, address=known.get(workload.name), hosts=known)


def plan_of(topology: Topology) -> Plan:
    """All workloads of a topology, in the order in which they start."""
    known = addresses.fixed(topology)
    workloads = (
        *data_nodes(topology),
        *sentinels(topology),
        *workers(topology),
        resurrector(topology),
        *backups(topology),
        *drills(topology),
        *watchers(topology),
    )
    return Plan(
        name=topology.name,
        tier=topology.tier,
        workloads=tuple(_addressed(workload, known) for workload in workloads),
        networks=_networks(topology),
        maxclients=topology.redis.maxclients,
        reserved_clients=topology.redis.reserved_clients,
    )
