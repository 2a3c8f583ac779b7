"""`rl worker`: who works, on which queues, and how to take one out."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from relier.cli.errors import fail
from relier.cli.output import Json, percent, show, table

app = typer.Typer(no_args_is_help=True, help="See and steer workers.")
Name = Annotated[str, typer.Argument(metavar="WORKER", help="The worker's name, like worker@host.")]


@app.command()
def status(as_json: Json = False) -> None:
    """List the workers with their queues and what they have done."""
    from relier.cli import fleet

    rows = fleet.workers()
    show({"workers": [row.as_dict() for row in rows]}, lambda: _status_text(rows), as_json)


def _status_text(rows: list[Any]) -> str:
    if not rows:
        return "No worker is registered; nothing consumes the queues."
    columns = ("Worker", "Status", "Queues", "Pool", "Size", "Active", "Success", "Failed", "Success Rate")
    names = ("pool", "concurrency", "in_flight", "completed", "failed")
    cells = [
        (row.node, row.state, ",".join(row.queues) or "-", *(getattr(row, n) for n in names), percent(row.success_rate))
        for row in rows
    ]
    active, success, failed = (sum(getattr(r, name) for r in rows) for name in ("in_flight", "completed", "failed"))
    online = sum(r.state == "ONLINE" for r in rows)
    total = f"Total: {len(rows)} workers, {online} online, {active} active, {success} succeeded, {failed} failed"
    return f"{table(columns, cells)}\n\n{total}"


def _drain(name: str) -> str:
    from relier.cli import fleet
    from relier.cli.stop import ask

    node = fleet.resolve(name)
    if fleet.state_of(fleet.entries().get(node)) == "SILENT":
        fail(f"{node} no longer reports, so it cannot drain; if it is gone for good, run rl worker reap {node}.")
    if ask("relier_drain", node, timeout=5.0) is None:
        fail(f"{node} did not answer within 5 s; it may be busy in a solo pool. Send SIGTERM to its process instead.")
    return node


@app.command()
def drain(worker: Name) -> None:
    """Have a worker finish or hand off what it runs, and leave."""
    from relier.settings import get_settings

    node, patience = _drain(worker), get_settings().graceful_shutdown_timeout
    print(f"{node} drains: it takes nothing new and hands off what is not finished in {patience:g} s.")


@app.command()
def restart(worker: Name) -> None:
    """Have a worker drain and leave, so that its supervisor starts it again."""
    print(f"{_drain(worker)} drains and leaves; its supervisor (systemd, Docker, Kubernetes) starts it again.")


@app.command()
def reset(worker: Name) -> None:
    """Set a worker's counters of completed and failed tasks back to zero."""
    from relier import keys
    from relier.cli import fleet

    node = fleet.resolve(worker)
    fleet.client().delete(*(f"{keys.WORKER_METRIC}{node}:{kind}" for kind in ("success", "failed")))
    print(f"The counters of {node} are zero.")


@app.command()
def reap(
    node: Annotated[str, typer.Argument(metavar="NODE", help="The node whose processes are all gone.")],
    force: Annotated[bool, typer.Option("--force", help="Even though a process of it lives on this host.")] = False,
) -> None:
    """Say that a worker is dead: what it held goes back into line now. For ExecStopPost= and entrypoints."""
    from relier import keys, phoenix
    from relier.cli import fleet
    from relier.ledger import get_ledger

    alive = [holder.pid for holder, _ in fleet.held_by_node().get(node, ()) if _lives_here(holder)]
    if alive and not force:
        fail(f"{node} lives here (pid {', '.join(map(str, alive))}); drain it, or use --force if you know better.")
    revived = phoenix.reap(get_ledger(), node)
    fleet.client().hdel(keys.WORKERS, node)
    quarantined = sum(revival.verdict == "quarantined" for revival in revived)
    print(f"{node}: {len(revived) - quarantined} tasks are back in line, {quarantined} went to the DLQ.")


def _lives_here(holder: Any) -> bool:
    from relier.holder import Holder

    return Holder.of(holder.node, holder.pid).same_process(holder)
