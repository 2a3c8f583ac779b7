"""How many workers a host carries: the starting points of the deployment guide, as a function."""

from __future__ import annotations

from dataclasses import dataclass

from infra.topology.model import recommended_connections

SMALL_CONCURRENCY = 4
CONCURRENCY = 8


@dataclass(frozen=True, slots=True)
class Capacity:
    """One worker a CPU, each with so many tasks at once. Profile your tasks, then adjust."""

    cpus: int
    workers: int
    concurrency: int
    connections: int

    @property
    def total_connections(self) -> int:
        """Connections of all workers to Redis."""
        return self.workers * self.connections


def capacity(cpus: int) -> Capacity:
    """What a host with 1 GB a CPU carries; a single CPU shares it with the system and takes half the concurrency."""
    if cpus < 1:
        raise ValueError(f"cpus is {cpus}; write 1 or more.")
    concurrency = SMALL_CONCURRENCY if cpus == 1 else CONCURRENCY
    return Capacity(cpus, cpus, concurrency, recommended_connections(concurrency))
