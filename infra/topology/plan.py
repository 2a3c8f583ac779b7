"""Topology → workloads. Knows no YAML, no Pulumi and no Ansible: they are held to what is decided here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.topology.build_app import resurrector, workers
from infra.topology.build_redis import NETWORK, backups, data_nodes, drills, sentinels
from infra.topology.build_telemetry import watchers
from infra.topology.workload import Network, Plan, Workload

if TYPE_CHECKING:
    from infra.topology.model import Topology

__all__ = ["Network", "Plan", "Workload", "plan_of"]


def _networks(topology: Topology) -> tuple[Network, ...]:
    """Redis apart from the rest; with Sentinels on a network that is not closed.

    A closed one leaves the question for a name that is gone, the killed master's, without an answer for 10 s, and a
    Sentinel that waits so long elects nobody.
    """
    if topology.tier not in ("dev", "prod"):
        return ()
    return (Network(NETWORK, internal=topology.sentinel is None), Network("edge"))


def plan_of(topology: Topology) -> Plan:
    """All workloads of a topology, in the order in which they start."""
    return Plan(
        name=topology.name,
        tier=topology.tier,
        workloads=(
            *data_nodes(topology),
            *sentinels(topology),
            *workers(topology),
            resurrector(topology),
            *backups(topology),
            *drills(topology),
            *watchers(topology),
        ),
        networks=_networks(topology),
        maxclients=topology.redis.maxclients,
        reserved_clients=topology.redis.reserved_clients,
    )
