"""What the model writes for others: Ansible's variables, Redis overlays, `.env.example`, the schema for editors.

Every file says where it came from, and its bytes depend on the stack alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from typing import Any, Literal

from infra.topology import environment, yamlio
from infra.topology.build_redis import FALLBACK, overlay_source
from infra.topology.model import Persistence, Topology
from infra.topology.plan import Plan, plan_of
from infra.topology.units import milliseconds, number, size
from infra.topology.workload import Workload

SCHEMA = "infra/topology/stacks/topology.schema.json"
GROUP_VARS = "infra/ansible/group_vars/all/topology.yml"
INVENTORY_VARS = "group_vars/relier/topology.yml"
SINGLE, SINGLE_VARS = "bare-single", f"infra/ansible/inventory/sample/single/{INVENTORY_VARS}"
ENV_EXAMPLE = "infra/compose/.env.example"
BASELINE = Persistence()


def files(topology: Topology, stack: str) -> dict[str, str]:
    """Path from the project's root → text, for a topology."""
    made = {SCHEMA: schema()}
    if not topology.redis.managed and stack != SINGLE:
        made[overlay_source(topology)] = overlay(topology, stack)
    if topology.tier == "bare":
        made[SINGLE_VARS if stack == SINGLE else GROUP_VARS] = group_vars(topology, stack)
    if topology.tier == "prod":
        made[ENV_EXAMPLE] = env_example(topology, stack)
    return dict(sorted(made.items()))


def inventory(topology: Topology, stack: str, folder: str) -> dict[str, str]:
    """Path in an inventory of Ansible → text: there the variables win over those that are emitted for everybody."""
    return {INVENTORY_VARS: group_vars(topology, stack, f"--into {folder}")}


def origin(stack: str, where: str = "--to .") -> str:
    """The first line of an emitted file."""
    return f"# Written by `python -m infra.topology emit {stack} {where}`; edit the stack, not this file.\n"


@cache
def schema() -> str:
    """The JSON schema of a stack, for editors."""
    body = Topology.model_json_schema()
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Relier topology"}
    return json.dumps({**head, **{k: v for k, v in body.items() if k != "title"}}, indent=2, ensure_ascii=False) + "\n"


def overlay(topology: Topology, stack: str) -> str:
    """What a tier sets after `redis.conf`. Directory, passwords, users and the node's name are the entrypoint's."""
    lines = [*_reach(topology), *_limits(topology), *_disk(topology), *_replication(topology)]
    return origin(stack) + "".join(f"{line}\n" for line in lines)


def _reach(topology: Topology) -> Iterator[str]:
    """Containers listen on their networks; a host's address is the role's to write."""
    if topology.containers:
        yield "bind * -::*"
    if not topology.redis.acl:
        yield "protected-mode no"
    if topology.redis.port != 6379:
        yield f"port {topology.redis.port}"


def _limits(topology: Topology) -> Iterator[str]:
    yield f"maxmemory {size(topology.redis.maxmemory)}"
    yield f"maxclients {topology.redis.maxclients}"


def _disk(topology: Topology) -> Iterator[str]:
    part = topology.redis.persistence
    if part.appendfsync != BASELINE.appendfsync:
        yield f"appendfsync {part.appendfsync}"
    if part.rewrite_percentage != BASELINE.rewrite_percentage:
        yield f"auto-aof-rewrite-percentage {part.rewrite_percentage}"
    if part.rewrite_min_size != BASELINE.rewrite_min_size:
        yield f"auto-aof-rewrite-min-size {size(part.rewrite_min_size)}"
    if part.snapshots != BASELINE.snapshots:
        yield 'save ""'
        yield from (f"save {seconds} {changes}" for seconds, changes in part.snapshots)


def _replication(topology: Topology) -> Iterator[str]:
    """On every node, for roles change."""
    if topology.redis.replicas:
        yield f"min-replicas-to-write {topology.redis.min_replicas_to_write}"
        yield f"min-replicas-max-lag {number(-(-topology.redis.min_replicas_max_lag // 1))}"


def env_example(topology: Topology, stack: str) -> str:
    """What Compose asks for, and what may be changed without touching a file."""
    needed = "".join(f"{name}=\n" for name in required_variables(topology))
    shared = environment.ordered(environment.common(topology))
    tuned = _commented({name: value for name, value in shared.items() if name in environment.TUNABLE})
    fixed = _commented({name: value for name, value in shared.items() if name not in environment.TUNABLE})
    return (
        f"{origin(stack)}# Copy it to .env, which git ignores. Compose refuses to start while one of these is empty.\n"
        f"{needed}\n# The image of workers and resurrector; by digest where you have one.\n"
        f"# APP_IMAGE={topology.app.image}\n\n"
        "# The image of backups, where copies go offsite: one with Redis and an S3 client (docs/docker.md).\n"
        f"# BACKUP_IMAGE=relier-backup:1.0.0\n\n{_subnet(topology)}"
        f"# Settings that Compose takes from here, with the stack's values.\n{tuned}\n"
        "# What every process is told besides, tied to containers or addresses: change it in the stack and the YAML.\n"
        f"{fixed}"
    )


