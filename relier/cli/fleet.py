"""What the ledger knows about workers, queues and tasks: reads only, each a bounded number of round trips."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from relier import figures, keys
from relier.cli.errors import Mistake, fail
from relier.holder import Holder
from relier.ledger import get_ledger
from relier.pulse import FRESH_SECONDS

FORGOTTEN_SECONDS = 3600.0
STATES = {"consuming": "ONLINE", "draining": "DRAINING", "connecting": "CONNECTING"}


@dataclass(frozen=True, slots=True)
class Worker:
    """One node. `state` is ONLINE, DRAINING, CONNECTING, SILENT (no report) or LOST (only its tasks are known)."""

    node: str
    state: str
    queues: list[str]
    pool: str
    concurrency: int
    pid: int
    seen: float
    in_flight: int
    completed: int
    failed: int

    @property
    def success_rate(self) -> float | None:
        """From 0 to 1; None before the first outcome."""
        total = self.completed + self.failed
        return self.completed / total if total else None

    def as_dict(self) -> dict[str, Any]:
        """The fields and the success rate, for `--json`."""
        return asdict(self) | {"success_rate": self.success_rate}


def client() -> Any:
    """For plain reads: without the ledger's retries, so that an outage shows at once."""
    return get_ledger().client


def entries() -> dict[str, dict[str, Any]]:
    """The registry as workers wrote it."""
    return {node.decode(): json.loads(raw) for node, raw in client().hgetall(keys.WORKERS).items()}


def state_of(entry: dict[str, Any] | None) -> str:
    """The worker's own word, unless it has been silent too long (SILENT) or has no entry at all (LOST)."""
    if entry is None:
        return "LOST"
    return STATES.get(entry["state"], "ONLINE") if time.time() - entry["seen"] <= FRESH_SECONDS else "SILENT"


def held_by_node() -> dict[str, list[tuple[Holder, int]]]:
    """Each node's holders and how many tasks each holds."""
    holders = [Holder.parse(member.decode()) for member in client().zrange(keys.EXPIRY_INDEX, 0, -1)]
    pipe = client().pipeline(transaction=False)
    for holder in holders:
        pipe.scard(keys.held(str(holder)))
    found: dict[str, list[tuple[Holder, int]]] = {}
    for holder, count in zip(holders, pipe.execute(), strict=True):
        found.setdefault(holder.node, []).append((holder, count))
    return found


def workers() -> list[Worker]:
    """Every worker that reports, has reported within the hour, or still holds tasks."""
    registry, held = entries(), held_by_node()
    in_flight = {node: sum(count for _, count in holders) for node, holders in held.items()}
    nodes = sorted(set(registry) | {node for node, count in in_flight.items() if count})
    counters = _counters(nodes)
    rows = [_worker(node, registry.get(node), in_flight.get(node, 0), *counters[node]) for node in nodes]
    return [row for row in rows if row.in_flight or time.time() - row.seen < FORGOTTEN_SECONDS]


def _counters(nodes: list[str]) -> dict[str, tuple[int, int]]:
    names = [f"{keys.WORKER_METRIC}{node}:{kind}" for node in nodes for kind in ("success", "failed")]
    values = [int(value or 0) for value in client().mget(names)] if names else []
    return dict(zip(nodes, zip(values[::2], values[1::2], strict=True), strict=True))


def _worker(node: str, entry: dict[str, Any] | None, in_flight: int, completed: int, failed: int) -> Worker:
    known: dict[str, Any] = entry or {"queues": [], "pool": "-", "concurrency": 0, "pid": 0, "seen": 0.0}
    facts = {name: known[name] for name in ("queues", "pool", "concurrency", "pid", "seen")}
    return Worker(node, state_of(entry), in_flight=in_flight, completed=completed, failed=failed, **facts)


def resolve(name: str) -> str:
    """The node that a person means: its full name, or what stands before the @ when only one has it."""
    known = sorted(entries())
    matches = [node for node in known if name in (node, node.partition("@")[0])]
    if len(matches) == 1:
        return matches[0]
    if matches:
        fail(f"'{name}' could be {' or '.join(matches)}; give the full name.")
    listing = ", ".join(known) or "none"
    raise Mistake(f"No worker is registered as '{name}' (registered: {listing}).")


def depths() -> dict[str, int]:
    """What waits in every queue that is known."""
    return figures.depths(client())


def durations() -> list[int]:
    """The last thousand durations, sorted, in milliseconds."""
    return sorted(int(value) for value in client().lrange(keys.DURATIONS, 0, -1))


def quantile(ordered: list[int], share: float) -> int | None:
    """A quantile of sorted values; None without values."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


def totals() -> dict[str, int]:
    """Outcomes since Redis was first used, and what waits."""
    pipe = client().pipeline(transaction=False)
    pipe.mget(keys.SUCCESS, keys.FAILED).zcard(keys.DELAYED).hlen(keys.DLQ)
    (success, failed), delayed, quarantined = pipe.execute()
    return {"completed": int(success or 0), "failed": int(failed or 0), "delayed": delayed, "quarantined": quarantined}


@dataclass(frozen=True, slots=True)
class Running:
    """One task that a worker holds. `started_at` is Unix time in seconds."""

    task_id: str
    name: str
    worker: str
    pid: int
    starts: int
    started_at: float


def running(node: str | None, limit: int) -> list[Running]:
    """The tasks that run now, the oldest first."""
    by_node = held_by_node()
    nodes = by_node if node is None else [node]
    holders = [holder for name in nodes for holder, count in by_node.get(name, ()) if count]
    pipe = client().pipeline(transaction=False)
    for holder in holders:
        pipe.smembers(keys.held(str(holder)))
    held = [(task, holder) for holder, tasks in zip(holders, pipe.execute(), strict=True) for task in tasks]
    for task, _ in held:
        pipe.hmget(keys.record(task.decode()), "name", "attempts", "started_at")
    rows = [
        Running(task.decode(), row[0].decode(), holder.node, holder.pid, int(row[1]), int(row[2]) / 1000)
        for (task, holder), row in zip(held, pipe.execute(), strict=True)
        if None not in row
    ]
    return sorted(rows, key=lambda row: row.started_at)[:limit]
