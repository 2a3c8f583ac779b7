"""`rl dlq`, `rl slo`, `rl admission` and the sharp tools of `rl admin`, without a worker."""

from __future__ import annotations

import importlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from harness.process import wait_until
from tests.lib.in_process import rl, told

HOLDER = "w@host/1.1.1.1.0"


@pytest.fixture
def noop(ledger: Any) -> Any:
    return importlib.import_module("relier.tasks.chaos").chaos_noop


@pytest.fixture
def claim(ledger: Any, noop: Any) -> Callable[[], tuple[str, int]]:
    """Push a task and claim it, as a worker would; returns its id and incarnation."""

    def take() -> tuple[str, int]:
        task_id = noop.push().id
        ticket = ledger.call("claim", task_id, HOLDER, "1", 10_000, "", "", 0)
        assert ticket[0] == b"run"
        return task_id, ticket[1]

    return take


@pytest.fixture
def quarantine(ledger: Any, claim: Callable[[], tuple[str, int]]) -> Callable[..., str]:
    """A task in the DLQ, put there by the engine's own scripts."""

    def fail(reason: str = "ValueError", error: str = "bad input") -> str:
        task_id, incarnation = claim()
        reply = ledger.call("fail", task_id, HOLDER, incarnation, reason, error, "a traceback", "w@host", "", "", 0)
        assert reply == b"ok"
        return task_id

    return fail


def test_an_empty_dlq_says_so(ledger: Any) -> None:
    assert rl("dlq", "list").stdout == "The DLQ is empty.\n"
    assert rl("dlq", "retry-all").stdout == "The DLQ is empty.\n"
    assert told("dlq", "list") == []


def test_the_dlq_lists_its_entries_by_age(quarantine: Callable[..., str]) -> None:
    first, before = quarantine(), time.time()
    wait_until(lambda: time.time() > before + 0.01, 1, "a later millisecond")
    second = quarantine("KeyError", "'who'")
    lines = rl("dlq", "list").stdout.splitlines()
    assert lines[0].split() == ["ID", "TASK", "RESURRECTIONS", "QUARANTINED_AT", "REASON", "LAST_ERROR"]
    assert [line.split()[0] for line in lines[2:]] == [first, second]
    assert "KeyError" in lines[3]
    assert [entry["task_id"] for entry in told("dlq", "list")] == [first, second]
    assert "1 more; raise --limit" in rl("dlq", "list", "--limit", "1").stdout


def test_control_characters_of_an_error_do_not_reach_the_terminal(quarantine: Callable[..., str]) -> None:
    quarantine(error="red \x1b[31m and\nmore lines")
    shown = rl("dlq", "list").stdout
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 3


def test_inspect_shows_the_reason_the_payload_and_the_traceback(quarantine: Callable[..., str]) -> None:
    task_id = quarantine()
    entry = json.loads(rl("dlq", "inspect", task_id).stdout)
    assert (entry["reason"], entry["error"], entry["traceback"]) == ("ValueError", "bad input", "a traceback")
    assert (entry["args"], entry["kwargs"]) == ([], {})


@pytest.mark.parametrize("command", ["inspect", "release"])
def test_what_is_not_in_the_dlq_cannot_be_shown_or_released(noop: Any, command: str) -> None:
    queued = noop.push().id
    for task_id in ("no-such-task", queued):
        done = rl("dlq", command, task_id)
        assert (done.exit_code, done.stdout, done.stderr) == (1, "", f"{task_id} is not in the DLQ.\n")


def test_release_puts_a_task_back_into_line(db: redis.Redis, quarantine: Callable[..., str]) -> None:
    task_id = quarantine()
    assert rl("dlq", "release", task_id).exit_code == 0
    assert db.hget(f"rl:phoenix:{task_id}", "state") == "queued"
    assert not db.hexists("rl:dlq", task_id)


def test_retry_all_keeps_what_failed_its_integrity_check(db: redis.Redis, quarantine: Callable[..., str]) -> None:
    released, kept = quarantine(), quarantine("PayloadIntegrityError", "altered")
    rows = {row["task_id"]: row["verdict"] for row in told("dlq", "retry-all")}
    assert rows == {released: "released", kept: "kept"}
    assert db.hkeys("rl:dlq") == [kept]
    assert "1 kept" in rl("dlq", "retry-all").stdout


def test_purge_asks_for_confirmation_first(db: redis.Redis, quarantine: Callable[..., str]) -> None:
    quarantine()
    refused = rl("dlq", "purge")
    assert refused.exit_code == 1
    assert "add --confirm" in refused.stderr
    assert db.hlen("rl:dlq") == 1
    assert rl("dlq", "purge", "--confirm").stdout == "Removed 1 tasks from the DLQ.\n"
    assert db.hlen("rl:dlq") == 0
    assert rl("dlq", "purge", "--confirm").exit_code == 0


def test_purge_removes_the_checkpoint_files_too(
    db: redis.Redis, settings: Callable[..., Any], quarantine: Callable[..., str], tmp_path: Path
) -> None:
    settings(checkpoint_backend="filesystem", checkpoint_dir=tmp_path)
    task_id = quarantine()
    blob = tmp_path / f"{task_id}.1.ckpt"
    blob.write_bytes(b"")
    entry = json.loads(db.hget("rl:dlq", task_id) or "")
    db.hset(
        "rl:dlq", task_id, json.dumps(entry | {"checkpoint": json.dumps({"ref": blob.name}, separators=(",", ":"))})
    )
    assert rl("dlq", "purge", "--confirm").exit_code == 0
    assert not blob.exists()


