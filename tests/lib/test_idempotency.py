"""`idempotent=True`: one operation is done once, however often it is pushed."""

from __future__ import annotations

import asyncio

import pytest

from harness.process import wait_until

pytest_plugins = ("tests.lib.crew",)


def successes(crew):
    return int(crew.client.get("rl:m:global:success") or 0)


def push_many(run, task, count, *args, **kwargs):
    async def all_at_once():
        return await asyncio.gather(*(task.apush(*args, **kwargs) for _ in range(count)))

    return run(all_at_once())


def test_a_hundred_pushes_at_once_run_once_and_count_one_success(crew, features, run, token):
    before = successes(crew)
    receipts = push_many(run, features.charged_async, 100, token, 0.3)
    assert {receipt.get(timeout=30) for receipt in receipts} == {f"receipt for {token}"}
    for receipt in receipts:
        crew.settled(receipt.id)
    assert crew.runs(token) == (1, 1)
    assert successes(crew) - before == 1
    assert crew.client.hlen("rl:dlq") == 0


def test_a_push_after_the_first_run_gets_its_result(crew, features, token):
    assert features.charged.push(token, amount=5).get(timeout=20) == "5 EUR"
    assert features.charged.push(token, amount=5).get(timeout=20) == "5 EUR"
    assert crew.runs(token) == (1, 1)


def test_the_order_of_keywords_does_not_make_another_operation(crew, features, token):
    features.charged.push(token, amount=5, currency="USD").get(timeout=20)
    assert features.charged.push(token, currency="USD", amount=5).get(timeout=20) == "5 USD"
    assert crew.runs(token) == (1, 1)


def test_other_arguments_are_another_operation(crew, features, token):
    receipts = [features.charged.push(token, amount=amount) for amount in (1, 2, 3)]
    assert [receipt.get(timeout=20) for receipt in receipts] == ["1 EUR", "2 EUR", "3 EUR"]


def test_functions_of_the_same_name_in_two_modules_do_not_collide(crew, features, token):
    from tests.lib import feature_twin

    assert features.twin.__name__ == feature_twin.twin.__name__
    assert features.twin.push(token).get(timeout=20) == "tasks"
    assert feature_twin.twin.push(token).get(timeout=20) == "twin"
    assert {entry.extra for entry in crew.journal.read().of(token, "start")} == {"tasks", "twin"}


def test_a_failure_frees_the_key_at_once(crew, features, token):
    first = features.charged_after_one_failure.push(token)
    assert crew.quarantined(first.id)["reason"] == "ValueError"
    # A claim that stayed would be in the way for 120 s.
    assert features.charged_after_one_failure.push(token).get(timeout=20) == "charged"
    assert crew.runs(token) == (2, 1)


def test_when_the_first_of_many_fails_another_one_runs(crew, features, run, token):
    before = successes(crew)
    receipts = push_many(run, features.charged_after_one_failure, 20, token)
    wait_until(lambda: sum(receipt.ready() for receipt in receipts) == 20, 30, "all have an outcome")
    assert sorted(receipt.state for receipt in receipts) == ["FAILURE"] + ["SUCCESS"] * 19
    assert crew.runs(token) == (2, 1)
    assert successes(crew) - before == 1


def test_a_killed_run_keeps_its_claim_until_it_is_resurrected(crew, features, token):
    first, second = (features.charged_and_dying_once.push(token) for _ in range(2))
    assert first.get(timeout=30) == second.get(timeout=30) == "charged"
    assert crew.runs(token) == (2, 1)


def test_an_operation_that_was_cancelled_while_it_ran_is_free(crew, features, token):
    first = features.charged_async.push(token, 60)
    crew.started(token)
    first.revoke(terminate=True)
    crew.settled(first.id)
    entries = [crew.client.get(key) for key in crew.client.scan_iter("rl:idem:*charged_async*")]
    assert not any(entry == f"busy\n{first.id}" for entry in entries)


