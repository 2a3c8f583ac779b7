"""`rl bench`: what a push costs beside a plain Celery dispatch, on this machine and this Redis."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from relier.cli.output import Json, show, table


def bench(
    iterations: Annotated[int, typer.Option(min=1, help="Measured dispatches of each kind.")] = 1000,
    warmup: Annotated[int, typer.Option(min=0, help="Dispatches before that.")] = 100,
    as_json: Json = False,
) -> None:
    """Measure push and apush against plain Celery's dispatch, into a queue of its own that no worker consumes."""
    ids: list[str] = []
    try:
        rows = {
            "celery": _summary(_celery(iterations, warmup)),
            "push": _summary(_push(iterations, warmup, ids)),
            "apush": _summary(asyncio.run(_apush(iterations, warmup, ids))),
        }
    finally:
        _take_back(ids)
    for row in rows.values():
        row["ratio"] = round(row["p50_ms"] / rows["celery"]["p50_ms"], 2)
    show({"iterations": iterations, "paths": rows}, lambda: _text(rows), as_json)


def _text(rows: dict[str, dict[str, float]]) -> str:
    names = ("p50_ms", "p95_ms", "p99_ms", "mean_ms", "ratio")
    cells = [(path, *(row[name] for name in names)) for path, row in rows.items()]
    return table(("Path", "p50 ms", "p95 ms", "p99 ms", "mean ms", "of Celery"), cells)


def _summary(samples: list[float]) -> dict[str, float]:
    """Percentiles, and a mean without the slowest hundredth, in milliseconds."""
    ordered = sorted(samples)
    kept = ordered[: max(1, len(ordered) * 99 // 100)]

    def at(share: float) -> float:
        """By the nearest rank."""
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 3)

    mean = round(sum(kept) / len(kept) * 1000, 3)
    return {"p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99), "mean_ms": mean}


def _timed(dispatch: Callable[[], Any], iterations: int, warmup: int) -> list[float]:
    samples = []
    for number in range(warmup + iterations):
        started = time.perf_counter()
        dispatch()
        if number >= warmup:
            samples.append(time.perf_counter() - started)
    return samples


def _celery(iterations: int, warmup: int) -> list[float]:
    from celery import Celery

    from relier.tasks.app import celery_app

    config = {name: value for name, value in celery_app.conf.items() if name.startswith(("broker_", "result_"))}
    app = Celery("rl-bench", set_as_current=False)
    app.conf.update({**config, "broker_transport": None})
    try:
        return _timed(lambda: app.send_task("relier.bench.noop", queue=_queue()), iterations, warmup)
    finally:
        app.close()


def _queue() -> str:
    return f"rl-bench-{os.getpid()}"


def _noop() -> Any:
    from relier.tasks.chaos import chaos_noop

    chaos_noop.rl_queue = _queue()  # type: ignore[attr-defined]
    return chaos_noop


def _push(iterations: int, warmup: int, ids: list[str]) -> list[float]:
    from relier.errors import AdmissionRejectedError

    noop = _noop()
    samples: list[float] = []
    while len(samples) < iterations + warmup:
        started = time.perf_counter()
        try:
            ids.append(noop.push().id)
        except AdmissionRejectedError as error:
            time.sleep(error.retry_after)
        else:
            samples.append(time.perf_counter() - started)
    return samples[warmup:]


async def _apush(iterations: int, warmup: int, ids: list[str]) -> list[float]:
    from relier.errors import AdmissionRejectedError

    noop = _noop()
    samples: list[float] = []
    while len(samples) < iterations + warmup:
        started = time.perf_counter()
        try:
            ids.append((await noop.apush()).id)
        except AdmissionRejectedError as error:
            await asyncio.sleep(error.retry_after)
        else:
            samples.append(time.perf_counter() - started)
    return samples[warmup:]


def _take_back(ids: list[str]) -> None:
    from relier.cli.fleet import client
    from relier.ledger import get_ledger

    for task_id in ids:
        get_ledger().call("cancel", task_id, "", "", 0)
    queue = _queue()
    client().delete(queue, f"_kombu.binding.{queue}", f"_kombu.binding_permanent.{queue}")
