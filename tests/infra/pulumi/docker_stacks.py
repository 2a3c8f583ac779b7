"""Recorded Docker stacks, read back into the plan's words and compared with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from infra.pulumi.engine import Engine
from infra.pulumi.program import main
from infra.topology.plan import Plan
from infra.topology.workload import Workload
from tests.infra.pulumi.recorder import Recorded, Resources, Secret, record, reveal

CONTAINER = "docker:index/container:Container"
PASSWORDS = {
    "redis_password": "r3d-of-redis",
    "sentinel_password": "s3n-of-sentinel",
    "grafana_password": "gr4-of-grafana",
}
GIVEN = {"dev": {}, "prod": PASSWORDS}
MIB = 1024**2


class NobodyElse(Engine):
    """An engine on which nothing runs: nobody holds names there, and nobody is waited for."""

    def ask(self, *arguments: str) -> list[str]:
        return []

    async def healthy(self, containers: Any) -> None:
        return None


def recorded(stack: str = "dev", secrets: dict[str, str] | None = None, **config: Any) -> Resources:
    """The resources of a stack of the kit."""
    given = GIVEN.get(stack, {}) if secrets is None else secrets
    return record(lambda: main(NobodyElse()), stack=stack, config=config, secrets=given)


@cache
def shipped(stack: str) -> Resources:
    """The resources of a stack as it is shipped."""
    return recorded(stack)


def named(resources: list[Recorded], name: str, kind: str = CONTAINER) -> Recorded:
    """The one resource of a type and a name."""
    return next(each for each in resources if each.name == name and each.type == kind)


def containers(resources: list[Recorded], workload: str) -> list[Recorded]:
    """The running containers of a workload."""
    return [each for each in resources if each.type == CONTAINER and each.parent_name == workload]


def differences(plan: Plan, resources: list[Recorded]) -> Iterator[str]:
    """One sentence for each value in which a recorded container departs from the plan."""
    project = f"{plan.name}-{plan.tier}"
    for workload in plan.workloads:
        found = sorted(containers(resources, workload.name), key=lambda each: each.name)
        names = [f"{project}-{workload.name}-{place}" for place in range(1, workload.replicas + 1)]
        if (recorded_names := [each.inputs["name"] for each in found]) != names:
            yield f"{workload.name}: the containers are {recorded_names}, the plan says {names}."
        for each in found:
            wanted, made = said(workload, project, plan), read(each, resources)
            for field in sorted({*wanted, *made}):
                if wanted.get(field) != made.get(field):
                    yield f"{each.name}.{field}: recorded {made.get(field)!r}, the plan says {wanted.get(field)!r}."


def said(workload: Workload, project: str, plan: Plan) -> dict[str, Any]:
    """What the plan says of a workload."""
    probe = workload.health
    check = probe and (("CMD", *probe.command), probe.every, probe.timeout, probe.failures, probe.start_period)
    return {
        "image": workload.image,
        "argv": list(workload.argv),
        "user": workload.user,
        "env": dict(workload.env),
        "memory": workload.memory,
        "cpus": workload.cpus,
        "grace": workload.grace,
        "restart": workload.restart,
        "read_only": workload.read_only,
        "tmpfs": sorted(workload.tmpfs),
        "networks": {f"{project}_{name}": [workload.name] for name in workload.networks},
        "address": {f"{project}_data": workload.address} if workload.address else {},
        "hosts": dict(workload.hosts),
        "ports": sorted(f"{port.published}:{port.port}" for port in workload.ports if port.published),
        "volumes": sorted((f"{project}_{m.volume}", m.path, m.read_only) for m in workload.volumes),
        "health": check,
        "secrets": {mount.path: mount.keys for mount in workload.secrets},
        "files": sorted(mount.path for mount in workload.files),
        "logs": (plan.log_size, plan.log_files),
    }


def read(container: Recorded, resources: list[Recorded]) -> dict[str, Any]:
    """What was recorded of a container and of the files that it takes over, in the plan's words."""
    made = reveal(container.inputs)
    held = reveal(holder(container, resources).inputs["uploads"]) if holder(container, resources) else []
    return {
        "image": made["image"],
        "argv": [*made.get("entrypoints", ()), *made.get("command", ())],
        "user": made["user"],
        "env": dict(entry.split("=", 1) for entry in made["envs"]),
        "memory": made["memory"] * MIB if made["memory"] == made["memorySwap"] else "not as much as swap",
        "cpus": float(made["cpus"]) if "cpus" in made else None,
        "grace": made["stopTimeout"] if made["stopTimeout"] == made["destroyGraceSeconds"] else "two graces",
        "restart": made["restart"],
        "read_only": made["readOnly"],
        "tmpfs": sorted(made["tmpfs"]),
        "networks": {entry["name"]: entry["aliases"] for entry in made.get("networksAdvanced", ())},
        "address": {e["name"]: e["ipv4Address"] for e in made.get("networksAdvanced", ()) if "ipv4Address" in e},
        "hosts": {entry["host"]: entry["ip"] for entry in made.get("hosts", ())},
        "ports": sorted(f"{p['ip']}:{p['external']}:{p['internal']}" for p in made.get("ports", ())),
        "volumes": sorted(
            (v["volumeName"], v["containerPath"], v["readOnly"]) for v in made["volumes"] if "volumeName" in v
        ),
        "health": _check(made.get("healthcheck")),
        "secrets": {u["file"]: _keys(u["content"]) for u in held if u["file"].startswith("/run/secrets/")},
        "files": sorted(_files(made, held)),
        "logs": (int(made["logOpts"]["max-size"].rstrip("m")) * MIB, int(made["logOpts"]["max-file"])),
    }


