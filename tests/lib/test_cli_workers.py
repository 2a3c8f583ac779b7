"""`rl worker`, the probes and `rl chaos` on real workers: who works, how to take one out, and what happens then."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from harness.process import Process, Worker, relier_env, wait_until
from harness.process import rl as rl_process
from harness.redis import RedisServer, free_port
from tests.lib.crew import Crew, recruit
from tests.lib.in_process import rl, told

INCLUDE = ("tests.lib.tasks", "relier.tasks.control")
PATIENCE = 15.0


@pytest.fixture(scope="module")
def stage(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """A resurrector and a worker that stays; tests add the workers that they harm, and those own low_priority."""
    folder = tmp_path_factory.mktemp("stage")
    os.environ["RELIER_RUNTIME_DIR"] = str(folder / "run")
    crew = recruit(server, folder)
    crew.start_resurrector(RELIER_HEARTBEAT_TTL="4", RELIER_RESURRECTION_CHECK_INTERVAL="0.5")
    worker = join(crew, "stays", queues="high_priority,default,re-queue")
    consuming = '"state": "consuming"'
    wait_until(lambda: consuming in crew.client.hget("rl:workers", worker.node), PATIENCE, "the worker consumes")
    yield crew
    crew.stop()
    del os.environ["RELIER_RUNTIME_DIR"]
    recruit(server, folder)


def join(crew: Crew, name: str, **options: Any) -> Worker:
    """Start a worker and wait until it is ready and registered."""
    env = {"RELIER_HEARTBEAT_TTL": "4", "RELIER_RUNTIME_DIR": os.environ["RELIER_RUNTIME_DIR"]} | options.pop("env", {})
    worker = crew.start(name=name, include=INCLUDE, env=env, **({"queues": "low_priority"} | options))
    wait_until(lambda: crew.client.hexists("rl:workers", worker.node), PATIENCE, f"{name} registered")
    return worker


@pytest.fixture
def bodies(stage: Crew) -> Any:
    return importlib.import_module("tests.lib.tasks")


def row_of(node: str) -> dict[str, Any] | None:
    return next((row for row in told("worker", "status")["workers"] if row["node"] == node), None)


def test_status_shows_the_queues_of_each_worker(stage: Crew) -> None:
    row = row_of(stage.worker.node)
    assert row is not None
    assert (row["state"], row["pool"], row["concurrency"]) == ("ONLINE", "prefork", 2)
    assert (row["queues"], row["pid"]) == (["default", "high_priority", "re-queue"], stage.worker.pid)
    lines = rl("worker", "status").stdout.splitlines()
    line = next(line for line in lines if line.startswith(stage.worker.node))
    assert line.split()[2] == "default,high_priority,re-queue"
    assert lines[-1].startswith("Total: ")


def test_a_worker_that_consumes_is_alive_and_ready(stage: Crew) -> None:
    env = {"RELIER_REDIS_URL": stage.server.url, "RELIER_RUNTIME_DIR": os.environ["RELIER_RUNTIME_DIR"]}
    for kind, words in (("live", "is alive"), ("ready", "consumes default, high_priority, re-queue")):
        done = rl_process(env, "probe", kind, "--node", stage.worker.node)
        assert (done.returncode, done.stderr) == (0, "")
        assert words in done.stdout
    away = env | {"RELIER_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    assert rl_process(away, "probe", "live", "--node", stage.worker.node).returncode == 0
    assert "cannot reach Redis" in rl_process(away, "probe", "ready", "--node", stage.worker.node).stderr


def test_drain_lets_a_worker_finish_and_leave(stage: Crew, bodies: Any, gate: Path) -> None:
    worker = join(stage, "leaves")
    task_id = bodies.wait_at.apply_async((str(gate),), queue="low_priority").id
    stage.started(task_id)
    done = rl("worker", "drain", "leaves")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{worker.node} drains")
    wait_until(lambda: (row_of(worker.node) or {}).get("state") == "DRAINING", PATIENCE, "the state DRAINING")
    assert rl("probe", "ready", "--node", worker.node).stderr == f"{worker.node} does not consume: it is draining.\n"
    late = bodies.nap.apply_async((0,), queue="low_priority").id
    gate.touch()
    assert worker.wait(PATIENCE) == 0
    assert stage.runs(task_id) == (1, 1)
    assert stage.record(late)["state"] == "queued"
    rl("tasks", "cancel", late)


def test_restart_makes_a_worker_leave_for_its_supervisor(stage: Crew) -> None:
    worker = join(stage, "again", pool="solo")
    done = rl("worker", "restart", worker.node)
    assert done.exit_code == 0, done.output
    assert "its supervisor" in done.stdout
    assert worker.wait(PATIENCE) == 0


def test_a_worker_that_no_longer_reports_cannot_drain(stage: Crew) -> None:
    entry = {"queues": [], "state": "consuming", "seen": 1, "pid": 1, "pool": "solo", "concurrency": 1}
    stage.client.hset("rl:workers", "ghost@host", json.dumps(entry))
    done = rl("worker", "drain", "ghost")
    assert done.exit_code == 1
    assert "rl worker reap ghost@host" in done.stderr
    assert rl("worker", "reap", "ghost@host").exit_code == 0
    assert not stage.client.hexists("rl:workers", "ghost@host")


@pytest.mark.parametrize("command", ["drain", "restart", "reset"])
def test_an_unknown_worker_is_answered_with_the_known_ones(stage: Crew, command: str) -> None:
    done = rl("worker", command, "nobody")
    assert done.exit_code == 1
    assert "No worker is registered as 'nobody'" in done.stderr
    assert stage.worker.node in done.stderr


def test_reset_sets_the_counters_back(stage: Crew, bodies: Any) -> None:
    task_id = bodies.nap.push(0).id
    stage.settled(task_id)
    before = row_of(stage.worker.node)
    assert before is not None
    assert before["completed"] > 0
    assert rl("worker", "reset", "stays").exit_code == 0
    after = row_of(stage.worker.node)
    assert after is not None
    assert (after["completed"], after["success_rate"]) == (0, None)


def test_reap_brings_the_tasks_of_a_dead_worker_back_at_once(stage: Crew, bodies: Any, gate: Path) -> None:
    worker = join(stage, "dies", pool="solo", env={"RELIER_HEARTBEAT_TTL": "600"})
    task_id = bodies.wait_at.apply_async((str(gate),), queue="low_priority").id
    stage.started(task_id)
    refused = rl("worker", "reap", worker.node)
    assert refused.exit_code == 1
    assert f"lives here (pid {worker.pid})" in refused.stderr
    assert stage.runs(task_id) == (1, 0)
    resurrector = next(process for process in stage.processes if process.name == "resurrector")
    resurrector.freeze()
    try:
        worker.kill()
        done = rl("worker", "reap", worker.node)
    finally:
        resurrector.thaw()
    assert (done.exit_code, done.stdout) == (0, f"{worker.node}: 1 tasks are back in line, 0 went to the DLQ.\n")
    stage.ended(task_id)
    assert row_of(worker.node) is None


def test_cancel_stops_a_coroutine_in_a_threads_pool_and_says_what_it_cannot_stop(
    stage: Crew, bodies: Any, gate: Path
) -> None:
    worker = join(stage, "threads", pool="threads")
    ids = []
    for body, words in ((bodies.await_at, "Its coroutine was cancelled."), (bodies.wait_at, "cannot be stopped")):
        ids.append(body.apply_async((str(gate),), queue="low_priority").id)
        stage.started(ids[-1])
        done = rl("tasks", "cancel", ids[-1])
        assert done.exit_code == 0, done.output
        assert words in done.stdout
    gate.touch()
    stage.ended(ids[1])
    wait_until(lambda: f"Late outcome of task {ids[1]} refused" in worker.output(), PATIENCE, "the refusal")
    after = bodies.nap.apply_async((0,), queue="low_priority").id
    stage.ended(after)
    assert [stage.runs(task_id) for task_id in ids] == [(1, 0), (1, 1)]
    worker.stop()


def test_worker_kill_kills_a_whole_worker_and_shows_how_its_tasks_come_back(stage: Crew) -> None:
    victim = join(stage, "victim")
    children = victim.children()
    command = ("chaos", "worker-kill", "--worker", victim.node, "--watch", "--watch-duration", "20")
    sleep = importlib.import_module("relier.tasks.chaos").chaos_sleep
    task_id = sleep.apply_async((6,), queue="low_priority").id
    wait_until(lambda: stage.record(task_id).get("holder", "").startswith(victim.node), PATIENCE, "it runs")
    done = rl(*command, "--seed", "--seed-duration", "0.2")
    assert done.exit_code == 0, done.output
    assert f"it runs on {stage.worker.node}" in done.stdout.splitlines()[0]
    assert f"killed {victim.node}: pid {victim.pid} and {len(children)} children; it held 1 tasks" in done.stdout
    assert f"{task_id}  runs again on {stage.worker.node}" in done.stdout
    assert victim.wait(5) == -signal.SIGKILL
    rl("worker", "reap", victim.node)
    stage.settled(task_id)


def test_worker_kill_refuses_a_worker_that_is_not_here(stage: Crew) -> None:
    done = rl("chaos", "worker-kill", "--worker", "nobody")
    assert done.exit_code == 1
    assert "No worker is registered as 'nobody'" in done.stderr
    entry = json.loads(stage.client.hget("rl:workers", stage.worker.node) or "")
    stage.client.hset("rl:workers", "far@no-such-container", json.dumps(entry))
    done = rl("chaos", "worker-kill", "--worker", "far")
    assert done.exit_code == 1
    assert "does not run on this host" in done.stderr
    rl("worker", "reap", "far@no-such-container")
    assert stage.worker.alive


def test_a_corrupted_task_ends_in_the_dlq_unrun(stage: Crew) -> None:
    done = rl("chaos", "task-corrupt")
    assert done.exit_code == 0, done.output
    assert "is in the DLQ with PayloadIntegrityError" in done.stdout


def test_a_partition_cuts_redis_off_for_a_while_and_no_task_is_lost(
    stage: Crew, bodies: Any, gate: Path, tmp_path: Path
) -> None:
    task_id = bodies.wait_at.push(str(gate)).id
    stage.started(task_id)
    argv = [sys.executable, "-m", "relier.cli", "chaos", "network-partition", "--secs", "2"]
    log = tmp_path / "partition.log"
    # Who makes a server silent is no application: the app's user may not.
    env = relier_env(stage.server.url.replace(stage.server.login, ""))
    with Process(argv, env=env, name="partition", log=log).start() as partition:
        partition.wait_for_output(["Redis answers nobody"])
        with stage.server.client(socket_timeout=0.3) as client, pytest.raises(redis.TimeoutError):
            client.ping()
        assert partition.wait(PATIENCE) == 0
        assert "Redis answers again" in partition.output()
    gate.touch()
    stage.settled(task_id)
    assert stage.runs(task_id) == (1, 1)


def test_a_load_spike_counts_what_was_accepted_and_rejected(stage: Crew) -> None:
    rl("admin", "reset-admission")
    env = {"RELIER_REDIS_URL": stage.server.url, "RELIER_ADMISSION_LIMIT": "10"}
    done = rl_process(env, "chaos", "load-spike", "--rps", "50", "--duration", "0.5", "--json")
    counts = json.loads(done.stdout)
    assert (counts["accepted"], counts["errored"]) == (10, 0)
    assert counts["rejected"] == 15
    rl("admin", "reset-admission")


def test_a_slow_task_ends_in_the_dlq_with_its_hard_timeout(stage: Crew) -> None:
    worker = join(stage, "quick", env={"RELIER_HARD_TIMEOUT": "1", "RELIER_SOFT_TIMEOUT": "0.5"}, queues="default")
    stage.worker.freeze()
    try:
        env = {"RELIER_REDIS_URL": stage.server.url, "RELIER_HARD_TIMEOUT": "1", "RELIER_SOFT_TIMEOUT": "0.5"}
        done = rl_process(env, "chaos", "slow-task", "--duration", "5")
    finally:
        stage.worker.thaw()
    assert done.returncode == 0, done.stderr
    assert "is in the DLQ with HardTimeoutError" in done.stdout
    worker.stop()


def test_bench_compares_with_celery_and_leaves_nothing_behind(stage: Crew) -> None:
    before = set(stage.client.scan_iter(match="*bench*"))
    done = rl("bench", "--iterations", "20", "--warmup", "2", "--json")
    assert done.exit_code == 0, done.output
    paths = json.loads(done.stdout)["paths"]
    assert set(paths) == {"celery", "push", "apush"}
    assert all(0 < row["p50_ms"] <= row["p99_ms"] for row in paths.values())
    assert set(stage.client.scan_iter(match="*bench*")) == before
