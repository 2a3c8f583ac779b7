"""From samples to a judged result."""

from __future__ import annotations

from bench.contestant import LATE, OURS, Contestant
from bench.figures import Figure, Result, Samples, ratios


def by_round(samples: Samples, who: Contestant, value: float) -> None:
    """Add one round's value for one contestant."""
    samples.setdefault(who.name, []).append(value)


def judged_against_late(figure: Figure, samples: Samples, note: str = "") -> Result:
    """Our value over late-ack Celery's, round by round; nothing is judged when either did not take part."""
    return Result(figure, samples, ratios(samples.get(OURS, []), samples.get(LATE, [])), note)


def judged_alone(figure: Figure, samples: Samples, note: str = "") -> Result:
    """Our own value against the bound."""
    return Result(figure, samples, samples.get(OURS, []), note)
