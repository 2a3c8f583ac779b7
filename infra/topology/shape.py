"""A plan as plain data and as tables, and two plans compared sentence by sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from infra.topology.units import number, size, span
from infra.topology.workload import Plan, Workload

SIZES = {"memory", "memory_request", "size", "total_memory", "log_size"}
SPANS = {"grace", "pre_stop", "schedule", "every", "timeout", "start_period"}
COLUMNS = ("Workload", "Kind", "×", "Queues", "Tasks", "Links", "Memory", "Grace", "Update", "Image")


def plain(plan: Plan) -> dict[str, Any]:
    """Everything that was decided, for JSON. Sizes are bytes, durations seconds; secrets are references."""
    sums = {
        "memory": plan.memory,
        "connections": plan.connections,
        "maxclients": plan.maxclients,
        "queues": plan.queues,
    }
    return {**asdict(plan), "sums": sums}


def workload_table(plan: Plan) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """The header and one row a workload."""
    return COLUMNS, [_row(workload) for workload in plan.workloads]


def _row(workload: Workload) -> tuple[Any, ...]:
    return (
        workload.name,
        workload.kind,
        workload.replicas,
        ", ".join(workload.queues) or "-",
        workload.concurrency or "-",
        workload.connections or "-",
        size(workload.memory),
        span(workload.grace),
        workload.update,
        workload.image or "-",
    )


def summary(plan: Plan) -> str:
    """What the rows add up to."""
    queues = "; ".join(f"{queue} ← {', '.join(names)}" for queue, names in plan.queues.items())
    total = f"{plan.memory / 1024**3:.1f} GB of limits, {plan.connections} of {plan.maxclients} connections"
    return f"{len(plan.workloads)} workloads, {total}.\nQueues: {queues}."


def differences(left: Plan, right: Plan, left_name: str, right_name: str) -> list[str]:
    """`worker-high.grace: dev says 60s, prod says 90s.`, one sentence a difference."""
    ours, theirs = _by_name(left), _by_name(right)
    found = list(_compare("", ours, theirs, left_name, right_name))
    return [f"{sentence}." for sentence in found]


def _by_name(plan: Plan) -> dict[str, Any]:
    return {workload.name: _flat(asdict(workload)) for workload in plan.workloads}


def _flat(workload: dict[str, Any]) -> dict[str, Any]:
    """Lists of named things by name, so that one more of them is one difference."""
    keys = {"secrets": "name", "volumes": "volume", "files": "path", "depends_on": "name", "ports": "port"}
    named = {field: {str(entry[key]): entry for entry in workload[field]} for field, key in keys.items()}
    return {key: value for key, value in (workload | named).items() if key != "name"}


def _compare(path: str, left: Any, right: Any, *names: str) -> Iterator[str]:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in sorted({*left, *right}):
            yield from _entry(f"{path}.{key}".removeprefix("."), key, left, right, names)
    elif left != right:
        key = path.rpartition(".")[2]
        yield f"{path}: {names[0]} says {said(key, left)}, {names[1]} says {said(key, right)}"


def _entry(
    path: str, key: str, left: Mapping[str, Any], right: Mapping[str, Any], names: tuple[str, ...]
) -> Iterator[str]:
    if key not in right:
        yield f"{path}: {names[0]} has it, {names[1]} has not"
    elif key not in left:
        yield f"{path}: {names[0]} has it not, {names[1]} has"
    else:
        yield from _compare(path, left[key], right[key], *names)


def said(key: str, value: Any) -> str:
    """A value as people write it."""
    if value is None or value == ():
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return size(int(value)) if key in SIZES else span(value) if key in SPANS else number(value)
    if isinstance(value, tuple | list):
        return " ".join(str(part) for part in value)
    return str(dict(value)) if isinstance(value, Mapping) else str(value)
