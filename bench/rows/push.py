"""What a push costs: `apush` and `push` one after the other, and 50 `apush` at once.

No worker runs. Each producer warms up, then takes its turn in every round on an empty database. Latency is
the median of one round; Celery's side of each ratio is `.delay` of the late-acks app of the same round
(early acks push alike).
"""

from __future__ import annotations

import statistics
from collections.abc import Set

from bench.contestant import UPSTREAM, Contestant
from bench.figures import Figure, Result, Samples
from bench.rows.judge import by_round, judged_against_late
from bench.stage import Stage

APUSH = Figure("apush", "apush p50", "µs", "ratio to .delay p50", 0.5, 0.35)
PUSH = Figure("push", "push p50", "µs", "ratio to .delay p50", 0.4, 0.28)
GATHER = Figure("gather", "pushes/s, 50 at once", "/s", "ratio to Celery, sequential", 3.0, 3.8, True)
FIGURES = (APUSH, PUSH, GATHER)


def _p50(stage: Stage, who: Contestant, call: str, count: int) -> float:
    seconds: list[float] = stage.agent(who).ask("latencies", "noop", count, call=call)
    return statistics.median(seconds) * 1e6


def _turn(stage: Stage, who: Contestant, key: str) -> float:
    slow = who.name == UPSTREAM
    stage.flush(who)
    if key == GATHER.key:
        count = stage.effort.share(stage.effort.bulk, slow)
        return count / float(stage.agent(who).ask("bulk", "noop", count))
    return _p50(stage, who, key, stage.effort.share(stage.effort.pushes, slow))


def measure(stage: Stage, wanted: Set[str]) -> list[Result]:
    """Latencies in microseconds, rates in pushes per second."""
    for who in stage.everyone:
        stage.agent(who).ask("bulk", "noop", 100)
        stage.agent(who).ask("latencies", "noop", 20, call="push")
    figures = [figure for figure in FIGURES if figure.key in wanted]
    found: dict[str, Samples] = {figure.key: {} for figure in figures}
    for _ in range(stage.effort.push_rounds):
        for figure in figures:
            for who in stage.everyone:
                by_round(found[figure.key], who, _turn(stage, who, figure.key))
    return [judged_against_late(figure, found[figure.key]) for figure in figures]