def _commented(variables: dict[str, str]) -> str:
    return "".join(f"# {name}={value}\n" for name, value in variables.items())


def _subnet(topology: Topology) -> str:
    if topology.subnet is None:
        return ""
    parts = topology.subnet.rpartition(".")[0]
    return f"# The first three parts of the data network, if these are in use here.\n# DATA_SUBNET={parts}\n\n"


def required_variables(topology: Topology) -> list[str]:
    """Variables that secrets refer to."""
    references = (reference for _, reference in topology.secrets if reference)
    return sorted({text.removeprefix("env:") for text in references if text.startswith("env:")})


def group_vars(topology: Topology, stack: str, where: str = "--to .") -> str:
    """Ansible's `group_vars/all`: the values of the plan, for roles that know nothing of the model."""
    plan = plan_of(topology)
    values = {**_app_vars(topology), **_redis_vars(topology, plan), **_service_vars(topology, plan)}
    text = yamlio.dumps({f"relier_{name}": value for name, value in values.items()})
    return text.replace("---\n", "---\n" + origin(stack, where), 1)


def _app_vars(topology: Topology) -> dict[str, Any]:
    return {
        "name": topology.name,
        "hosts": topology.hosts,
        "package": topology.app.package,
        "environment": environment.ordered(environment.common(topology)),
        "secret_files": environment.secret_names(topology),
        "secrets": _references(topology),
    }


def _references(topology: Topology) -> dict[str, str]:
    """Where each secret is kept; a user without a password of its own shares one."""
    given = {name: reference for name, reference in topology.secrets if reference}
    shared = {name: given[other] for name, other in FALLBACK.items() if name not in given and other in given}
    return environment.ordered(given | shared)


def _redis_vars(topology: Topology, plan: Plan) -> dict[str, Any]:
    redis, part = topology.redis, topology.sentinel
    known: dict[str, Any] = {
        "redis_nodes": list(redis.nodes),
        "redis_port": redis.port,
        "redis_settings": _live_settings(topology),
        "sentinel_nodes": list(part.nodes) if part else [],
        **{f"{name}_{key}": value for name in ("redis", "sentinel") for key, value in _server(plan, name).items()},
    }
    if part:
        known |= {
            "sentinel_master_name": part.master_name,
            "sentinel_quorum": part.votes,
            "sentinel_down_after_ms": _tidy(milliseconds(part.down_after)),
            "sentinel_failover_timeout_ms": _tidy(milliseconds(part.failover_timeout)),
        }
    return known


def _server(plan: Plan, kind: Literal["redis", "sentinel"]) -> dict[str, Any]:
    """How one node of Redis or one Sentinel is started; nothing where there is none."""
    return next(
        (
            {
                "memory_bytes": workload.memory,
                "stop_seconds": _tidy(workload.grace),
                "environment": dict(workload.env),
                "secret_names": [mount.name for mount in workload.secrets],
                "dir": workload.volumes[0].path,
            }
            for workload in plan.of_kind(kind)
        ),
        {},
    )


def _live_settings(topology: Topology) -> dict[str, str]:
    """The overlay by name, as CONFIG SET takes it: in bytes."""
    redis, part = topology.redis, topology.redis.persistence
    return {
        "maxmemory": str(redis.maxmemory),
        "maxmemory-policy": redis.maxmemory_policy,
        "maxclients": str(redis.maxclients),
        "appendonly": "yes",
        "appendfsync": part.appendfsync,
        "no-appendfsync-on-rewrite": "no",
        "auto-aof-rewrite-percentage": str(part.rewrite_percentage),
        "auto-aof-rewrite-min-size": str(part.rewrite_min_size),
        "save": " ".join(f"{seconds} {changes}" for seconds, changes in part.snapshots),
        "min-replicas-to-write": str(redis.min_replicas_to_write),
        "min-replicas-max-lag": number(-(-redis.min_replicas_max_lag // 1)),
    }


def _service_vars(topology: Topology, plan: Plan) -> dict[str, Any]:
    """One entry a unit: what it runs, its limits and its own variables."""
    shared = environment.common(topology)
    kinds = {"pools": ("worker",), "resurrectors": ("resurrector",), "jobs": ("backup", "drill")}
    return {name: [_unit(w, shared) for w in plan.workloads if w.kind in kind] for name, kind in kinds.items()}


def _unit(workload: Workload, shared: dict[str, str]) -> dict[str, Any]:
    own = {name: value for name, value in workload.env.items() if name not in shared}
    return {
        "name": workload.name,
        "argv": list(workload.argv),
        "environment": own,
        "memory_bytes": workload.memory,
        "stop_seconds": _tidy(workload.grace),
        "secrets": [mount.name for mount in workload.secrets],
        "volumes": [asdict(mount) for mount in workload.volumes],
        **({"every_seconds": _tidy(workload.schedule)} if workload.schedule else {}),
        **({"queues": list(workload.queues)} if workload.queues else {}),
    }


def _tidy(value: float) -> int | float:
    return int(value) if value == int(value) else value
