"""Admission: a sliding window over all pushes of the cluster, which never stops work by failing itself."""

from __future__ import annotations

import logging
import pickle
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from harness.process import wait_until
from harness.redis import RedisServer
from relier.errors import AdmissionRejectedError
from relier.scripts import load

pytest_plugins = ("tests.lib.crew",)
KEY = "rl:admission:celery-dispatch"
FAILS_OPEN = "Admission control check failed ("
PROCEEDS = ") — failing open, task will proceed."


class Gate:
    """Pushes through the script itself, each between two looks at the server's clock."""

    def __init__(self, db, limit, window, width):
        self.db, self.shape, self.number = db, (limit, window, width), 0
        self.admitted, self.refused = [], []

    def knock(self):
        """Milliseconds to wait, 0 when admitted."""
        self.number += 1
        fields = (f"t{self.number}", "name", "default", "{}", "", "", "", "", 0)
        pipe = self.db.pipeline(transaction=True)
        pipe.time()
        pipe.eval(load("push").source, 0, *fields, *self.shape)
        pipe.time()
        before, (verdict, wait, _), after = pipe.execute()
        if verdict == "ok":
            self.admitted.append((milliseconds(before), milliseconds(after)))
            return 0
        self.refused.append((milliseconds(before), milliseconds(after), wait))
        return wait

    def most_in_a_window(self):
        """The most admissions that surely fell into one span of a window."""
        _, window, _ = self.shape
        starts = [before for before, _ in self.admitted]
        ends = [after for _, after in self.admitted]
        return max((sum(1 for end in ends[n:] if end - start < window) for n, start in enumerate(starts)), default=0)


def milliseconds(moment):
    return moment[0] * 1000 + moment[1] / 1000


GAPS = st.lists(st.integers(0, 60), min_size=10, max_size=40)


@hypothesis_settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(gaps=GAPS, limit=st.integers(1, 8), width=st.sampled_from([1, 2, 10, 50]))
def test_no_span_of_one_window_ever_holds_more_than_the_limit(db, gaps, limit, width):
    db.flushall()
    gate = Gate(db, limit, 100, width)
    for gap in gaps:
        for _ in range(4):
            gate.knock()
        time.sleep(gap / 1000)
    assert 1 <= gate.most_in_a_window() <= limit


def test_a_dense_crowd_gets_the_limit_in_every_window_and_never_more(db):
    limit, window, width = 50, 500, 5
    gate = Gate(db, limit, window, width)
    chance, until = random.Random(13), time.monotonic() + 3.5
    while time.monotonic() < until:
        gate.knock()
        time.sleep(chance.choice([0, 0, 0, 0.001, 0.004]))
    assert gate.most_in_a_window() == limit
    assert len(gate.admitted) >= 6 * limit


def test_a_burst_at_the_edge_of_a_window_is_not_doubled(db):
    for _ in range(20):  # a burst that is held up fills no window, and proves nothing
        db.flushall()
        gate = Gate(db, 20, 300, 3)
        time.sleep((280 - milliseconds(db.time())) % 300 / 1000)  # to 20 ms before an edge
        until = time.monotonic() + 0.15
        while time.monotonic() < until:
            gate.knock()
        assert gate.most_in_a_window() <= 20
        if gate.most_in_a_window() == 20 < gate.number:
            return
    pytest.fail("no burst was quick enough to fill a window")


def test_the_time_to_retry_is_right(db):
    gate = Gate(db, 3, 1000, 10)
    for pause in (0.05, 0.3, 0.0):
        assert gate.knock() == 0
        time.sleep(pause)
    for _ in range(3):
        wait_until(lambda: gate.knock() > 0, 3, "refused", interval=0.002)
        asked, told, wait = gate.refused[-1]
        assert 0 < wait <= 1010
        wait_until(lambda: gate.knock() == 0, 3, "admitted", interval=0.002)
        assert gate.admitted[-1][1] > asked + wait - 10  # one sub-bucket: never admitted before it was promised
        assert gate.refused[-1][0] < told + wait + 10  # and never refused after
    assert gate.most_in_a_window() <= 3


