"""Does a transition cost more when there is more of everything? Only ours; Celery has no ledger that could grow.

Push and claim: p50 at 10, 10⁴ and 10⁶ queued tasks, one client, each push followed by the claim of the
oldest task, so that the depth stays. A resurrector's pass: p50 with 10⁵ healthy tasks in flight on 100
holders, beside none. The bound is ours: what is meant to be flat may come out at 1.5 times the smallest on
a noisy machine.
"""

from __future__ import annotations

import statistics
from collections.abc import Set

from bench.contestant import Contestant
from bench.figures import Figure, Result
from bench.stage import OURS, Stage

FLAT, JUDGED = 1.5, "ratio of the largest to the smallest"
DEPTHS, HOLDERS, FLIGHT = (10, 10_000, 1_000_000), 100, 100_000
PUSH = Figure("growth-push", "push with 10⁶ queued / with 10", "µs", JUDGED, FLAT)
CLAIM = Figure("growth-claim", "claim with 10⁶ queued / with 10", "µs", JUDGED, FLAT)
SCAN = Figure("growth-scan", "resurrector pass, 10⁵ in flight / 100", "µs", JUDGED, FLAT)
FIGURES = (PUSH, CLAIM, SCAN)
Detail = dict[str, list[float]]


def _microseconds(seconds: list[float]) -> list[float]:
    return [one * 1e6 for one in seconds]


def _result(figure: Figure, detail: Detail) -> Result:
    """Medians at each size; the judged ratio is that of the last to the first."""
    medians = {size: statistics.median(values) for size, values in detail.items()}
    ordered = list(medians.values())
    note = ", ".join(f"{size}: {value:.0f} µs" for size, value in medians.items())
    return Result(figure, {OURS: [ordered[-1]]}, [ordered[-1] / ordered[0]], note, detail)


def _transitions(stage: Stage, who: Contestant) -> tuple[Detail, Detail]:
    agent, count = stage.agent(who), stage.effort.transitions
    pushes: Detail = {}
    claims: Detail = {}
    for depth in DEPTHS:
        stage.flush(who)
        agent.ask("deepen", "noop", depth)
        times = agent.ask("transitions", "noop", count, depth=depth)
        pushes[f"{depth} queued"] = _microseconds(times["push"])
        claims[f"{depth} queued"] = _microseconds(times["claim"])
    stage.flush(who)
    return pushes, claims


def _passes(stage: Stage, who: Contestant) -> Detail:
    agent, detail = stage.agent(who), {}
    for tasks in (HOLDERS, FLIGHT):
        stage.flush(who)
        agent.ask("flight", "noop", tasks, holders=HOLDERS)
        detail[f"{tasks} in flight"] = _microseconds(agent.ask("passes", "noop", stage.effort.passes))
    stage.flush(who)
    return detail


def measure(stage: Stage, wanted: Set[str]) -> list[Result]:
    """Microseconds at each size."""
    results: list[Result] = []
    for who in stage.only(OURS):
        if wanted & {PUSH.key, CLAIM.key}:
            pushes, claims = _transitions(stage, who)
            results += [_result(PUSH, pushes), _result(CLAIM, claims)]
        if SCAN.key in wanted:
            results.append(_result(SCAN, _passes(stage, who)))
    return results
