"""One stand for all tests of this folder, and one run of tasks with kills in it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.process import REPO, Resurrector, Worker, relier_env, wait_until
from tests.infra.telemetry.stand import Stand

TASKS = "tests.lib.telemetry_tasks"
PUSHED = 200
# Everything that a metric exists for. What is turned away, is turned away by a producer with a limit of its own.
TRAFFIC = f"""
from {TASKS} import *
for n in range({PUSHED}): fine.push(n)
for _ in range(2): once.push("a")
broken.push(); slow.push(); outer.push()
"""
SHED = f"""
from {TASKS} import *
from contextlib import suppress
from relier import AdmissionRejectedError
with suppress(AdmissionRejectedError):
    fine.push(0)
    raise SystemExit("it was admitted")
"""


def engine() -> bool:
    """Is there a Docker engine with the images of the plan?"""
    if not shutil.which("docker"):
        return False
    wanted = ("prom/prometheus:v2.53.3", "otel/opentelemetry-collector-contrib:0.120.0")
    done = subprocess.run(["docker", "image", "inspect", *wanted], capture_output=True, timeout=30, check=False)
    return done.returncode == 0


@pytest.fixture(scope="session")
def docker_engine() -> None:
    if not engine():
        pytest.skip("no Docker engine with the images of Prometheus and the collector")


@pytest.fixture(scope="session")
def stand(docker_engine: None) -> Iterator[Stand]:
    with Stand() as stand:
        yield stand


@dataclass
class Traffic:
    """A fleet that has worked, lost a child, and still runs."""

    stand: Stand
    worker: Worker
    killed: int


def produce(stand: Stand, code: str, **env: str) -> None:
    variables = relier_env(stand.env | env)
    subprocess.run([sys.executable, "-c", code], env=variables, cwd=REPO, check=True, timeout=60)


@pytest.fixture(scope="session")
def traffic(stand: Stand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traffic]:
    folder = tmp_path_factory.mktemp("traffic")
    gate = folder / "gate"
    worker = Worker(stand.env, log=folder / "worker.log", include=TASKS, concurrency=2, name="fleet")
    drained = Worker(stand.env, log=folder / "drained.log", include=TASKS, concurrency=1, name="drained")
    with worker, drained, Resurrector(stand.env, log=folder / "resurrector.log"):
        worker.wait_ready()
        drained.wait_ready().terminate()
        produce(stand, TRAFFIC)
        produce(stand, SHED, RELIER_ADMISSION_LIMIT="1")
        # A killed process has exported what it did before its last interval, so the kill comes after that.
        wait_until(lambda: stand.value("sum(relier_tasks_total)") >= PUSHED + 6, 60, "all outcomes", interval=0.5)
        produce(stand, f"from {TASKS} import *\nheld.push({str(gate)!r})")
        killed = kill_holder(gate)
        gate.touch()
        finished = 'sum(relier_tasks_total{rl_task_name="telemetry.held"})'
        wait_until(lambda: stand.value(finished) == 1, 60, "the resurrected task", interval=0.5)
        produce(stand, f"from {TASKS} import *\nfatal.push()")
        for figure in ("sum(relier_dlq_total)", "relier_dlq_size", 'sum(relier_tasks_total{status="failed"})'):
            wait_until(lambda figure=figure: stand.value(figure) == 3, 60, f"3 as {figure}", interval=0.5)
        yield Traffic(stand, worker, killed)


def kill_holder(gate: Path) -> int:
    """SIGKILL the child that runs `held`, and wait until another does."""
    note = Path(f"{gate}.pids")

    def holders() -> list[int]:
        return [int(line) for line in note.read_text().split()] if note.exists() else []

    first = wait_until(holders, 30, "a child runs it")[0]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: len(holders()) == 2, 60, "another one runs it")
    return first
