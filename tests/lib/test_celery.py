"""Celery keeps working with `@rl_task`: binding, retries, schedules, limits, revocation, results."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from celery.exceptions import TaskRevokedError, TimeLimitExceeded

from harness.process import wait_until

pytest_plugins = ("tests.lib.crew",)
pytestmark = pytest.mark.usefixtures("crew")


@pytest.mark.parametrize("name", ["bound", "bound_async"])
def test_a_bound_task_knows_its_name_its_id_and_its_queue(features, name):
    task = getattr(features, name)
    receipt = task.push(5)
    assert receipt.get(timeout=20) == [task.name, receipt.id, 0, "default", 5]


@pytest.mark.parametrize("name", ["retried", "retried_async"])
def test_self_retry_runs_the_task_again_under_its_own_id(features, crew, token, name):
    receipt = getattr(features, name).push(token, 2)
    assert receipt.get(timeout=20) == 2
    assert [entry.extra for entry in crew.journal.read().of(token, "start")] == ["0", "1", "2"]
    assert crew.runs(token) == (3, 1)


def test_a_retry_may_change_the_arguments(features, crew, token):
    assert features.retried_with_other_arguments.push(token, 1).get(timeout=20) == 3
    assert [entry.extra for entry in crew.journal.read().of(token, "start")] == ["1", "2", "3"]


def test_a_task_that_waits_for_its_retry_says_so_and_lies_in_redis(features, crew, token):
    receipt = features.backing_off.push(token, 1)
    wait_until(lambda: receipt.state == "RETRY", 20, "state RETRY", interval=0.01)
    assert crew.record(receipt.id)["state"] == "delayed"
    assert crew.client.zscore("rl:delayed", receipt.id)
    assert receipt.get(timeout=20) == token


@pytest.mark.parametrize("name", ["retried", "retried_async"])
def test_retries_that_run_out_end_in_the_dlq_with_the_last_error(features, crew, token, name):
    receipt = getattr(features, name).push(token, 9)
    entry = crew.quarantined(receipt.id)
    assert (entry["reason"], entry["error"]) == ("Unavailable", "later")
    assert crew.runs(token) == (4, 0)
    assert receipt.state == "FAILURE"


def test_autoretry_backs_off_between_the_starts(features, crew, token):
    names = ("backing_off", "backing_off_async")
    receipts = [getattr(features, name).push(token + name, 2) for name in names]
    for name, receipt in zip(names, receipts, strict=True):
        assert receipt.get(timeout=30) == token + name
        first, second, third = (entry.at for entry in crew.journal.read().of(token + name, "start"))
        assert second - first >= 0.95
        assert third - second >= 1.95


def test_autoretry_gives_up_after_max_retries(features, crew, token):
    receipt = features.giving_up.push(token)
    entry = crew.quarantined(receipt.id)
    assert (entry["reason"], crew.runs(token)[0]) == ("Unavailable", 3)


@pytest.mark.parametrize("when", ["countdown", "eta", "naive eta"])
def test_a_delayed_task_lies_in_redis_until_its_time_and_runs_once(features, crew, token, when):
    due = datetime.now(UTC) + timedelta(seconds=1)
    options = {
        "countdown": {"countdown": 1},
        "eta": {"eta": due},
        "naive eta": {"eta": due.replace(tzinfo=None)},
    }[when]
    pushed = time.time()
    receipt = features.noted.apply_async((token,), **options)
    assert crew.record(receipt.id)["state"] == "delayed"
    assert receipt.id in crew.client.zrange("rl:delayed", 0, -1)
    assert crew.client.hlen("unacked") == 0
    receipt.get(timeout=20)
    assert crew.journal.read().of(token)[0].at - pushed >= 0.98
    assert crew.runs(token) == (1, 1)
    assert receipt.id not in crew.client.zrange("rl:delayed", 0, -1)


def test_an_eta_in_the_past_runs_at_once(features, token):
    receipt = features.noted.apply_async((token, 1), eta=datetime.now(UTC) - timedelta(hours=1))
    assert receipt.get(timeout=20) == 1


def test_an_expired_task_never_runs_and_leaves_the_ledger(features, crew, token):
    receipt = features.noted.apply_async((token,), countdown=1, expires=0.2)
    crew.settled(receipt.id)
    assert receipt.state == "REVOKED"
    assert crew.runs(token) == (0, 0)


def test_a_task_that_has_not_expired_runs(features, token):
    assert features.noted.apply_async((token, 1), expires=60).get(timeout=20) == 1
    moment = datetime.now(UTC) + timedelta(seconds=60)
    assert features.noted.apply_async((token, 2), expires=moment).get(timeout=20) == 2


def test_a_revoked_task_that_waits_never_runs(features, crew, token):
    receipt = features.noted.apply_async((token,), countdown=1.5)
    receipt.revoke()
    with pytest.raises(TaskRevokedError):
        receipt.get(timeout=20)
    crew.settled(receipt.id)
    assert crew.runs(token) == (0, 0)
    assert crew.client.hget("rl:dlq", receipt.id) is None


def test_a_running_task_can_be_terminated_and_does_not_come_back(features, crew, token):
    receipt = features.slow.push(token, 60)
    crew.started(token)
    receipt.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        receipt.get(timeout=20)
    crew.settled(receipt.id)
    assert features.add.push(1, 1).get(timeout=20) == 2
    assert crew.runs(token) == (1, 0)


def test_get_raises_what_the_body_raised(features, crew):
    for task in (features.failing, features.failing_async):
        receipt = task.push("on purpose")
        with pytest.raises(ValueError, match="on purpose"):
            receipt.get(timeout=20)
        assert receipt.failed()
        assert "raise ValueError(message)" in receipt.traceback
        assert crew.quarantined(receipt.id)["reason"] == "ValueError"


def test_an_ignored_result_is_not_kept_but_the_task_is_committed(features, crew, token):
    receipt = features.forgotten.push(token)
    crew.ended(token)
    crew.settled(receipt.id)
    assert crew.client.get(f"celery-task-meta-{receipt.id}") is None
    assert crew.client.get(f"rl:receipt:{receipt.id}")
    kept = features.noted.apply_async((token + "2",), ignore_result=True)
    crew.ended(token + "2")
    crew.settled(kept.id)
    assert crew.client.get(f"celery-task-meta-{kept.id}") is None


def test_a_task_that_tracks_its_start_says_started(features, crew, token):
    receipt = features.tracked.push(token, 1)
    crew.started(token)
    assert receipt.state == "STARTED"
    assert receipt.get(timeout=20) == token


def test_celerys_soft_limit_warns_a_def_body(features, crew, token):
    assert features.softly_limited.push(token).get(timeout=20) == "warned"


def test_celerys_soft_limit_cancels_a_coroutine(features, crew, token):
    receipt = features.softly_limited_async.push(token)
    assert crew.quarantined(receipt.id)["reason"] == "SoftTimeLimitExceeded"
    wait_until(lambda: "cancelled" in crew.kinds(token), 10, "the coroutine is cancelled")


@pytest.mark.parametrize("where", ["decorator", "call"])
def test_celerys_hard_limit_ends_in_the_dlq_and_is_not_resurrected(features, crew, token, where):
    if where == "decorator":
        receipt = features.endless.push(token)
    else:
        receipt = features.slow.apply_async((token, 60), time_limit=1)
    entry = crew.quarantined(receipt.id)
    assert entry["reason"] == "TimeLimitExceeded"
    with pytest.raises(TimeLimitExceeded):
        receipt.get(timeout=20)
    assert features.add.push(1, 1).get(timeout=20) == 2
    assert crew.runs(token) == (1, 0)
    assert crew.client.get(f"rl:resurrections:{receipt.id}") is None
    assert not crew.record(receipt.id)


def test_reject_quarantines_the_task(features, crew, token):
    receipt = features.rejected.push(token)
    assert crew.quarantined(receipt.id)["reason"] == "Reject"
    assert crew.runs(token) == (1, 1)


def test_reject_with_requeue_runs_the_task_once_more(features, crew, token):
    assert features.rejected_once.push(token).get(timeout=20) == token
    assert crew.runs(token) == (2, 1)


def test_ignore_leaves_neither_result_nor_quarantine(features, crew, token):
    receipt = features.ignored.push(token)
    crew.ended(token)
    crew.settled(receipt.id)
    assert crew.client.get(f"celery-task-meta-{receipt.id}") is None
    assert crew.client.hget("rl:dlq", receipt.id) is None
    assert crew.runs(token) == (1, 1)


def test_a_result_that_is_no_json_ends_in_the_dlq(features, crew, token):
    receipt = features.unserialisable.push(token)
    entry = crew.quarantined(receipt.id)
    assert entry["reason"] == "EncodeError"
    assert receipt.state == "FAILURE"
    assert crew.runs(token) == (1, 1)


MOMENT = datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
RICH = [
    MOMENT,
    MOMENT.date(),
    uuid.UUID(int=7),
    Decimal("1.10"),
    b"\x00\xff",
    "naïve ✓ \U0001f680 \u2028 \x00 \"'\\ {}",
    -0.5,
    None,
    True,
    2**70,
]


@pytest.mark.parametrize("name", ["described", "described_async"])
def test_rich_arguments_arrive_as_what_they_were(features, name):
    received = getattr(features, name).push(*RICH, named=MOMENT).get(timeout=20)
    assert received == [[type(value).__name__, str(value)] for value in [*RICH, MOMENT]]


def test_rich_results_come_back_as_what_they_were(features):
    assert features.returned.push({"list": RICH, "ключ": MOMENT}).get(timeout=20) == {"list": RICH, "ключ": MOMENT}


def test_a_megabyte_travels_and_leaves_nothing_behind(features, crew):
    receipt = features.measured.push("é" * 1_000_000)
    assert receipt.get(timeout=30) == 1_000_000
    crew.settled(receipt.id)
    assert crew.client.llen("default") == 0


def test_arguments_that_are_no_json_are_refused_at_the_push(features, crew):
    with pytest.raises(TypeError):
        features.returned.push(object())


def test_arguments_that_do_not_fit_are_refused_at_the_push(features, run):
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        features.add.push(1)
    with pytest.raises(TypeError, match="unexpected keyword"):
        run(features.add_async.apush(1, 2, z=3))


def test_an_error_with_a_message_of_any_kind_is_kept(features, crew):
    message = "ünïcode \x00 \U0001f480 " + "x" * 100_000
    assert crew.quarantined(features.failing.push(message).id)["error"] == message


def test_tasks_push_other_tasks(features, crew, token):
    first = features.pushing.push(token).get(timeout=20)
    second = features.pushing_async.push(token).get(timeout=20)
    assert first != second
    crew.ended(token, times=2)


def test_push_inside_a_coroutine_names_apush(features, token):
    assert "await noted.apush(...)" in features.pushing_wrongly.push(token).get(timeout=20)


def test_a_task_id_of_ones_own_is_one_task_however_often_it_is_pushed(features, crew, token):
    receipts = [features.noted.apply_async((token,), task_id=f"mine-{token}") for _ in range(3)]
    assert {receipt.id for receipt in receipts} == {f"mine-{token}"}
    receipts[0].get(timeout=20)
    assert features.noted.apply_async((token,), task_id=f"mine-{token}").get(timeout=20) is None
    assert features.add.push(1, 1).get(timeout=20) == 2
    assert crew.runs(token) == (1, 1)


def test_priority_is_refused_with_what_to_do_instead(features):
    with pytest.raises(ValueError, match="queue='high_priority'"):
        features.add.apply_async((1, 2), priority=3)


def test_each_queue_is_consumed(features, crew, token):
    receipt = features.noted_first.push(token)
    crew.ended(token)
    assert receipt.get(timeout=20) is None
    low = features.add.apply_async((1, 2), queue="low_priority")
    assert low.get(timeout=20) == 3