def test_rejected_calls_cost_the_window_nothing(db):
    gate = Gate(db, 2, 600, 6)
    while gate.knock() == 0:
        pass
    for _, taken in gate.admitted[-2:]:
        wait_until(lambda: gate.knock() == 0, 10, "admitted", interval=0)
        assert gate.refused[-1][0] < taken + 600 + 2 * 6  # its place was free in time, however often we had asked
    assert gate.most_in_a_window() <= 2
    assert len(db.keys("rl:phoenix:t*")) == len(gate.admitted)


def test_the_window_costs_little_memory_and_none_when_idle(db):
    gate = Gate(db, 100_000, 400, 4)
    for _ in range(300):
        gate.knock()
    assert db.hlen(KEY) <= 400 / 4 + 6
    wait_until(lambda: not db.exists(KEY), 3, "the window forgotten")


@pytest.fixture(params=["push", "apush"])
def push(request, run):
    if request.param == "push":
        return lambda task, *args: task.push(*args)
    return lambda task, *args: run(task.apush(*args))


def test_a_push_over_the_limit_is_rejected_and_leaves_nothing(db, settings, features, push):
    settings(admission_limit=3, admission_window=1)
    for _ in range(3):
        push(features.add, 1, 2)
    with pytest.raises(AdmissionRejectedError) as rejected:
        push(features.add, 1, 2)
    assert 0 < rejected.value.retry_after <= 1.01
    assert f"{rejected.value.retry_after:.2f} s" in str(rejected.value)
    assert db.llen("default") == 3
    time.sleep(rejected.value.retry_after)
    push(features.add, 1, 2)


def test_the_whole_limit_is_there_for_many_at_once(db, settings, features):
    settings(admission_limit=100, admission_window=10)

    def attempt(_):
        try:
            return bool(features.add.push(1, 2))
        except AdmissionRejectedError:
            return False

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(attempt, range(300))) == 100
    assert db.llen("default") == 100


def test_the_rejection_survives_pickling():
    error = pickle.loads(pickle.dumps(AdmissionRejectedError(retry_after=1.5)))  # noqa: S301
    assert (error.retry_after, str(error)) == (1.5, "The admission window is full; retry after 1.50 s.")


def test_celerys_own_way_in_is_not_held_back(db, settings, features):
    """A retry or the next step of a chain must not be turned away: it is work that was admitted already."""
    settings(admission_limit=1, admission_window=10)
    features.add.push(1, 2)
    features.add.delay(1, 2)
    features.add.apply_async((1, 2), countdown=60)
    assert len(db.keys("rl:phoenix:*-*")) == 3


@pytest.mark.parametrize("damage", ["another type", "no number"])
def test_an_error_inside_the_check_fails_open(db, settings, features, push, caplog, damage):
    settings(admission_limit=1, admission_window=10)
    if damage == "another type":
        db.set(KEY, "not a hash")
    else:
        db.hset(KEY, mapping={"total": "many", "shape": "10000/100"})
    with caplog.at_level(logging.WARNING, "relier"):
        receipts = [push(features.add, n, n) for n in range(3)]
    assert all(db.exists(f"rl:phoenix:{receipt.id}") for receipt in receipts)
    assert db.llen("default") == 3
    assert caplog.text.count(FAILS_OPEN + "ResponseError: ") == 3
    assert PROCEEDS in caplog.text
    assert "Investigate if this recurs: sustained failure means rate limiting is inactive." in caplog.text


def test_a_redis_that_is_away_fails_open_and_says_so_once_a_push(settings, features, push, caplog):
    with RedisServer(name="away") as away:
        settings(redis_url=away.url, admission_limit=1, admission_window=10, push_retry_window=20)
        push(features.add, 0, 0)
        away.stop()
        with caplog.at_level(logging.WARNING, "relier"), ThreadPoolExecutor(1) as pool:
            pushed = pool.submit(push, features.add, 1, 2)
            wait_until(lambda: FAILS_OPEN in caplog.text, 10, "the warning")
            away.start()
            receipt = pushed.result(20)
        with away.client() as client:
            assert client.exists(f"rl:phoenix:{receipt.id}")
        assert caplog.text.count(FAILS_OPEN + "ConnectionError: ") == 1
        assert PROCEEDS in caplog.text
        with pytest.raises(AdmissionRejectedError):
            push(features.add, 1, 2)
