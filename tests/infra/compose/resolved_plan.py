"""What a Compose file must say, made from the plan; and the two compared, one sentence a difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.topology import Plan, plan_of, read
from infra.topology.build_redis import NETWORK
from infra.topology.plan import Workload
from infra.topology.shape import said
from infra.topology.workload import FileMount, Network, Probe, SecretMount, VolumeMount
from tests.infra.compose.resolved import GIVEN

APP = ("worker", "resurrector")
BUILD = {"context": ".", "dockerfile": "infra/compose/Dockerfile", "args": {"PIP_INDEX_URL": ""}}
# What the plan leaves to the tier: no capability, no new one, a bound on processes.
CLOSED = {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"], "pids_limit": 512}
SIZES = ("mem_limit", "memswap_limit")
SPANS = ("stop_grace_period", "interval", "timeout", "start_period")


def planned(tier: str) -> dict[str, Any]:
    """The form of the file that the plan of a tier asks for."""
    plan = plan_of(read(tier))
    names = {secret for workload in plan.workloads for secret in map(source_of, workload.secrets)}
    return {
        "name": f"{plan.name}-{tier}",
        "networks": {net.name: network(net) for net in plan.networks},
        "volumes": {mount.volume: {} for mount in plan.volumes},
        "secrets": {name: {"file": file} for name, file in sorted(names)},
        "services": {workload.name: service(workload, plan) for workload in plan.workloads},
    }


def network(planned: Network) -> dict[str, Any]:
    """Closed or not, and where its addresses come from."""
    pool = {"subnet": planned.subnet, "ip_range": planned.free}
    return ({"internal": True} if planned.internal else {}) | ({"ipam": {"config": [pool]}} if planned.subnet else {})


def source_of(mount: SecretMount) -> tuple[str, str]:
    """The file's name for a secret, and the host's file: several users may share one password."""
    variable = mount.reference.removeprefix("env:")
    if mount.keys:
        return mount.name, GIVEN["REDIS_EXPORTER_PASSWORD_FILE"]
    return variable.partition("_")[0].lower(), GIVEN[f"{variable}_FILE"]


def service(workload: Workload, plan: Plan) -> dict[str, Any]:
    """A workload in Compose's words."""
    app = workload.kind in APP
    optional = {
        "environment": dict(workload.env),
        "secrets": {mount.path: source_of(mount)[1] for mount in workload.secrets},
        "volumes": dict(mounts(workload)),
        "ports": {str(port.port): port.published for port in workload.ports if port.published},
        "networks": {name: joined(workload, name) for name in workload.networks},
        "extra_hosts": dict(workload.hosts),
        "depends_on": {wait.name: {"condition": f"service_{wait.condition}"} for wait in workload.depends_on},
        "healthcheck": health(workload.health),
        "profiles": ["grafana"] if workload.kind == "grafana" else [],
        "build": BUILD if app else {},
        "network_mode": "" if workload.networks else "none",
    }
    return {
        "command": list(workload.argv),
        "image": workload.image,
        "user": workload.user,
        "mem_limit": workload.memory,
        "memswap_limit": workload.memory,
        "stop_grace_period": workload.grace,
        "restart": workload.restart,
        "read_only": workload.read_only,
        "tmpfs": list(workload.tmpfs),
        "init": not app,  # the application's image has one of its own
        "logging": logs(plan),
        **CLOSED,
        **{key: value for key, value in optional.items() if value},
    }


def joined(workload: Workload, name: str) -> dict[str, str]:
    """How it is on a network: nodes have an address of their own on the one of the data."""
    return {"ipv4_address": workload.address} if workload.address and name == NETWORK else {}


def logs(plan: Plan) -> dict[str, Any]:
    """Rotation."""
    return {
        "driver": "json-file",
        "options": {"max-size": f"{plan.log_size // 1024**2}m", "max-file": str(plan.log_files)},
    }


def mounts(workload: Workload) -> Iterator[tuple[str, dict[str, Any]]]:
    """Disks and files by their place in the container."""
    for mount in (*workload.volumes, *workload.files):
        yield mount.path, disk(mount) if isinstance(mount, VolumeMount) else file(mount)


def disk(mount: VolumeMount) -> dict[str, Any]:
    """A named volume."""
    return {"type": "volume", "source": mount.volume} | ({"read_only": True} if mount.read_only else {})


def file(mount: FileMount) -> dict[str, Any]:
    """A file of the project."""
    return {"type": "bind", "source": mount.source, "read_only": True}


def health(probe: Probe | None) -> dict[str, Any]:
    """The one check that Compose knows."""
    if probe is None:
        return {}
    return {
        "test": ["CMD", *probe.command],
        "interval": probe.every,
        "timeout": probe.timeout,
        "retries": probe.failures,
        "start_period": probe.start_period,
    }


def differences(file: Mapping[str, Any], plan: Mapping[str, Any]) -> list[str]:
    """`worker-high.stop_grace_period: file says 10s, plan says 60s.`"""
    return [f"{sentence}." for sentence in _compare("", file, plan)]


def _compare(path: str, file: Any, plan: Any) -> Iterator[str]:
    if isinstance(file, Mapping) and isinstance(plan, Mapping):
        for key in dict.fromkeys([*plan, *file]):
            below = f"{path}.{key}".removeprefix(".").removeprefix("services.")
            if key not in file:
                yield f"{below}: file has it not, plan says {_said(key, plan[key])}"
            elif key not in plan:
                yield f"{below}: file says {_said(key, file[key])}, plan has it not"
            else:
                yield from _compare(below, file[key], plan[key])
    elif file != plan or (isinstance(file, bool) and not isinstance(plan, bool)):
        key = path.rpartition(".")[2]
        yield f"{path}: file says {_said(key, file)}, plan says {_said(key, plan)}"


def _said(key: str, value: Any) -> str:
    unit = "memory" if key in SIZES else "grace" if key in SPANS else key
    return said(unit, tuple(value) if isinstance(value, list) else value)
