"""What `rl config validate` finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that does not hold. Only an `error` makes the command fail."""

    level: Literal["error", "warning"]
    rule: str
    message: str


def error(rule: str, message: str) -> Finding:
    """Makes `rl config validate` exit 1."""
    return Finding("error", rule, message)


def warning(rule: str, message: str) -> Finding:
    """Shown, and nothing more: what is risky may be meant."""
    return Finding("warning", rule, message)
