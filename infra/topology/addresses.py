"""Addresses of Redis and Sentinels on a Docker network: a name that needs no resolver is known while its node is dead.

Docker forgets the name of a container that stopped, and asks the host's resolver instead. A Sentinel that waits there
for more than 2 s mistrusts its own clock and elects nobody for half a minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.topology.model import Topology

REDIS_FROM, SENTINELS_FROM = 10, 60


def fixed(topology: Topology) -> Mapping[str, str]:
    """Node → address, for every node of Redis and every Sentinel."""
    if topology.subnet is None or topology.sentinel is None:
        return {}
    subnet = IPv4Network(topology.subnet)
    places = [*enumerate(topology.redis.nodes, REDIS_FROM), *enumerate(topology.sentinel.nodes, SENTINELS_FROM)]
    return {node: str(subnet[place]) for place, node in places}


def free(subnet: str) -> str:
    """The half from which the engine takes addresses for everything else."""
    return str([*IPv4Network(subnet).subnets()][1])
