"""Does a transition cost more when there is more of everything? Only ours; Celery has no ledger that could grow.

Push and claim: p50 at 10, 10⁴ and 10⁶ queued tasks (10⁵ in a quick run), one client, each push followed by
the claim of the oldest task, so that the depth stays. A resurrector's pass: p50 with 100 live holders that
run a thousand tasks each, beside one task each. Every size has a Redis database and a producer of its own,
and the sizes take turns, round by round. The bound is ours: what is meant to be flat may come out at 1.5
times the smallest on a noisy machine.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence, Set
from dataclasses import replace

from bench.contestant import OURS, Contestant
from bench.figures import Figure, Result, Samples, ratios
from bench.observe import await_quiet
from bench.stage import Stage

FLAT, JUDGED = 1.5, "ratio of the largest to the smallest"
HOLDERS = 100
PUSH = Figure("growth-push", "push, deepest queue / 10 queued", "µs", JUDGED, FLAT)
CLAIM = Figure("growth-claim", "claim, deepest queue / 10 queued", "µs", JUDGED, FLAT)
SCAN = Figure("growth-scan", "resurrector pass, most running / 100", "µs", JUDGED, FLAT)
FIGURES = (PUSH, CLAIM, SCAN)


def _p50(seconds: Sequence[float]) -> float:
    return statistics.median(seconds) * 1e6


def _sized(who: Contestant, size: int, offset: int) -> Contestant:
    """The same library on an empty database of its own; the run's own contestants use the first five."""
    return replace(who, name=f"{who.name}-{size}", database=5 + offset)


def _in_turn(stage: Stage, sizes: Sequence[Contestant], once: Callable[[Contestant], None]) -> None:
    """Measure each size once a round, after Redis has rewritten what filling it wrote."""
    await_quiet(stage.client(0))
    for _ in range(stage.effort.growth_rounds):
        for who in sizes:
            once(who)


def _queued(stage: Stage, ours: Contestant) -> list[Result]:
    sizes = {_sized(ours, depth, n): depth for n, depth in enumerate(stage.effort.depths)}
    found: dict[str, Samples] = {PUSH.key: {}, CLAIM.key: {}}
    for who, depth in sizes.items():
        stage.agent(who).ask("deepen", "noop", depth)

    def once(who: Contestant) -> None:
        times = stage.agent(who).ask("transitions", "noop", stage.effort.transitions)
        for figure, step in ((PUSH, "push"), (CLAIM, "claim")):
            found[figure.key].setdefault(f"{sizes[who]} queued", []).append(_p50(times[step]))

    _in_turn(stage, list(sizes), once)
    return [_result(PUSH, found[PUSH.key]), _result(CLAIM, found[CLAIM.key])]


def _running(stage: Stage, ours: Contestant) -> list[Result]:
    sizes = {_sized(ours, count, n): count for n, count in enumerate(stage.effort.flights)}
    found: Samples = {}
    for who, count in sizes.items():
        stage.agent(who).ask("flight", "noop", count, holders=HOLDERS)

    def once(who: Contestant) -> None:
        seconds = stage.agent(who).ask("passes", "noop", stage.effort.passes)
        found.setdefault(f"{sizes[who]} running", []).append(_p50(seconds))

    _in_turn(stage, list(sizes), once)
    return [_result(SCAN, found)]


def _result(figure: Figure, detail: Samples) -> Result:
    """The largest size is what the column shows; the ratio is to the smallest, round by round."""
    smallest, *_, largest = detail.values()
    note = ", ".join(f"{size} {statistics.median(values):.0f} µs" for size, values in detail.items())
    return Result(figure, {OURS: largest}, ratios(largest, smallest), note, detail)


def measure(stage: Stage, wanted: Set[str]) -> list[Result]:
    """Microseconds at each size. The databases stay filled until the run's Redis ends: drop them first."""
    results: list[Result] = []
    for ours in stage.only(OURS):
        if wanted & {PUSH.key, CLAIM.key}:
            results += _queued(stage, ours)
            stage.client(0).flushall(asynchronous=True)
        if SCAN.key in wanted:
            results += _running(stage, ours)
            stage.client(0).flushall(asynchronous=True)
    return results
