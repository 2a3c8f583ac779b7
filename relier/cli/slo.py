"""`rl slo`: how fast the error budget burns."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from relier.cli.errors import fail
from relier.cli.output import Json, percent, show, table

app = typer.Typer(no_args_is_help=True, help="Error budgets and burn rates.")
Target = Annotated[float, typer.Option("--target", "-t", help="The share of tasks that must succeed.")]
MONTH_MINUTES = 30 * 24 * 60
MONTH_SECONDS = MONTH_MINUTES * 60


def _windows(target: float) -> dict[str, dict[str, Any]]:
    from relier.slo import CRITICAL, WINDOWS, SLOMetrics, burn_rate, counts

    try:
        SLOMetrics(target)
    except ValueError as error:
        fail(str(error))
    rows = {}
    for window in WINDOWS:
        success, failed = counts(window)
        burn = burn_rate(success, failed, target)
        level = "CRITICAL" if burn >= CRITICAL else "BURNING" if burn > 1 else "HEALTHY"
        status = level if success + failed else "NO DATA"
        rows[window] = {"burn_rate": round(burn, 4), "status": status, "success": success, "failed": failed}
    return rows


def _budget_used(window: str, burn: float) -> float:
    """The share of a month's error budget that a window burnt."""
    from relier.slo import WINDOWS

    return burn * WINDOWS[window] / MONTH_SECONDS


@app.command()
def status(target: Target = 0.999, as_json: Json = False) -> None:
    """Show the burn rate over one hour, six hours and three days."""
    rows = _windows(target)
    show({"target": target, "windows": rows}, lambda: _status_text(rows, target), as_json)


def _status_text(rows: dict[str, dict[str, Any]], target: float) -> str:
    head = table(
        ("Window", "Burn Rate", "Status"), [(w, f"{r['burn_rate']:.2f}x", r["status"]) for w, r in rows.items()]
    )
    used = _budget_used("3d", rows["3d"]["burn_rate"])
    minutes = used * (1 - target) * MONTH_MINUTES
    worst = {row["status"] for row in rows.values()}
    verdict = "No task has ended in three days." if worst == {"NO DATA"} else "All targets are met."
    if "BURNING" in worst:
        verdict = "The budget burns faster than it may; look at rl dlq list."
    if "CRITICAL" in worst:
        verdict = "CRITICAL: at this rate a month's budget is gone within two days; look at rl dlq list."
    return f"{head}\n\nBudget used in three days: {minutes:.1f} min ({used:.1%} of a month's)\n{verdict}"


@app.command()
def report(
    period: Annotated[Literal["1h", "6h", "3d"], typer.Option(help="The period to report on.")] = "3d",
    form: Annotated[Literal["table", "json"], typer.Option("--format", "-f", help="How to print it.")] = "table",
    target: Target = 0.999,
    as_json: Json = False,
) -> None:
    """Report on one period: outcomes, burn rate, and what that means for a month."""
    rows = _windows(target)
    row = rows[period]
    total = row["success"] + row["failed"]
    data = {window: values["burn_rate"] for window, values in rows.items()} | {
        "target": target,
        "period": period,
        "success": row["success"],
        "failed": row["failed"],
        "success_rate": row["success"] / total if total else None,
        "status": row["status"],
        "budget_used": _budget_used(period, row["burn_rate"]),
        "projected_month": row["burn_rate"],
    }
    show(data, lambda: _report_text(data), as_json or form == "json")


def _report_text(data: dict[str, Any]) -> str:
    burn = data[data["period"]]
    return table(
        ("Figure", "Value"),
        [
            ("Period", data["period"]),
            ("Target", f"{data['target']:.4%}"),
            ("Succeeded", str(data["success"])),
            ("Failed", str(data["failed"])),
            ("Success rate", percent(data["success_rate"])),
            ("Burn rate", f"{burn:.2f}x"),
            ("Status", data["status"]),
            ("Of a month's budget", f"{data['budget_used']:.2%} used"),
            ("At this rate", f"{data['projected_month']:.0%} of the budget in a month"),
        ],
    )
