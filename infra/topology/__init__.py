"""One typed model of a deployment. It decides; Compose, Pulumi and Ansible are held to it."""

from __future__ import annotations

from infra.topology.load import Refused, read, topology_of
from infra.topology.model import Topology
from infra.topology.plan import Plan, plan_of

__all__ = ["Plan", "Refused", "Topology", "plan_of", "read", "topology_of"]
