"""Scripts and settings of a workload, as a ConfigMap of its own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pulumi
from pulumi_kubernetes.core.v1 import ConfigMap

from infra.pulumi.components.k8s_scope import Scope
from infra.pulumi.components.k8s_volumes import base
from infra.topology import emit
from infra.topology.build_redis import overlay_source
from infra.topology.workload import Workload

ROOT = Path(__file__).resolve().parents[3]


def contents(scope: Scope, workload: Workload) -> dict[str, str]:
    """File name → text. The overlay is this topology's, overrides included, not the one of the kit's stack."""
    made = {overlay_source(scope.topology): emit.overlay(scope.topology, scope.topology.tier)}
    return {base(file.path): made.get(file.source) or read(file.source) for file in workload.files}


def read(source: str) -> str:
    return (ROOT / source).read_text(encoding="utf-8")


def checksum(scope: Scope, workload: Workload) -> str | None:
    """Changes with any of the files."""
    found = contents(scope, workload)
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:32] if found else None


def config_map(scope: Scope, workload: Workload, opts: pulumi.ResourceOptions) -> ConfigMap | None:
    """The files, where a workload has any."""
    name = f"{workload.name}-files"
    found = contents(scope, workload)
    return ConfigMap(name, metadata=scope.meta(name, workload.name), data=found, opts=opts) if found else None
