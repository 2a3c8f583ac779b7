"""Every row of the table, in the order in which it is measured and printed."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

from bench.contestant import EARLY, LATE, OURS, UPSTREAM
from bench.figures import Figure, Result
from bench.rows import cpu, doctor, drain, growth, hold, push, waves
from bench.stage import Stage

Measure = Callable[[Stage, Set[str]], list[Result]]


@dataclass(frozen=True)
class Row:
    """Figures that share one set-up, and the function that measures those that are wanted.

    Only its `contestants` need to be there. A row that is not `default` only runs when it is asked for by name.
    """

    name: str
    figures: tuple[Figure, ...]
    measure: Measure
    default: bool = True
    contestants: frozenset[str] = frozenset({EARLY, LATE, UPSTREAM, OURS})


NOT_EARLY = frozenset({LATE, UPSTREAM, OURS})
ROWS = (
    Row("push", push.FIGURES, push.measure),
    Row("drain", drain.FIGURES, drain.measure),
    Row("cpu", cpu.FIGURES, cpu.measure, contestants=NOT_EARLY),
    Row("waves", waves.FIGURES, waves.measure, contestants=NOT_EARLY),
    Row("wide", waves.WIDE_FIGURES, waves.measure_wide, default=False, contestants=frozenset({OURS})),
    Row("hold", hold.FIGURES, hold.measure, contestants=NOT_EARLY),
    Row("doctor", doctor.FIGURES, doctor.measure, contestants=frozenset({UPSTREAM, OURS})),
    Row("growth", growth.FIGURES, growth.measure, contestants=frozenset({OURS})),
)


def rows_of(wanted: Set[str]) -> list[Row]:
    """The rows that have a wanted figure."""
    return [row for row in ROWS if any(figure.key in wanted for figure in row.figures)]
