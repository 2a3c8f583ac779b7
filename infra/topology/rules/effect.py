"""What a tier would ignore without a word is refused: whoever wrote it expects something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from infra.topology.rules.finding import Finding, rule, wrong
from infra.topology.units import size, span

if TYPE_CHECKING:
    from infra.topology.model import Topology

DOCKER = ("dev", "prod")
IMAGES = (*DOCKER, "k8s")
#: Where a value has an effect; `*` stands for every pool.
EFFECTIVE: dict[str, tuple[str, ...]] = {
    "app.image": IMAGES,
    "app.package": ("bare",),
    "redis.managed": ("k8s",),
    "redis.image": IMAGES,
    "redis.storage": ("k8s",),
    "sentinel.image": IMAGES,
    "workers.*.pre_stop": ("k8s",),
    "workers.*.memory_request": ("k8s",),
    "workers.*.cpu_request": ("k8s",),
    "resurrector.memory_request": ("k8s",),
    "resurrector.cpu_request": ("k8s",),
    "checkpoints.size": ("k8s",),
    "checkpoints.storage_class": ("k8s",),
    "backup.image": IMAGES,
    "backup.storage": ("k8s",),
    "telemetry.collector": DOCKER,
    "telemetry.prometheus": DOCKER,
    "telemetry.grafana": DOCKER,
    "telemetry.redis_exporter": IMAGES,
}


@rule
def nothing_is_said_in_vain(topology: Topology) -> Iterator[Finding]:
    for pattern, tiers in EFFECTIVE.items():
        if topology.tier not in tiers:
            where = " or ".join(tiers)
            for path, value in _written(topology, pattern):
                why = f"which tier {topology.tier} would ignore"
                yield wrong(path, _said(path, value), why, f"remove it; it is for tier {where}")


def _written(topology: Topology, pattern: str) -> Iterator[tuple[str, Any]]:
    """Path and value of what the stack itself writes; defaults do not count."""
    section, *middle, field = pattern.split(".")
    part = getattr(topology, section)
    parts = {f"{section}.{name}": pool for name, pool in part.items()} if middle else {section: part}
    for path, owner in parts.items():
        if owner is not None and field in owner.model_fields_set and getattr(owner, field) is not None:
            yield f"{path}.{field}", getattr(owner, field)


def _said(path: str, value: Any) -> str:
    """A value as the stack writes it; what has parts is merely given."""
    if path == "redis.managed":
        return "given"
    if path.endswith((".storage", ".size", ".memory_request")):
        return size(value)
    return span(value) if path.endswith(".pre_stop") else str(value)
