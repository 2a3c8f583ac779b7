"""What leaves producers, workers and the resurrector by OTLP, seen by a real receiver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from harness.process import REPO, relier_env, wait_until
from harness.redis import RedisServer, free_port
from tests.lib.otlp import Receiver, Span

TASKS = "tests.lib.telemetry_tasks"
CLAIM_TO_COMMIT = ["claim", "run", "commit"]


@pytest.fixture
def otlp() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def produce(server: RedisServer, db: redis.Redis, otlp: Receiver) -> Callable[..., str]:
    """Run lines of a producer in a process of its own, with the tasks imported; returns what it printed."""

    def run(code: str, **env: str) -> str:
        variables = {"RELIER_REDIS_URL": server.url} | otlp.env | env
        program = f"from {TASKS} import *\n{code}"
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=relier_env(variables),
            cwd=REPO,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def worker(start_worker: Callable[..., Any], otlp: Receiver) -> Callable[..., Any]:
    def start(concurrency: int = 2, env: dict[str, str] | None = None, **options: Any) -> Any:
        return start_worker(include=TASKS, env=otlp.env | (env or {}), concurrency=concurrency, **options)

    return start


def soon(predicate: Callable[[], Any], what: str) -> Any:
    return wait_until(predicate, 30, what, interval=0.1)


def whole(spans: list[Span], of: str) -> bool:
    return any(span.name == f"process {of}" for span in spans)


def held_by(gate: Path, start: int) -> list[int]:
    """Who has begun to run `held`, after the first few."""
    note = Path(f"{gate}.pids")
    return [int(line) for line in note.read_text().split()][start:] if note.exists() else []


# Off


@pytest.fixture(scope="module")
def by_redis_alone() -> set[str]:
    """redis-py imports OpenTelemetry by itself where it is installed. What is more than that is Relier's doing."""
    program = "import redis.asyncio.sentinel, redis.sentinel, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def test_a_producer_without_telemetry_never_imports_opentelemetry(
    produce: Callable[..., str], by_redis_alone: set[str]
) -> None:
    names = produce("fine.push(1); once.push('a'); print(*imported())", RELIER_OTEL_ENABLED="false").split()
    assert set(names) <= by_redis_alone


def test_a_worker_without_telemetry_never_imports_opentelemetry(
    start_worker: Callable[..., Any], settings: Callable[..., Any], by_redis_alone: set[str]
) -> None:
    start_worker(include=TASKS, concurrency=1)
    from tests.lib.telemetry_tasks import modules, once

    once.push("a").get(timeout=20)
    assert set(modules.push().get(timeout=20)) <= by_redis_alone


def test_a_resurrector_without_telemetry_never_loads_grpc(start_resurrector: Callable[..., Any]) -> None:
    resurrector = start_resurrector(RELIER_LOG_LEVEL="DEBUG")
    libraries = Path(f"/proc/{resurrector.pid}/maps")
    soon(lambda: "hiredis" in libraries.read_text(), "it talks to Redis")
    assert "grpc" not in libraries.read_text()


def test_telemetry_that_is_not_installed_is_one_sentence_and_no_error(produce: Callable[..., str]) -> None:
    said = produce("import sys\nsys.modules['opentelemetry'] = None\nfor n in range(3): fine.push(n)\nprint('pushed')")
    assert said.count("RELIER_OTEL_ENABLED is true, but") == 1 and "pip install 'relier[otel]'" in said
    assert "pushed" in said and "Traceback" not in said


# Metrics


def test_the_counters_of_pool_children_add_up(
    produce: Callable[..., str], worker: Callable[..., Any], otlp: Receiver
) -> None:
    worker(concurrency=3)
    produce("for n in range(90): fine.push(n)")
    soon(lambda: otlp.total("relier.tasks") == 90, "90 outcomes")
    assert len({point.instance for point in otlp.points("relier.tasks")}) > 1
    assert otlp.total("relier.tasks", rl_task_name="telemetry.fine", status="completed") == 90
    assert otlp.total("relier.task.duration") == otlp.total("relier.admission", rl_admission_result="ok") == 90
    phases = {p: otlp.total("relier.overhead", phase=p) for p in ("enqueue", "pickup", "schema", "commit")}
    assert phases == dict.fromkeys(phases, 90)
    assert {point.labels["rl.worker.id"] for point in otlp.points("relier.tasks")} == {f"worker@{os.uname().nodename}"}


def test_histograms_tell_milliseconds_apart(
    produce: Callable[..., str], worker: Callable[..., Any], otlp: Receiver
) -> None:
    worker()
    produce("fine.push(1)")
    soon(lambda: otlp.points("relier.task.duration"), "a duration")
    (duration,), overhead = otlp.points("relier.task.duration"), otlp.points("relier.overhead")
    assert (duration.bounds[0], duration.bounds[-1]) == (0.005, 300)
    assert all(point.bounds[0] < 0.001 < point.bounds[-1] for point in overhead)


