"""Chains, groups, chords and links of Relier's tasks, alone and mixed with plain Celery tasks."""

from __future__ import annotations

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError

from harness.process import wait_until

pytest_plugins = ("tests.lib.crew",)
pytestmark = pytest.mark.usefixtures("crew")


def test_a_chain_hands_each_result_on(features):
    work = chain(features.add.s(1, 2), features.add_async.s(3), features.add.s(4))
    assert work.apply_async().get(timeout=20) == 10
    assert (features.add.s(1, 2) | features.add.s(5)).delay().get(timeout=20) == 8


def test_the_steps_of_a_chain_are_parents_of_each_other(features):
    last = (features.add.s(1, 2) | features.add.s(5)).delay()
    assert last.get(timeout=20) == 8
    assert last.parent.get(timeout=20) == 3


def test_an_immutable_step_gets_no_result(features):
    assert chain(features.add.s(1, 2), features.add.si(10, 20)).apply_async().get(timeout=20) == 30


@pytest.mark.parametrize("order", ["rl-plain-rl", "plain-rl-plain"])
def test_a_chain_may_mix_plain_celery_tasks(features, order):
    ours, stock = features.add, features.stock_add
    first, second, third = (ours, stock, ours) if order == "rl-plain-rl" else (stock, ours, stock)
    assert chain(first.s(1, 2), second.s(3), third.s(4)).apply_async().get(timeout=20) == 10


def test_a_chain_survives_the_death_of_a_step(features, crew, token):
    work = chain(features.add.s(1, 2), features.dying_once.si(token, 5), features.add.s(10))
    assert work.apply_async().get(timeout=30) == 15
    assert crew.runs(token) == (2, 1)


def test_a_chain_stops_at_a_step_that_fails(features, crew, token):
    last = chain(features.add.s(1, 2), features.failing.si("no further"), features.noted.si(token)).apply_async()
    with pytest.raises(ValueError, match="no further"):
        last.get(timeout=20)
    assert crew.runs(token) == (0, 0)


def test_a_step_that_retries_continues_its_chain(features, crew, token):
    work = chain(features.retried.s(token, 1), features.add.s(10))
    assert work.apply_async().get(timeout=20) == 11


def test_a_group_collects_all_results(features):
    parts = group([features.add.s(n, n) for n in range(10)] + [features.stock_add.s(50, 50)])
    result = parts.apply_async()
    assert result.get(timeout=20) == [*range(0, 20, 2), 100]
    assert result.successful()


def test_a_chord_runs_its_body_once_after_all_parts(features, crew):
    header = [features.add.s(n, 1) for n in range(5)] + [features.add_async.s(5, 1), features.stock_add.s(6, 1)]
    assert chord(header)(features.total.s()).get(timeout=20) == 28


def test_a_chord_with_a_plain_body_runs_it(features, crew, token):
    chord([features.add.s(1, 1), features.add.s(2, 2)])(features.stock_noted.si(token, 1)).get(timeout=20)
    assert crew.runs(token) == (1, 1)


def test_a_chord_survives_the_death_of_a_part(features, crew, token):
    header = [features.returned.s(1), features.dying_once.s(token, 2), features.returned.s(3)]
    assert chord(header)(features.total.s()).get(timeout=30) == 6
    assert crew.runs(token) == (2, 1)


def test_a_chord_with_a_failing_part_fails_and_its_body_never_runs(features, crew, token):
    body = features.noted.si(token)
    result = chord([features.returned.s(1), features.failing.s("a bad part")])(body)
    with pytest.raises((ChordError, ValueError), match="a bad part"):
        result.get(timeout=20)
    wait_until(lambda: result.state == "FAILURE", 20, "a failed body")
    assert isinstance(result.result, ChordError)
    assert crew.runs(token) == (0, 0)


def test_a_failing_chord_calls_the_errback_of_its_body(features, crew, token):
    body = features.noted.si(token).on_error(features.noted.si(token + "-errback"))
    chord([features.returned.s(1), features.failing.s("a bad part")])(body)
    crew.ended(token + "-errback")
    assert crew.runs(token) == (0, 0)


@pytest.mark.parametrize("end", ["killed for good", "past its time limit", "revoked"])
def test_a_chord_hears_of_a_part_that_ended_without_its_body(features, crew, token, end):
    part = {
        "killed for good": features.deadly.s(token + "-part"),
        "past its time limit": features.slow.s(token + "-part", 60).set(time_limit=1),
        "revoked": features.slow.s(token + "-part", 60),
    }[end]
    body = features.noted.si(token).on_error(features.noted.si(token + "-errback"))
    result = chord([features.returned.s(1), part])(body)
    crew.started(token + "-part")
    if end == "revoked":
        result.parent[1].revoke(terminate=True)
    crew.ended(token + "-errback", timeout=10)
    wait_until(lambda: result.state == "FAILURE", 10, "a failed body")
    assert crew.runs(token) == (0, 0)


def test_a_group_inside_a_chain_becomes_a_chord(features):
    work = chain(features.add.s(1, 1), group(features.add.s(10), features.add.s(20)), features.total.s())
    assert work.apply_async().get(timeout=20) == 34


def test_a_chord_whose_part_retries_waits_for_it(features, crew, token):
    header = [features.returned.s(1), features.retried.s(token, 2)]
    assert chord(header)(features.total.s()).get(timeout=20) == 3


@pytest.mark.parametrize("callback", ["noted", "noted_async", "stock_noted"])
def test_a_link_runs_after_success(features, crew, token, callback):
    task = getattr(features, callback)
    features.add.apply_async((1, 2), link=task.si(token, "linked")).get(timeout=20)
    crew.ended(token)
    assert crew.journal.read().of(token, "start")[0].extra == "linked"


def test_a_link_error_runs_after_a_failure_and_not_after_a_success(features, crew, token):
    features.failing.apply_async(("no",), link_error=features.noted.si(token + "-failed"))
    features.add.apply_async((1, 2), link_error=features.noted.si(token + "-fine")).get(timeout=20)
    crew.ended(token + "-failed")
    assert crew.runs(token + "-fine") == (0, 0)


def test_a_link_error_hears_of_the_task_that_failed(features, crew):
    receipt = features.failing.apply_async(("no",), link_error=features.caught.s())
    crew.ended(receipt.id)
    assert crew.journal.read().of(receipt.id, "start")[0].extra == "ValueError"


@pytest.mark.parametrize("end", ["killed for good", "past its time limit"])
def test_a_task_that_ended_without_its_body_calls_its_link_error(features, crew, token, end):
    errback = features.noted.si(token + "-errback")
    if end == "killed for good":
        receipt = features.deadly.apply_async((token,), link_error=errback)
    else:
        receipt = features.slow.apply_async((token, 60), time_limit=1, link_error=errback)
    assert crew.quarantined(receipt.id)["reason"] in ("max_resurrections_exceeded", "TimeLimitExceeded")
    crew.ended(token + "-errback", timeout=10)


def test_a_link_runs_once_though_its_task_died_before(features, crew, token):
    receipt = features.dying_once.apply_async((token,), link=features.noted.si(token + "-link"))
    receipt.get(timeout=30)
    crew.ended(token + "-link")
    assert features.add.push(1, 1).get(timeout=20) == 2
    assert crew.runs(token + "-link") == (1, 1)


def test_the_parts_of_a_killed_chord_are_counted_once(features, crew, token):
    header = [features.dying_once.s(f"{token}-{n}", n) for n in range(4)]
    result = chord(header)(features.total.s())
    assert result.get(timeout=60) == 6
    for part in result.parent:
        crew.settled(part.id)
