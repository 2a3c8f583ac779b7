"""What can go wrong in a benchmark run."""

from __future__ import annotations


class BenchError(Exception):
    """The run cannot go on; the text says what to do."""


class ContestantFailed(BenchError):
    """One contestant did not do what was asked."""

    def __init__(self, contestant: str, what: str) -> None:
        super().__init__(f"{contestant}: {what}")
        self.contestant = contestant
        self.what = what