def test_hits_failures_and_timeouts_are_counted_with_their_labels(
    produce: Callable[..., str], worker: Callable[..., Any], otlp: Receiver
) -> None:
    worker()
    produce("for _ in range(3): once.push('a')\nbroken.push(); slow.push()")
    soon(lambda: otlp.total("relier.tasks") == 5, "five outcomes")
    assert otlp.total("relier.tasks", status="idempotency_hit") == otlp.total("relier.idempotency.hits") == 2
    assert otlp.total("relier.tasks", status="failed", reason="ValueError", rl_task_name="telemetry.broken") == 1
    assert otlp.total("relier.dlq", reason="HardTimeoutError", rl_task_name="telemetry.slow") == 1
    assert [otlp.total("relier.timeouts", type=kind) for kind in ("soft", "hard")] == [1, 1]
    assert otlp.total("relier.overhead", phase="idempotency", rl_task_name="telemetry.once") == 3 + 2


def test_what_admission_turned_away_is_counted(produce: Callable[..., str], otlp: Receiver) -> None:
    produce(
        "from contextlib import suppress\nfrom relier import AdmissionRejectedError\n"
        "for n in range(5):\n    with suppress(AdmissionRejectedError): fine.push(n)",
        RELIER_ADMISSION_LIMIT="3",
    )
    results = {p.labels["rl.admission.result"]: p.value for p in otlp.points("relier.admission")}
    assert results == {"ok": 3, "rejected": 2}


def test_a_producer_that_ends_at_once_has_exported_everything(produce: Callable[..., str], otlp: Receiver) -> None:
    produce("for n in range(7): fine.push(n)", OTEL_METRIC_EXPORT_INTERVAL="600000", OTEL_BSP_SCHEDULE_DELAY="600000")
    assert otlp.total("relier.admission") == 7
    assert len(otlp.spans) == 7


def test_after_a_kill_each_process_reports_its_own_figures_once(
    produce: Callable[..., str], worker: Callable[..., Any], otlp: Receiver, tmp_path: Path
) -> None:
    """The worker's parent buries the child, so it exports too; children forked later must not repeat its figures."""
    worker(concurrency=1)
    for round_ in range(2):
        gate = tmp_path / f"gate-{round_}"
        produce(f"held.push({str(gate)!r})")
        os.kill(soon(lambda gate=gate: held_by(gate, 0), "a child runs it")[0], signal.SIGKILL)
        soon(lambda gate=gate: held_by(gate, 1), "another one runs it")
        gate.touch()
        done = round_ + 1
        soon(lambda done=done: otlp.total("relier.tasks", rl_task_name="telemetry.held") == done, "its outcome")
    produce("for n in range(20): fine.push(n)")
    soon(lambda: otlp.total("relier.tasks", rl_task_name="telemetry.fine") == 20, "20 outcomes")
    (buried,) = otlp.points("relier.resurrections")
    assert (buried.value, buried.labels) == (2, {"rl.task.name": "telemetry.held"})


def test_a_task_that_kills_too_often_is_a_failure_with_its_reason(
    produce: Callable[..., str], worker: Callable[..., Any], otlp: Receiver
) -> None:
    worker(concurrency=1)
    produce("fatal.push()")
    failed = {"reason": "max_resurrections_exceeded", "rl_task_name": "telemetry.fatal"}
    soon(lambda: otlp.total("relier.tasks", status="failed", **failed), "its outcome")
    assert otlp.total("relier.dlq", **failed) == 1
    assert not otlp.points("relier.task.duration", rl_task_name="telemetry.fatal")


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_drain_exports_what_the_last_interval_would_have(
    pool: str, produce: Callable[..., str], worker: Callable[..., Any], otlp: Receiver, db: redis.Redis
) -> None:
    running = worker(pool=pool, env={"OTEL_METRIC_EXPORT_INTERVAL": "600000", "OTEL_BSP_SCHEDULE_DELAY": "600000"})
    produce("for n in range(20): fine.push(n)")
    soon(lambda: int(db.get("rl:m:global:success") or 0) == 20, "20 commits")
    assert running.terminate() == 0
    assert otlp.total("relier.tasks", status="completed") == 20
    assert sum(span.name == "commit" for span in otlp.spans) == 20
    (drained,) = otlp.points("relier.drains")
    assert (drained.value, drained.labels["type"]) == (1, "clean")


def test_a_drain_that_hands_something_off_is_forced(
    produce: Callable[..., str], worker: Callable[..., Any], otlp: Receiver, tmp_path: Path
) -> None:
    running = worker(env={"RELIER_GRACEFUL_SHUTDOWN_TIMEOUT": "1"})
    produce(f"held.push({str(tmp_path / 'never')!r})")
    soon(lambda: held_by(tmp_path / "never", 0), "it runs")
    running.terminate()
    (drained,) = otlp.points("relier.drains")
    assert (drained.value, drained.labels["type"]) == (1, "forced")


