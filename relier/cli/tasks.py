"""`rl tasks`: what runs, what waits, and what became of a task."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from relier.cli.errors import fail
from relier.cli.output import EVERY, Follow, Json, clean, dumps, duration, follow, moment, percent, show, table

app = typer.Typer(no_args_is_help=True, help="See and steer tasks.")
TaskId = Annotated[str, typer.Argument(metavar="TASK_ID", help="The task's id.")]
OnlyWorker = Annotated[str | None, typer.Option("--worker", "-w", help="Only this worker.")]
FINISHED = ("COMPLETED", "FAILED", "CANCELLED", "QUARANTINED", "UNKNOWN")


@app.command("list")
def list_tasks(
    worker: OnlyWorker = None,
    limit: Annotated[int, typer.Option(min=1, help="How many tasks at most.")] = 100,
    as_json: Json = False,
) -> None:
    """List the tasks that run now, and what each worker has done."""
    from relier.cli import fleet

    node = fleet.resolve(worker) if worker else None
    rows, state = fleet.running(node, limit), _inflight(node)
    data = {"tasks": [asdict(row) for row in rows], **state}
    show(data, lambda: f"{_running_table(rows)}\n\n{_inflight_text(state)}", as_json)


def _running_table(rows: list[Any]) -> str:
    if not rows:
        return "No task is running."
    now = time.time()
    cells = [(r.task_id, r.name, r.worker, r.pid, r.starts, duration(max(0.0, now - r.started_at))) for r in rows]
    return table(("Task ID", "Task", "Worker", "Pid", "Starts", "Running for"), cells)


@app.command()
def inflight(live: Follow = False, worker: OnlyWorker = None, as_json: Json = False) -> None:
    """Show how many tasks each worker has in flight, and what it has done."""
    from relier.cli import fleet

    node = fleet.resolve(worker) if worker else None
    if live:
        follow(lambda: _inflight(node), _inflight_text, as_json)
    state = _inflight(node)
    show(state, lambda: _inflight_text(state), as_json)


def _inflight(node: str | None) -> dict[str, Any]:
    from relier.cli import fleet

    rows = [row for row in fleet.workers() if node in (None, row.node)]
    depths = fleet.depths()
    return {
        "workers": [row.as_dict() for row in rows],
        "totals": {"in_flight": sum(row.in_flight for row in rows), **fleet.totals()},
        "queue_depth": sum(depths.values()),
        "queues": depths,
        "p95_ms": fleet.quantile(fleet.durations(), 0.95),
    }


def _inflight_text(state: dict[str, Any]) -> str:
    columns = ("Worker", "Status", "In-Flight", "Completed", "Failed", "Success Rate")
    names = ("node", "state", "in_flight", "completed", "failed")
    rows = [(*(row[name] for name in names), percent(row["success_rate"])) for row in state["workers"]]
    head = table(columns, rows) if rows else "No worker is registered; nothing consumes the queues."
    totals, queues = state["totals"], ", ".join(f"{k} {n}" for k, n in state["queues"].items() if n)
    p95 = "-" if state["p95_ms"] is None else f"{state['p95_ms']} ms"
    return (
        f"{head}\n\nTotals: {totals['in_flight']} in flight, {totals['completed']} completed, {totals['failed']} failed"
        f", {totals['delayed']} delayed, {totals['quarantined']} in the DLQ\n"
        f"Queue depth: {state['queue_depth']}{f' ({queues})' if queues else ''}   p95: {p95}"
    )


@app.command()
def top(
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds over which throughput is measured.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Show throughput now, latency, and the five workers with the most tasks."""
    from relier.cli import fleet

    before, started = fleet.totals(), time.monotonic()
    time.sleep(interval)
    state = _inflight(None)
    done = sum(state["totals"][kind] - before[kind] for kind in ("completed", "failed"))
    state["per_second"] = round(done / (time.monotonic() - started), 1)
    state["p50_ms"] = fleet.quantile(fleet.durations(), 0.5)
    state["active_workers"] = sum(row["state"] == "ONLINE" for row in state["workers"])
    busiest = sorted(state["workers"], key=lambda row: (-row["in_flight"], -row["completed"]))
    state["workers"] = busiest[:5]
    show(state, lambda: _top_text(state), as_json)


def _top_text(state: dict[str, Any]) -> str:
    p50 = "-" if state["p50_ms"] is None else f"{state['p50_ms']} ms"
    head = f"Throughput: {state['per_second']} tasks/s   active workers: {state['active_workers']}   p50: {p50}"
    return f"{head}\n\n{_inflight_text(state)}"