def holder(container: Recorded, resources: list[Recorded]) -> Recorded | None:
    """The container whose folders another takes over."""
    taken = [v["fromContainer"] for v in container.inputs.get("volumes", ()) if "fromContainer" in v]
    return named(resources, taken[0].removesuffix("-id:ro")) if taken else None


def secret_uploads(resources: list[Recorded]) -> list[tuple[str, str, Any]]:
    """Container, path and content of every file below /run/secrets."""
    uploads = [(each.name, upload) for each in resources for upload in each.inputs.get("uploads", ())]
    return [(name, u["file"], u["content"]) for name, u in uploads if u["file"].startswith("/run/secrets/")]


def in_clear(value: Any, texts: list[str]) -> bool:
    """Does one of these texts stand outside a secret?"""
    if isinstance(value, Secret):
        return False
    if isinstance(value, dict):
        return any(in_clear(entry, texts) for entry in value.values())
    if isinstance(value, list):
        return any(in_clear(entry, texts) for entry in value)
    return any(text in str(value) for text in texts)


def _check(made: dict[str, Any] | None) -> Any:
    if made is None:
        return None
    times = (seconds(made[name]) for name in ("interval", "timeout"))
    return (tuple(made["tests"]), *times, made["retries"], seconds(made["startPeriod"]))


def seconds(text: str) -> float:
    """`1m30s` as 90."""
    total, digits = 0.0, ""
    for letter in text:
        if letter in "hms":
            total += float(digits) * {"h": 3600, "m": 60, "s": 1}[letter]
            digits = ""
        else:
            digits += letter
    return total


def _keys(content: str) -> tuple[str, ...]:
    return tuple(json.loads(content)) if content.startswith("{") else ()


def _files(made: dict[str, Any], held: list[dict[str, Any]]) -> set[str]:
    """Mount points: a folder of Grafana is one for all files in it."""
    bound = {v["containerPath"] for v in made["volumes"] if "hostPath" in v}
    uploaded = {u["file"] for u in held if not u["file"].startswith("/run/secrets/")}
    grafana = {f"/etc/grafana/{path.split('/')[3]}" for path in uploaded if path.startswith("/etc/grafana/")}
    return bound | grafana | {path for path in uploaded if not path.startswith("/etc/grafana/")}
