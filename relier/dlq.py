"""The dead letter queue: tasks that ended without success, each with its reason."""

from __future__ import annotations

import json
from typing import Any

from relier import keys
from relier.checkpoint import discard
from relier.ledger import get_async_ledger

Entry = dict[str, Any]


def parse(raw: bytes | None) -> Entry | None:
    """An entry as a dictionary, its arguments readable beside the signed text."""
    if raw is None:
        return None
    entry: Entry = json.loads(raw)
    try:
        sealed = json.loads(entry["envelope"])
        entry["args"], entry["kwargs"] = sealed["args"], sealed["kwargs"]
    except (ValueError, KeyError, TypeError):
        entry["args"] = entry["kwargs"] = None
    return entry


def by_age(entries: list[Entry]) -> list[Entry]:
    """The oldest first."""
    return sorted(entries, key=lambda entry: entry.get("quarantined_at", 0))


class DeadLetterQueue:
    """Look at quarantined tasks, release them, or remove them for good."""

    async def list_tasks(self, limit: int = 100) -> list[Entry]:
        """The oldest `limit` entries."""
        raw = await get_async_ledger().client.hvals(keys.DLQ)
        return by_age([entry for item in raw if (entry := parse(item))])[:limit]

    async def inspect(self, task_id: str) -> Entry | None:
        """One entry with its payload, reason and traceback, or None."""
        return parse(await get_async_ledger().client.hget(keys.DLQ, task_id))

    async def release(self, task_id: str) -> bool:
        """Give a task one more start, its deaths still counted. False when it is not in the DLQ."""
        reply: bytes = await get_async_ledger().call("release", task_id)
        return reply in (b"ok", b"again")

    async def retry_all(self) -> int:
        """Release every task that may be released; a payload that failed its integrity check may not."""
        released = 0
        for entry in await self.list_tasks(limit=1_000_000):
            if entry["reason"] != "PayloadIntegrityError":
                released += await self.release(entry["task_id"])
        return released

    async def purge(self) -> int:
        """Remove every entry for good; returns how many there were."""
        client = get_async_ledger().client
        raw = await client.hgetall(keys.DLQ)
        for item in raw.values():
            discard(json.loads(item).get("checkpoint", "").encode())
        if raw:
            await client.hdel(keys.DLQ, *raw)
        return len(raw)