def describe(task_id: str) -> dict[str, Any]:
    """Everything the ledger knows about a task, with one word for its state."""
    from relier import dlq, keys
    from relier.cli.fleet import client

    pipe = client().pipeline(transaction=False)
    pipe.hgetall(keys.record(task_id)).get(keys.RESURRECTIONS + task_id).hget(keys.DLQ, task_id)
    pipe.get(keys.RECEIPT + task_id).get(f"celery-task-meta-{task_id}")
    raw, deaths, entry, receipt, result = pipe.execute()
    record = {name.decode(): value.decode(errors="replace") for name, value in raw.items()}
    return {
        "task_id": task_id,
        "status": _status(record, entry, receipt, result),
        "resurrection_count": int(deaths or 0),
        "worker": record.get("holder", "").rpartition("/")[0] or None,
        "starts": int(record.get("attempts", 0)),
        "incarnation": int(record.get("incarnation", 0)),
        "started_at": int(record["started_at"]) / 1000 if "started_at" in record else None,
        "payload": _payload(record),
        "dlq": dlq.parse(entry),
    }


def _status(record: dict[str, str], entry: bytes | None, receipt: bytes | None, result: bytes | None) -> str:
    """RUNNING, QUEUED and DELAYED are the record's; a finished task is known by what it left behind."""
    import json

    if record:
        return record["state"].upper()
    if entry:
        return "QUARANTINED"
    if result:
        state: str = json.loads(result)["status"]
        return {"SUCCESS": "COMPLETED", "FAILURE": "FAILED", "REVOKED": "CANCELLED"}.get(state, state)
    if receipt:
        return {b"cancelled": "CANCELLED", b"dlq": "FAILED"}.get(receipt, "COMPLETED")
    return "UNKNOWN"


def _payload(record: dict[str, str]) -> dict[str, Any] | None:
    import json

    if not record:
        return None
    payload: dict[str, Any] = {"task_name": record["name"], "queue": record["queue"]}
    try:
        sealed = json.loads(record["envelope"])
        payload |= {"args": sealed["args"], "kwargs": sealed["kwargs"], "enqueued_at": sealed["at"]}
        payload |= {"schema_version": sealed["v"], "signature": record["signature"].rpartition(":")[0]}
    except (ValueError, KeyError, TypeError):
        payload["envelope"] = record["envelope"]
    if record.get("checkpoint"):
        payload["checkpoint"] = record["checkpoint"]
    return payload


@app.command()
def inspect(task_id: TaskId, as_json: Json = False) -> None:
    """Show a task's state, payload, deaths and DLQ entry as JSON."""
    known = describe(task_id)
    print(dumps(known))
    if known["status"] == "UNKNOWN":
        fail(f"Relier knows no task {task_id}: it never existed here, or it finished and its result has expired.")


@app.command()
def retry(task_id: TaskId) -> None:
    """Put a task from the DLQ back into line, or send the message of a queued one again."""
    from relier.ledger import get_ledger

    known = describe(task_id)
    match known["status"]:
        case "QUARANTINED":
            get_ledger().call("release", task_id)
            print(
                f"{task_id} is back in {known['dlq']['queue']}; its {known['resurrection_count']} deaths still count."
            )
        case "QUEUED":
            get_ledger().call("resend", task_id)
            print(f"{task_id} is in line already; its message was sent again.")
        case "RUNNING" | "DELAYED" as state:
            fail(f"{task_id} is {state.lower()}; there is nothing to retry.")
        case state:
            fail(f"{task_id} cannot be retried: it is neither in the DLQ nor in line (status {state}).")


@app.command()
def cancel(
    task_id: TaskId,
    terminate: Annotated[bool, typer.Option(help="Also stop it where it runs.")] = True,
) -> None:
    """End a task now: it leaves the ledger, and nobody can commit it any more."""
    from relier.cli.stop import stop
    from relier.ledger import get_ledger
    from relier.tasks import results
    from relier.tasks.app import celery_app

    payload = results.revoked(celery_app, task_id, "cancelled by rl")
    state, holder = (part.decode() for part in get_ledger().call("cancel", task_id, *payload, window=1.0))
    if state == "unknown":
        fail(f"There is nothing to cancel: no task {task_id} waits or runs.")
    print(f"{task_id} is cancelled; it was {state}.")
    if state == "running" and terminate:
        print(stop(task_id, holder))
    elif state == "running":
        print("What still runs of it goes on, but its outcome will be refused.")


@app.command()
def logs(task_id: TaskId, live: Follow = False) -> None:
    """Show a task's state; with --follow every change of it until the task ends."""
    seen: tuple[Any, ...] = ()
    while True:
        known = describe(task_id)
        if known["status"] == "UNKNOWN" and not seen:
            fail(f"Relier knows no task {task_id}.")
        key = tuple(known[name] for name in ("status", "worker", "incarnation", "resurrection_count"))
        if key != seen:
            print(_log_line(known), flush=True)
        if not live or known["status"] in FINISHED:
            return
        seen = key
        time.sleep(EVERY / 4)


def _log_line(known: dict[str, Any]) -> str:
    parts = [moment(time.time()), known["status"]]
    if known["worker"]:
        parts.append(f"on {known['worker']}, start {known['starts']}, fence {known['incarnation']}")
    if known["resurrection_count"]:
        parts.append(f"resurrected {known['resurrection_count']} times")
    if known["dlq"]:
        parts.append(f"{known['dlq']['reason']}: {known['dlq']['error']}")
    return clean("  ".join(parts), 300)