def record(db: redis.Redis, success: int, failed: int, age: float = 0.0) -> None:
    """Outcomes in the bucket that was current `age` seconds ago."""
    bucket = f"rl:slo:{math.floor((time.time() - age) / 300)}"
    db.hset(bucket, mapping={"success": success, "failed": failed})


def test_a_slo_without_outcomes_has_no_data(ledger: Any) -> None:
    assert {row["status"] for row in told("slo", "status")["windows"].values()} == {"NO DATA"}
    assert "No task has ended in three days." in rl("slo", "status").stdout


@pytest.mark.parametrize(
    ("success", "failed", "burn", "status"),
    [
        (10_000, 0, 0.0, "HEALTHY"),
        (9_995, 5, 0.5, "HEALTHY"),
        (9_950, 50, 5.0, "BURNING"),
        (9_800, 200, 20.0, "CRITICAL"),
    ],
)
def test_the_burn_rate_is_failures_over_what_is_allowed(
    ledger: Any, db: redis.Redis, success: int, failed: int, burn: float, status: str
) -> None:
    record(db, success, failed)
    row = told("slo", "status")["windows"]["1h"]
    assert (row["burn_rate"], row["status"]) == (pytest.approx(burn), status)
    assert f"{burn:.2f}x" in rl("slo", "status").stdout
    assert ("CRITICAL" in rl("slo", "status").stdout) is (status == "CRITICAL")


def test_each_window_counts_its_own_span(ledger: Any, db: redis.Redis) -> None:
    record(db, 0, 7, age=2 * 3600)
    windows = told("slo", "status")["windows"]
    assert [windows[window]["failed"] for window in ("1h", "6h", "3d")] == [0, 7, 7]


def test_a_stricter_target_burns_faster(ledger: Any, db: redis.Redis) -> None:
    record(db, 9_999, 1)
    assert told("slo", "status", "--target", "0.9999")["windows"]["1h"]["burn_rate"] == pytest.approx(1.0)


def test_a_target_that_is_no_share_is_refused(ledger: Any) -> None:
    done = rl("slo", "status", "--target", "99.9")
    assert done.exit_code == 1
    assert "The SLO target is 99.9" in done.stderr


def test_the_report_has_the_burn_rates_and_the_budget(ledger: Any, db: redis.Redis) -> None:
    record(db, 9_995, 5)
    data = json.loads(rl("slo", "report", "--period", "1h", "--format", "json").stdout)
    assert (data["1h"], data["period"], data["failed"]) == (pytest.approx(0.5), "1h", 5)
    assert data["budget_used"] == pytest.approx(0.5 / (30 * 24))
    assert "HEALTHY" in rl("slo", "report").stdout
    assert rl("slo", "report", "--period", "1y").exit_code == 2


def test_admission_allows_until_its_window_is_full_and_then_sheds(settings: Callable[..., Any], noop: Any) -> None:
    from relier.errors import AdmissionRejectedError

    settings(admission_limit=3)
    for admitted in range(3):
        state = told("admission", "status")
        assert (state["status"], state["admitted"], state["retry_after_seconds"]) == ("ALLOWING", admitted, 0)
        noop.push()
    state = told("admission", "status")
    assert (state["status"], state["admitted"]) == ("SHEDDING", 3)
    with pytest.raises(AdmissionRejectedError) as rejected:
        noop.push()
    assert state["retry_after_seconds"] == pytest.approx(rejected.value.retry_after, abs=0.5)
    assert "Status: SHEDDING (3/3, 100.0%)" in rl("admission", "status").stdout


def test_admission_counts_the_last_window_only(settings: Callable[..., Any], noop: Any) -> None:
    settings(admission_limit=1, admission_window=1)
    noop.push()
    assert told("admission", "status")["status"] == "SHEDDING"
    wait_until(lambda: told("admission", "status")["admitted"] == 0, 3, "the window has passed")
    noop.push()


def test_reset_admission_opens_the_window_at_once(settings: Callable[..., Any], noop: Any) -> None:
    settings(admission_limit=1)
    noop.push()
    assert rl("admin", "reset-admission").exit_code == 0
    noop.push()


def test_purge_locks_frees_what_is_in_flight_and_keeps_results(ledger: Any, db: redis.Redis) -> None:
    ledger.call("lock", "running", "owner", 60_000)
    ledger.call("lock", "finished", "owner", 60_000)
    ledger.call("unlock", "finished", "owner", "commit", '"cached"', 60)
    assert rl("admin", "purge-locks").stdout == "Freed 1 idempotency locks.\n"
    assert ledger.call("lock", "running", "another", 60_000) == [b"claimed"]
    assert ledger.call("lock", "finished", "another", 60_000) == [b"done", b'"cached"']


def test_purge_locks_goes_through_thousands(ledger: Any, db: redis.Redis) -> None:
    db.mset({f"rl:idem:{number}": f"busy\n{number}" for number in range(2500)})
    assert rl("admin", "purge-locks").stdout == "Freed 2500 idempotency locks.\n"
    assert db.dbsize() == 0
