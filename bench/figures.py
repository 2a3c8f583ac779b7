"""Figures: what is measured, against which bound, and how samples become one number with a spread."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

Samples = dict[str, list[float]]


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    `must` and `aim` bound the judged values; a ratio where `judged` says so, else our own value in `unit`.
    Without `must` the line informs and is not judged.
    """

    key: str
    title: str
    unit: str
    judged: str
    must: float | None = None
    aim: float | None = None
    higher_is_better: bool = False

    def meets(self, value: float, bound: float) -> bool:
        return value >= bound if self.higher_is_better else value <= bound


@dataclass
class Result:
    """Samples by contestant, one a round, and the judged values, one a round."""

    figure: Figure
    samples: Samples
    judged: list[float] = field(default_factory=list)
    note: str = ""
    detail: Samples = field(default_factory=dict)

    @property
    def mark(self) -> str:
        """`aim`, `ok` or `short`; empty where nothing is judged."""
        if self.figure.must is None or not self.judged:
            return ""
        value = statistics.median(self.judged)
        if self.figure.aim is not None and self.figure.meets(value, self.figure.aim):
            return "aim"
        return "ok" if self.figure.meets(value, self.figure.must) else "short"


def spread(values: Sequence[float]) -> tuple[float, float]:
    """The middle half of the values, or all of them when there are fewer than four."""
    if len(values) < 4:
        return min(values), max(values)
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    return lower, upper


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Round by round, so that what slows the machine for a while slows both sides."""
    return [a / b for a, b in zip(over, under, strict=False) if b]
