"""How long an operator waits: a cold `rl doctor` against `python -c "import redis"`, each a new process."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Set

from bench.contestant import OURS, UPSTREAM, Contestant
from bench.errors import ContestantFailed
from bench.figures import Figure, Result, Samples, ratios
from bench.rows.judge import by_round, judged_alone
from bench.stage import Stage

WALL = Figure("doctor", "cold rl doctor", "s", "our seconds", 0.25, 0.18)
OVER_IMPORT = Figure("doctor-import", "· over python -c 'import redis'", "s", "ratio", 2.0, None)
FIGURES = (WALL, OVER_IMPORT)
IMPORT = "import redis"


def _seconds(stage: Stage, who: Contestant, argv: list[str]) -> float:
    """Wall seconds of one process. Its findings may be bad news (exit 1); a traceback is a failure."""
    env = who.env(stage.server.port, stage.home)
    begin = time.perf_counter()
    run = subprocess.run(argv, env=env, cwd=stage.home, capture_output=True, text=True, timeout=60, check=False)
    seconds = time.perf_counter() - begin
    if run.returncode not in (0, 1) or "Traceback" in run.stderr:
        lines = (run.stderr.strip() or run.stdout.strip() or "no output").splitlines()
        raise ContestantFailed(who.label, f"{' '.join(argv[-2:])} exited with {run.returncode}: {lines[-1][:300]}")
    return seconds


def _round(stage: Stage, doctors: Samples, imports: Samples) -> None:
    for who in stage.only(UPSTREAM, OURS):
        by_round(doctors, who, _seconds(stage, who, who.rl_argv("doctor")))
        by_round(imports, who, _seconds(stage, who, [who.python, "-c", IMPORT]))


def measure(stage: Stage, wanted: Set[str]) -> list[Result]:
    """Seconds. The first round fills caches of bytecode and pages, and is thrown away."""
    doctors: Samples = {}
    imports: Samples = {}
    _round(stage, {}, {})
    for _ in range(stage.effort.doctor_rounds):
        _round(stage, doctors, imports)
    over = Result(OVER_IMPORT, imports, ratios(doctors.get(OURS, []), imports.get(OURS, [])), "columns: the import")
    return [judged_alone(WALL, doctors), over]
