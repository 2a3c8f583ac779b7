"""`rl tasks` beside a live worker: what runs, what waits, what became of it, and how to end it."""

from __future__ import annotations

import importlib
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.process import Process, relier_env, wait_until
from harness.redis import RedisServer
from tests.lib.crew import Crew, recruit
from tests.lib.in_process import rl, told

NODE_NAME = "tasks"
INCLUDE = ("tests.lib.tasks", "relier.tasks.control")


@pytest.fixture(scope="module")
def stage(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """One prefork worker with two children that leaves low_priority alone, so that a task can wait there."""
    crew = recruit(server, tmp_path_factory.mktemp("stage"))
    crew.start(name=NODE_NAME, include=INCLUDE, queues="high_priority,default,re-queue")
    consuming = '"state": "consuming"'
    wait_until(lambda: consuming in (crew.client.hget("rl:workers", crew.worker.node) or ""), 10, "the registration")
    yield crew
    crew.stop()


@pytest.fixture
def bodies(stage: Crew) -> Any:
    return importlib.import_module("tests.lib.tasks")


def status_of(task_id: str) -> str:
    status: str = json.loads(rl("tasks", "inspect", task_id).stdout)["status"]
    return status


def running(stage: Crew, task: Any, *args: object) -> str:
    """Push a task and wait until its body runs."""
    task_id: str = task.push(*args).id
    stage.started(task_id)
    return task_id


def follower(stage: Crew, tmp_path: Path, *arguments: str) -> Process:
    argv = [sys.executable, "-m", "relier.cli", *arguments]
    return Process(argv, env=relier_env(stage.server.url), name="follower", log=tmp_path / "follower.log").start()


def test_inflight_counts_what_a_worker_runs_and_has_done(stage: Crew, bodies: Any, gate: Path) -> None:
    task_id = running(stage, bodies.wait_at, str(gate))
    row = next(row for row in told("tasks", "inflight")["workers"] if row["node"] == stage.worker.node)
    assert (row["state"], row["in_flight"]) == ("ONLINE", 1)
    gate.touch()
    stage.settled(task_id)
    after = next(row for row in told("tasks", "inflight")["workers"] if row["node"] == stage.worker.node)
    assert (after["in_flight"], after["completed"]) == (0, row["completed"] + 1)


def test_the_inflight_table_has_its_columns_and_its_footer(stage: Crew) -> None:
    lines = rl("tasks", "inflight", "--worker", NODE_NAME).stdout.splitlines()
    assert lines[0].split("  ")[0] == "Worker"
    for column in ("Status", "In-Flight", "Completed", "Failed", "Success Rate"):
        assert column in lines[0]
    assert any(line.startswith(stage.worker.node) for line in lines)
    assert lines[-2].startswith("Totals: ")
    assert lines[-1].startswith("Queue depth: ")
    assert "p95: " in lines[-1]


def test_the_queue_depth_counts_what_waits(stage: Crew, bodies: Any) -> None:
    before = told("tasks", "inflight")["queues"]["low_priority"]
    ids = [bodies.nap.apply_async((0,), queue="low_priority").id for _ in range(3)]
    state = told("tasks", "inflight")
    assert state["queues"]["low_priority"] == before + 3
    assert state["queue_depth"] >= 3
    for task_id in ids:
        assert rl("tasks", "cancel", task_id).exit_code == 0


def test_following_inflight_shows_it_again_and_again(stage: Crew, tmp_path: Path) -> None:
    with follower(stage, tmp_path, "tasks", "inflight", "--follow", "--json") as live:
        wait_until(lambda: live.output().count("queue_depth") >= 2, 15, "two snapshots")
        live.send(signal.SIGINT)
        assert live.wait() == 130
    assert "Traceback" not in live.output()


def test_list_names_the_tasks_that_run(stage: Crew, bodies: Any, gate: Path) -> None:
    task_id = running(stage, bodies.await_at, str(gate))
    row = next(row for row in told("tasks", "list")["tasks"] if row["task_id"] == task_id)
    assert (row["name"], row["worker"], row["starts"]) == ("tests.lib.tasks.await_at", stage.worker.node, 1)
    assert task_id in rl("tasks", "list").stdout
    assert rl("tasks", "list", "--limit", "1").stdout.count("await_at") <= 1


def test_top_measures_throughput(stage: Crew, bodies: Any) -> None:
    for _ in range(30):
        bodies.nap.push(0.1)
    state = told("tasks", "top", "--interval", "0.5")
    assert state["active_workers"] >= 1
    assert state["per_second"] > 0
    assert rl("tasks", "top", "--interval", "0.1").stdout.startswith("Throughput: ")


def test_inspect_shows_a_running_task_with_its_payload(stage: Crew, bodies: Any, gate: Path) -> None:
    task_id = running(stage, bodies.wait_at, str(gate))
    known = json.loads(rl("tasks", "inspect", task_id).stdout)
    assert (known["task_id"], known["status"], known["resurrection_count"]) == (task_id, "RUNNING", 0)
    assert (known["worker"], known["payload"]["queue"]) == (stage.worker.node, "default")
    assert known["payload"]["args"] == [str(gate)]
    assert known["dlq"] is None


def test_inspect_tells_queued_delayed_completed_and_cancelled_apart(stage: Crew, bodies: Any) -> None:
    queued = bodies.nap.apply_async((0,), queue="low_priority").id
    delayed = bodies.nap.apply_async((0,), countdown=60).id
    done = running(stage, bodies.nap, 0)
    stage.settled(done)
    assert [status_of(each) for each in (queued, delayed, done)] == ["QUEUED", "DELAYED", "COMPLETED"]
    for each in (queued, delayed):
        assert rl("tasks", "cancel", each).exit_code == 0
    assert [status_of(each) for each in (queued, delayed)] == ["CANCELLED", "CANCELLED"]


def test_inspect_of_an_unknown_task_says_so_and_fails(stage: Crew) -> None:
    done = rl("tasks", "inspect", "no-such-task")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["status"] == "UNKNOWN"
    assert "Relier knows no task no-such-task" in done.stderr


def test_retry_brings_a_task_back_from_the_dlq(stage: Crew, bodies: Any) -> None:
    task_id = bodies.nap.push("no number").id
    stage.quarantined(task_id)
    assert status_of(task_id) == "QUARANTINED"
    done = rl("tasks", "retry", task_id)
    assert done.exit_code == 0, done.output
    assert f"{task_id} is back in default" in done.stdout
    wait_until(lambda: stage.runs(task_id)[0] == 2, 10, "a second start")
    stage.quarantined(task_id)


def test_retry_sends_the_message_of_a_queued_task_again(stage: Crew, bodies: Any) -> None:
    task_id = bodies.nap.apply_async((0,), queue="low_priority").id
    stage.client.delete("low_priority")
    assert rl("tasks", "retry", task_id).exit_code == 0
    assert task_id in stage.client.lindex("low_priority", -1)
    rl("tasks", "cancel", task_id)


def test_retry_refuses_what_runs_and_what_is_over(stage: Crew, bodies: Any, gate: Path) -> None:
    task_id = running(stage, bodies.wait_at, str(gate))
    done = rl("tasks", "retry", task_id)
    assert (done.exit_code, done.stderr) == (1, f"{task_id} is running; there is nothing to retry.\n")
    gate.touch()
    stage.settled(task_id)
    assert "cannot be retried" in rl("tasks", "retry", task_id).stderr


def test_cancel_ends_a_running_task_and_its_process_is_replaced(stage: Crew, bodies: Any, gate: Path) -> None:
    task_id = running(stage, bodies.wait_at, str(gate))
    child = stage.journal.read().of(task_id)[0].pid
    done = rl("tasks", "cancel", task_id)
    assert done.exit_code == 0, done.output
    assert f"Its process {child} was ended." in done.stdout
    wait_until(lambda: child not in stage.worker.children(), 5, "the child's end")
    wait_until(lambda: len(stage.worker.children()) == 2, 5, "a new child")
    assert status_of(task_id) == "CANCELLED"
    assert bodies.nap.AsyncResult(task_id).state == "REVOKED"
    assert stage.runs(task_id) == (1, 0)


def test_cancel_without_terminate_lets_the_body_end_and_refuses_its_outcome(
    stage: Crew, bodies: Any, gate: Path
) -> None:
    task_id = running(stage, bodies.wait_at, str(gate))
    done = rl("tasks", "cancel", "--no-terminate", task_id)
    assert "its outcome will be refused" in done.stdout
    gate.touch()
    stage.ended(task_id)
    wait_until(lambda: f"Late outcome of task {task_id} refused" in stage.worker.output(), 5, "the refusal")
    assert bodies.nap.AsyncResult(task_id).state == "REVOKED"


def test_a_cancelled_task_that_waits_never_starts(stage: Crew, bodies: Any, gate: Path) -> None:
    busy = [running(stage, bodies.wait_at, str(gate)) for _ in range(2)]
    task_id, later = bodies.nap.push(0).id, bodies.nap.push(0).id
    assert rl("tasks", "cancel", task_id).stdout == f"{task_id} is cancelled; it was queued.\n"
    gate.touch()
    for each in (*busy, later):
        stage.ended(each)
    assert stage.runs(task_id) == (0, 0)


def test_cancel_of_an_unknown_task_fails(stage: Crew) -> None:
    done = rl("tasks", "cancel", "no-such-task")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "There is nothing to cancel" in done.stderr


def test_following_a_tasks_log_shows_each_state_once_until_the_end(
    stage: Crew, bodies: Any, gate: Path, tmp_path: Path
) -> None:
    task_id = running(stage, bodies.wait_at, str(gate))
    with follower(stage, tmp_path, "tasks", "logs", task_id, "--follow") as live:
        live.wait_for_output(["RUNNING"])
        gate.touch()
        assert live.wait(15) == 0
    first, last = live.output().splitlines()
    assert f"RUNNING  on {stage.worker.node}, start 1, fence 1" in first
    assert last.endswith("COMPLETED")


def test_logs_of_an_unknown_task_fails(stage: Crew) -> None:
    done = rl("tasks", "logs", "no-such-task")
    assert (done.exit_code, done.stderr) == (1, "Relier knows no task no-such-task.\n")


def test_an_unknown_worker_is_answered_with_those_that_are_known(stage: Crew) -> None:
    done = rl("tasks", "inflight", "--worker", "nobody")
    assert done.exit_code == 1
    assert "No worker is registered as 'nobody'" in done.stderr
    assert stage.worker.node in done.stderr