def test_a_result_is_known_for_its_ttl_and_no_longer(crew, features, token):
    features.charged_for_a_second.push(token).get(timeout=20)
    features.charged_for_a_second.push(token).get(timeout=20)
    assert crew.runs(token) == (1, 1)
    wait_until(lambda: not crew.client.keys("rl:idem:*charged_for_a_second*"), 5, "the result forgotten")
    features.charged_for_a_second.push(token).get(timeout=20)
    assert crew.runs(token) == (2, 2)


def test_a_task_that_is_not_idempotent_runs_each_time(crew, features, token):
    for _ in range(3):
        features.noted.push(token).get(timeout=20)
    assert crew.runs(token) == (3, 3)


def test_a_hit_commits_and_hands_its_result_on(crew, features, token):
    features.charged.push(token, amount=9).get(timeout=20)
    work = features.charged.s(token, amount=9) | features.returned.s()
    assert work.delay().get(timeout=20) == "9 EUR"
    assert crew.runs(token) == (1, 1)


def test_rich_arguments_make_stable_keys():
    from datetime import UTC, datetime
    from decimal import Decimal
    from uuid import UUID

    from relier.envelope import idempotency_key

    rich = [datetime(2026, 1, 1, tzinfo=UTC), UUID(int=5), Decimal("1.0"), {"b": 1, "a": [None]}]
    same = [datetime(2026, 1, 1, tzinfo=UTC), UUID(int=5), Decimal("1.0"), {"a": [None], "b": 1}]
    assert idempotency_key("a.task", rich, {}) == idempotency_key("a.task", same, {})
    assert idempotency_key("a.task", rich, {}) != idempotency_key("b.task", rich, {})
    assert idempotency_key("a.task", ["ab", "c"], {}) != idempotency_key("a.task", ["a", "bc"], {})
    assert idempotency_key("a.task", [1], {}) != idempotency_key("a.task", ["1"], {})


@pytest.mark.parametrize("name", ["locked", "locked_async"])
def test_a_lock_in_a_task_runs_once_and_later_tasks_get_its_result(crew, features, token, name):
    task = getattr(features, name)
    assert task.push(token, 0).get(timeout=20) == ["ran", "made"]
    assert task.push(token, 0).get(timeout=20) == ["cached", "made"]
    assert crew.runs(token) == (1, 1)


@pytest.mark.parametrize("name", ["locked", "locked_async"])
def test_a_twin_task_in_flight_fails_with_the_documented_error(crew, features, token, name):
    task = getattr(features, name)
    first = task.push(token, 1)
    crew.started(token)
    second = task.push(token, 1)
    assert crew.quarantined(second.id)["reason"] == "IdempotencyInFlightError"
    assert first.get(timeout=20) == ["ran", "made"]
    assert crew.runs(token) == (1, 1)


def test_a_resurrected_task_finds_its_own_lock_open(crew, features, token):
    assert features.locked_and_dying_once.push(token).get(timeout=30) == "made"
    assert crew.runs(token) == (2, 1)


def test_a_task_that_fails_inside_its_lock_frees_it(crew, features, token):
    assert crew.quarantined(features.locked_and_failing_once.push(token).id)["reason"] == "ValueError"
    assert features.locked_and_failing_once.push(token).get(timeout=20) == "made"


def test_the_lock_of_a_task_that_died_for_good_is_free(crew, features, token):
    receipt = features.locked_and_deadly.push(token)
    assert crew.quarantined(receipt.id)["reason"] == "max_resurrections_exceeded"
    assert features.locked.push(token, 0).get(timeout=20) == ["ran", "made"]


def test_a_task_may_hold_several_locks(crew, features, token):
    assert features.locked_twice.push(token).get(timeout=20) == "made"
    assert crew.client.get(f"rl:idem:{token}-inner") == 'done\n"inner"'
