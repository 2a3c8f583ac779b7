"""`rl dlq`: the tasks that ended without success, and what to do with them."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from relier.cli.errors import fail
from relier.cli.output import Json, clean, dumps, moment, show, table

app = typer.Typer(no_args_is_help=True, help="Look at quarantined tasks, release them, or remove them.")
TaskId = Annotated[str, typer.Argument(metavar="TASK_ID", help="The task's id.")]
NEVER_RETRIED = "PayloadIntegrityError"


def _entries() -> list[dict[str, Any]]:
    from relier import dlq, keys
    from relier.cli.fleet import client

    return dlq.by_age([entry for raw in client().hvals(keys.DLQ) if (entry := dlq.parse(raw))])


@app.command("list")
def list_entries(
    limit: Annotated[int, typer.Option(min=1, help="How many at most, the oldest first.")] = 100,
    as_json: Json = False,
) -> None:
    """List the quarantined tasks."""
    entries = _entries()
    show(entries[:limit], lambda: _text(entries, limit), as_json)


def _text(entries: list[dict[str, Any]], limit: int) -> str:
    if not entries:
        return "The DLQ is empty."
    rows = [
        (
            e["task_id"],
            e["name"],
            e["resurrection_count"],
            moment(e["quarantined_at"]),
            e["reason"],
            clean(e["error"], 60),
        )
        for e in entries[:limit]
    ]
    more = f"\n\n{len(entries) - limit} more; raise --limit to see them." if len(entries) > limit else ""
    return table(("ID", "TASK", "RESURRECTIONS", "QUARANTINED_AT", "REASON", "LAST_ERROR"), rows) + more


@app.command()
def inspect(task_id: TaskId, as_json: Json = False) -> None:
    """Show one entry with its payload, reason and traceback as JSON."""
    from relier import dlq, keys
    from relier.cli.fleet import client

    entry = dlq.parse(client().hget(keys.DLQ, task_id))
    if entry is None:
        fail(f"{task_id} is not in the DLQ.")
    print(dumps(entry))


@app.command()
def release(task_id: TaskId) -> None:
    """Give a task one more start in its own queue; its deaths still count."""
    from relier import keys
    from relier.cli.fleet import client
    from relier.ledger import get_ledger

    if not client().hexists(keys.DLQ, task_id) or get_ledger().call("release", task_id) == b"unknown":
        fail(f"{task_id} is not in the DLQ.")
    print(f"{task_id} is back in line.")


@app.command("retry-all")
def retry_all(as_json: Json = False) -> None:
    """Release every task but those whose payload failed its integrity check."""
    from relier.ledger import get_ledger

    rows = []
    for entry in _entries():
        kept = entry["reason"] == NEVER_RETRIED
        reply = b"kept" if kept else get_ledger().call("release", entry["task_id"])
        verdict = {b"kept": "kept", b"unknown": "gone"}.get(reply, "released")
        rows.append({"task_id": entry["task_id"], "name": entry["name"], "verdict": verdict})
    show(rows, lambda: _retried(rows), as_json)


def _retried(rows: list[dict[str, str]]) -> str:
    if not rows:
        return "The DLQ is empty."
    counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in ("released", "kept")}
    note = f" {counts['kept']} kept, for their payload failed its integrity check." if counts["kept"] else ""
    lines = table(("ID", "TASK", "VERDICT"), [tuple(row.values()) for row in rows])
    return f"{lines}\n\n{counts['released']} released.{note}"


@app.command()
def purge(
    confirm: Annotated[bool, typer.Option("--confirm", help="Yes, remove them for good.")] = False,
) -> None:
    """Remove every entry for good."""
    from relier import checkpoint, keys
    from relier.cli.fleet import client

    entries = client().hgetall(keys.DLQ)
    if not confirm:
        fail(f"This removes {len(entries)} tasks from the DLQ for good; add --confirm if you mean it.")
    for raw in entries.values():
        checkpoint.discard(json.loads(raw).get("checkpoint", "").encode())
    if entries:
        client().hdel(keys.DLQ, *entries)
    print(f"Removed {len(entries)} tasks from the DLQ.")
