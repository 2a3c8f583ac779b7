"""One run from first to last: set up, measure row after row, tear down."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from bench.contestant import OURS, UPSTREAM, Contestant
from bench.effort import Effort
from bench.errors import BenchError
from bench.figures import Result
from bench.rows import Row, rows_of
from bench.stage import Stage
from bench.upstream import versions
from harness.redis import RedisServer
from relier import __version__

Say = Callable[[str], None]
# Snapshots by the minute would take a core from whoever runs just then; the append-only file stays on as shipped.
# A million queued tasks need more than the shipped limit on memory.
OVERLAY = {"save": '""', "maxmemory": "0"}


@dataclass
class Report:
    """What a run found, and what failed to run, a sentence each."""

    about: dict[str, Any] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def _versions(one: Contestant) -> dict[str, str | None]:
    """Our own code is this checkout, whatever the interpreter has installed."""
    own = {"relier": __version__} if one.name == OURS else {} if one.name == UPSTREAM else {"relier": None}
    return versions(one.python) | own


def _about(server: RedisServer, everyone: Sequence[Contestant]) -> dict[str, Any]:
    with server.client() as client:
        redis_version = client.info("server")["redis_version"]
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "redis_server": redis_version,
        "packages": {one.name: _versions(one) for one in everyone},
    }


def _measure(stage: Stage, row: Row, wanted: Set[str], report: Report, say: Say) -> None:
    """One row; if a contestant fails in it, the others' rows still run."""
    say(f"{row.name}: {', '.join(figure.key for figure in row.figures if figure.key in wanted)}")
    begin = time.monotonic()
    try:
        results = row.measure(stage, wanted)
        report.results += [result for result in results if result.figure.key in wanted]
    except (BenchError, RedisError, TimeoutError) as error:
        report.failures.append(f"{row.name}: {error}")
        say(f"failed: {error}")
    finally:
        stage.rest()
    report.seconds[row.name] = round(time.monotonic() - begin, 1)


def _server() -> RedisServer:
    try:
        return RedisServer(OVERLAY)
    except RuntimeError as error:
        raise BenchError(str(error)) from None


def run(everyone: list[Contestant], effort: Effort, wanted: Set[str], say: Say) -> Report:
    """Measure every row that has a wanted figure. Nothing is left running and no file is left behind."""
    report = Report()
    with tempfile.TemporaryDirectory(prefix="relier-bench-") as home, _server() as server:
        report.about = _about(server, everyone)
        with Stage(server, Path(home), everyone, effort) as stage:
            for row in rows_of(wanted):
                _measure(stage, row, wanted, report, say)
    return report
