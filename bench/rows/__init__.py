"""Every row of the table, in the order in which it is measured and printed."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

from bench.figures import Figure, Result
from bench.rows import cpu, doctor, drain, growth, hold, push, waves
from bench.stage import Stage

Measure = Callable[[Stage, Set[str]], list[Result]]


@dataclass(frozen=True)
class Row:
    """Figures that share one set-up, and the function that measures those that are wanted.

    A row that is not `default` only runs when it is asked for by name.
    """

    name: str
    figures: tuple[Figure, ...]
    measure: Measure
    default: bool = True


ROWS = (
    Row("push", push.FIGURES, push.measure),
    Row("drain", drain.FIGURES, drain.measure),
    Row("cpu", cpu.FIGURES, cpu.measure),
    Row("waves", waves.FIGURES, waves.measure),
    Row("wide", waves.WIDE_FIGURES, waves.measure_wide, default=False),
    Row("hold", hold.FIGURES, hold.measure),
    Row("doctor", doctor.FIGURES, doctor.measure),
    Row("growth", growth.FIGURES, growth.measure),
)