def test_the_resurrector_shows_what_the_cluster_holds(
    produce: Callable[..., str], worker: Callable[..., Any], otlp: Receiver, start_resurrector: Any, tmp_path: Path
) -> None:
    worker(concurrency=1, queues="high_priority")
    gate = tmp_path / "gate"
    produce(f"held.push({str(gate)!r})\nfor n in range(4): fine.push(n)\nfine.apply_async((1,), countdown=600)")
    soon(lambda: held_by(gate, 0), "it runs")
    start_resurrector(**otlp.env)
    soon(lambda: otlp.total("relier.tasks.inflight") == 1, "one in flight")
    gauges = {name: otlp.total(f"relier.{name}") for name in ("tasks.delayed", "dlq.size", "workers.alive")}
    assert gauges == {"tasks.delayed": 1, "dlq.size": 0, "workers.alive": 1}
    depth = {point.labels["rl.task.queue"]: point.value for point in otlp.points("relier.queue.depth")}
    assert depth == {"default": 4, "high_priority": 0, "low_priority": 0, "re-queue": 0}
    soon(lambda: otlp.total("relier.resurrector.scans") >= 1, "a pass")
    gate.touch()
    soon(lambda: otlp.total("relier.tasks.inflight") == 0, "none in flight")


# Traces


def test_one_trace_holds_push_claim_body_and_commit(
    produce: Callable[..., str], worker: Callable[..., Any], otlp: Receiver
) -> None:
    worker()
    task_id = produce("print(fine.push(1).id)").strip()
    spans = soon(lambda: (t := otlp.trace_of("push telemetry.fine")) and whole(t, "telemetry.fine") and t, "a trace")
    push, process, claim, run, commit = spans
    assert [span.name.split()[0] for span in spans] == ["push", "process", *CLAIM_TO_COMMIT]
    assert (push.parent, process.parent) == ("", push.id)
    assert {claim.parent, run.parent, commit.parent} == {process.id}
    assert process.started <= claim.started <= claim.ended <= run.started <= run.ended <= commit.started
    assert push.attributes == {
        "rl.task.id": task_id,
        "rl.task.name": "telemetry.fine",
        "rl.task.queue": "default",
        "rl.admission.result": "ok",
    }
    assert process.attributes == {
        "rl.task.id": task_id,
        "rl.task.name": "telemetry.fine",
        "rl.task.queue": "default",
        "rl.worker.id": f"worker@{os.uname().nodename}",
        "rl.task.schema_version": 1,
        "rl.task.is_resurrection": False,
        "rl.task.is_idempotent": False,
        "rl.task.idempotency_hit": False,
    }
    assert not any(span.failed for span in spans)


def test_a_resurrected_task_goes_on_in_the_same_trace(
    produce: Callable[..., str], worker: Callable[..., Any], otlp: Receiver, tmp_path: Path
) -> None:
    worker()
    gate = tmp_path / "gate"
    produce(f"held.push({str(gate)!r})")
    os.kill(soon(lambda: held_by(gate, 0), "a child runs it")[0], signal.SIGKILL)
    soon(lambda: held_by(gate, 1), "another one runs it")
    gate.touch()
    spans = soon(lambda: (t := otlp.trace_of("push telemetry.held")) and whole(t, "telemetry.held") and t, "a trace")
    (process,) = [span for span in spans if span.name.startswith("process")]
    assert process.parent == spans[0].id
    assert process.attributes["rl.task.is_resurrection"] is True


def test_what_a_coroutine_pushes_belongs_to_its_trace(
    produce: Callable[..., str], worker: Callable[..., Any], otlp: Receiver
) -> None:
    worker()
    produce("outer.push()")
    spans = soon(lambda: (t := otlp.trace_of("push telemetry.outer")) and len(t) == 10 and t, "both tasks")
    by_name = {span.name: span for span in spans}
    assert by_name["push telemetry.fine"].parent == by_name["run telemetry.outer"].id
    assert by_name["process telemetry.fine"].parent == by_name["push telemetry.fine"].id


def test_a_hit_a_failure_and_a_retry_look_like_what_they_are(
    produce: Callable[..., str], worker: Callable[..., Any], otlp: Receiver
) -> None:
    worker(concurrency=1)
    produce("once.push('b'); once.push('b'); broken.push(); again.push()")
    soon(lambda: otlp.total("relier.tasks") == 4, "four outcomes")
    spans = soon(lambda: [s for s in otlp.spans if s.name.startswith("process")][4:] and otlp.spans, "five runs")
    hits = [s.attributes["rl.task.idempotency_hit"] for s in spans if s.name == "process telemetry.once"]
    assert hits == [False, True]
    assert sum(s.name == "run telemetry.once" for s in spans) == 1
    assert {s.name for s in spans if s.failed} == {"process telemetry.broken", "run telemetry.broken"}


# A collector that is away


def test_a_collector_that_is_away_costs_no_task_and_no_clean_exit(
    produce: Callable[..., str], worker: Callable[..., Any], db: redis.Redis
) -> None:
    nowhere = {"RELIER_OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    running = worker(env=nowhere)
    produce("for n in range(20): fine.push(n)", **nowhere)
    soon(lambda: int(db.get("rl:m:global:success") or 0) == 20, "20 commits")
    assert running.terminate() == 0
