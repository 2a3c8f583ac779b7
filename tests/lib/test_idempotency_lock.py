"""`idempotency_lock`: the same promise under a key of one's own, in tasks and outside, async and sync."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.process import wait_until
from relier import FencedError, IdempotencyInFlightError, idempotency_lock

pytest_plugins = ("tests.lib.crew",)


class Boom(Exception):
    """Raised inside a block."""


@pytest.fixture(params=["with", "async with"])
def block(request, run):
    """Run `body(lock)` inside a lock; both colours behave alike."""

    def plain(key, body, **options):
        with idempotency_lock(key, **options) as lock:
            return body(lock)

    async def coroutine(key, body, **options):
        async with idempotency_lock(key, **options) as lock:
            return await asyncio.to_thread(body, lock)

    if request.param == "with":
        return plain
    return lambda key, body, **options: run(coroutine(key, body, **options))


def test_the_first_block_runs_and_a_later_one_gets_its_result(db, ledger, block):
    def first(lock):
        assert not lock.already_executed
        assert lock.cached_result is None
        lock.set_result({"charge": 7})

    def second(lock):
        assert lock.already_executed
        return lock.cached_result

    block("pay-1", first)
    assert block("pay-1", second) == {"charge": 7}


def test_commit_is_another_word_for_set_result(db, ledger, block):
    block("pay-1", lambda lock: lock.commit("done"))
    assert block("pay-1", lambda lock: lock.cached_result) == "done"


def test_a_block_without_a_result_counts_as_executed(db, ledger, block):
    block("pay-1", lambda lock: None)
    assert block("pay-1", lambda lock: (lock.already_executed, lock.cached_result)) == (True, None)


def test_a_block_that_raises_frees_the_key_at_once(db, ledger, block):
    def failing(lock):
        lock.set_result("never kept")
        raise Boom

    with pytest.raises(Boom):
        block("pay-1", failing)
    assert not db.exists("rl:idem:pay-1")
    assert block("pay-1", lambda lock: lock.already_executed) is False


def test_a_twin_in_flight_raises(db, ledger, block):
    def twin(lock):
        with (
            pytest.raises(IdempotencyInFlightError, match="'pay-1' is in flight elsewhere"),
            idempotency_lock("pay-1"),
        ):
            pytest.fail("two at once")

    block("pay-1", twin)
    assert db.get("rl:idem:pay-1").startswith("done\n")


def test_other_keys_are_free(db, ledger, block):
    def other(lock):
        with idempotency_lock("pay-2") as second:
            return second.already_executed

    assert block("pay-1", other) is False


def test_of_many_threads_one_runs(db, ledger, block):
    ran = []

    def attempt(_):
        try:
            with idempotency_lock("pay-1") as lock:
                if not lock.already_executed:
                    ran.append(1)
                    time.sleep(0.05)
        except IdempotencyInFlightError:
            return "busy"
        return "fine"

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(attempt, range(100)))
    assert len(ran) == 1


def test_a_result_is_known_for_the_ttl_that_was_given(db, ledger, block):
    block("pay-1", lambda lock: lock.set_result(1), ttl=1)
    block("pay-2", lambda lock: lock.set_result(1))
    assert 0 < db.pttl("rl:idem:pay-1") <= 1000
    assert 3500 < db.ttl("rl:idem:pay-2") <= 3600
    wait_until(lambda: not db.exists("rl:idem:pay-1"), 3, "the result forgotten")
    assert block("pay-1", lambda lock: lock.already_executed) is False


def test_a_block_longer_than_the_in_flight_ttl_keeps_its_lock(db, settings, block):
    settings(idempotency_inflight_ttl=1)

    def long(lock):
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            with pytest.raises(IdempotencyInFlightError), idempotency_lock("pay-1"):
                pytest.fail("two at once")
            time.sleep(0.1)
        lock.set_result("long")

    block("pay-1", long)
    assert block("pay-1", lambda lock: lock.cached_result) == "long"


def test_the_renewal_survives_an_error_of_redis(db, settings, caplog):
    """The key is of another type for a moment; the renewal goes on when that is over."""
    settings(idempotency_inflight_ttl=2)
    with idempotency_lock("pay-1") as lock:
        held = db.get("rl:idem:pay-1")
        db.delete("rl:idem:pay-1")
        db.lpush("rl:idem:pay-1", "not text")
        wait_until(lambda: "was not renewed" in caplog.text, 10, "one renewal met the list")
        db.delete("rl:idem:pay-1")
        db.set("rl:idem:pay-1", held)
        wait_until(lambda: db.pttl("rl:idem:pay-1") > 0, 10, "the next renewal")
        assert db.get("rl:idem:pay-1") == held
        lock.set_result("kept")
    assert db.get("rl:idem:pay-1").startswith("done\n")


def test_the_lock_of_a_dead_process_lapses(db, settings):
    settings(idempotency_inflight_ttl=1)
    db.set("rl:idem:pay-1", "busy\nlock-of-the-dead", px=1000)
    with pytest.raises(IdempotencyInFlightError), idempotency_lock("pay-1"):
        pytest.fail("not yet")
    wait_until(lambda: not db.exists("rl:idem:pay-1"), 3, "the claim lapsed")
    with idempotency_lock("pay-1") as lock:
        assert not lock.already_executed


def test_a_lock_that_was_lost_is_reported_and_its_result_not_committed(db, ledger, block):
    def robbed(lock):
        db.set("rl:idem:pay-1", "busy\nanother", px=60_000)
        lock.set_result("late")

    with pytest.raises(FencedError, match="'pay-1' was lost"):
        block("pay-1", robbed)
    assert db.get("rl:idem:pay-1") == "busy\nanother"


def test_a_block_that_raises_after_it_lost_its_lock_raises_its_own_error(db, ledger, block):
    def robbed(lock):
        db.set("rl:idem:pay-1", "busy\nanother", px=60_000)
        raise Boom

    with pytest.raises(Boom):
        block("pay-1", robbed)
    assert db.get("rl:idem:pay-1") == "busy\nanother"


def test_a_result_that_is_no_json_is_refused_where_it_is_set(db, ledger, block):
    with pytest.raises(TypeError):
        block("pay-1", lambda lock: lock.set_result(object()))
    assert not db.exists("rl:idem:pay-1")


@pytest.mark.parametrize("ttl", [-1, 0])
def test_a_ttl_that_is_no_time_is_refused(db, ledger, ttl):
    with pytest.raises(ValueError, match="ttl"):
        idempotency_lock("pay-1", ttl=ttl)


def test_the_renewing_thread_ends_with_the_block(db, settings, block):
    settings(idempotency_inflight_ttl=1)
    block("pay-1", lambda lock: None)
    wait_until(lambda: not [t for t in threading.enumerate() if t.name == "relier-lock"], 3, "no thread left")


@pytest.mark.parametrize("name", ["long", "locked"])
def test_a_run_longer_than_the_in_flight_ttl_has_no_second_run(members, features, token, gate, name):
    from tests.lib import feature_inflight

    task = getattr(feature_inflight, name)
    members.start(include="tests.lib.feature_inflight", env={"RELIER_IDEMPOTENCY_INFLIGHT_TTL": "1"})
    first = task.push(token, str(gate))
    members.started(token)
    time.sleep(1.5)  # the in-flight TTL has passed
    second = task.push(token, str(gate))
    if name == "long":
        wait_until(lambda: members.record(second.id).get("parked"), 20, "the second run waits for the first")
    else:
        assert members.quarantined(second.id)["reason"] == "IdempotencyInFlightError"
    gate.touch()
    assert first.get(timeout=30) == token
    assert name == "locked" or second.get(timeout=30) == token
    assert members.runs(token) == (1, 1)
