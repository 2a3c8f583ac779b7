"""The table for people and the file for programs."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.contestant import EARLY, LATE, OURS, UPSTREAM
from bench.figures import Figure, Result, spread

COLUMNS = {EARLY: "Celery early", LATE: "Celery late", UPSTREAM: "relier 0.1.7", OURS: "Relier"}
STYLES = {"aim": "bold green", "ok": "green", "short": "bold red"}
NARROWEST = 150
EXPLAINED = (
    "Medians over interleaved rounds. ± is half the spread, which is the range of the middle half of the rounds, or\n"
    "of all when fewer than four. Throughput, latency and CPU are judged as Relier over Celery late, round by round."
)


def number(value: float) -> str:
    """Three significant figures, thousands set apart."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 or not size else f"{value:.3f}"


def summary(values: Sequence[float]) -> str:
    """Median, and half the width of the spread as a share of it."""
    if not values:
        return "-"
    middle, (low, high) = statistics.median(values), spread(values)
    share = (high - low) / 2 / middle * 100 if middle else 0.0
    return number(middle) + (f" [dim]±{share:.0f}%[/dim]" if len(values) > 1 else "")


def compared(values: Sequence[float]) -> str:
    """Median and spread of what is judged."""
    if not values:
        return "-"
    low, high = map(number, spread(values))
    return number(statistics.median(values)) + (f" [dim]{low}–{high}[/dim]" if low != high else "")


def bound(figure: Figure, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{'≥' if figure.higher_is_better else '≤'} {number(value)}"


def _cells(result: Result) -> list[str]:
    figure = result.figure
    style = STYLES.get(result.mark)
    mark = f"[{style}]{result.mark}[/{style}]" if style else result.mark
    values = [summary(result.samples.get(name, [])) for name in COLUMNS]
    judged = [compared(result.judged), bound(figure, figure.must), bound(figure, figure.aim), mark]
    return [f"{figure.title} [dim]({figure.unit})[/dim]" if figure.unit else figure.title, *values, *judged]


def render(results: Sequence[Result], console: Console) -> None:
    """Print the table. Each cell is the median over rounds, followed by the spread."""
    table = Table(header_style="bold", pad_edge=False)
    table.add_column("figure", min_width=40)
    for label in COLUMNS.values():
        table.add_column(label, justify="right")
    for heading in ("ratio or value", "must reach", "aim"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, min_width=5)
    for result in results:
        table.add_row(*_cells(result))
    console.print(table)
    _footnotes(results, console)


def _footnotes(results: Sequence[Result], console: Console) -> None:
    console.print(EXPLAINED)
    for result in results:
        if result.note:
            console.print(f"[dim]{result.figure.key}: {result.note}[/dim]", highlight=False)


def console() -> Console:
    """A terminal keeps its width; a file or a pipe gets one that holds the table."""
    found = Console()
    return found if found.is_terminal else Console(width=NARROWEST)


def as_json(result: Result) -> dict[str, Any]:
    """Everything of one figure: bounds, samples of every round, judged values, verdict."""
    medians = {name: statistics.median(values) for name, values in result.samples.items() if values}
    return {
        **dataclasses.asdict(result.figure),
        "samples": result.samples,
        "medians": medians,
        "judged_values": result.judged,
        "judged_median": statistics.median(result.judged) if result.judged else None,
        "mark": result.mark,
        "note": result.note,
        "detail": result.detail,
    }
