"""Burn rates: how fast outcomes eat the error budget, over one hour, six hours and three days."""

from __future__ import annotations

import time

import pytest

from relier import SLOMetrics

pytest_plugins = ("tests.lib.crew",)
BUCKET = 300


def record(db, age, success=0, failed=0):
    """Outcomes of `age` seconds ago."""
    key = f"rl:slo:{int((time.time() - age) // BUCKET)}"
    db.hincrby(key, "success", success)
    db.hincrby(key, "failed", failed)


def test_nothing_burns_while_nothing_happens(db, ledger):
    assert SLOMetrics().burn_rates() == {"1h": 0.0, "6h": 0.0, "3d": 0.0}


def test_the_burn_rate_is_failures_over_the_allowed_share_of_events(db, ledger):
    record(db, 0, success=990, failed=10)
    assert SLOMetrics().burn_rates()["1h"] == pytest.approx(10 / (0.001 * 1000))
    assert SLOMetrics(target=0.99).burn_rates()["1h"] == pytest.approx(1.0)


def test_each_window_sees_only_its_own_time(db, ledger):
    record(db, 0, success=100)
    record(db, 2 * 3600, failed=100)
    record(db, 24 * 3600, failed=800)
    rates = SLOMetrics(target=0.9).burn_rates()
    assert rates["1h"] == 0.0
    assert rates["6h"] == pytest.approx(100 / (0.1 * 200))
    assert rates["3d"] == pytest.approx(900 / (0.1 * 1000))


def test_an_event_of_ones_own_is_counted(db, ledger, run):
    metrics = SLOMetrics(target=0.5)
    run(metrics.record_event("success"))
    run(metrics.record_event("failed"))
    assert metrics.burn_rates()["1h"] == pytest.approx(1 / (0.5 * 2))
    key = db.keys("rl:slo:*")[0]
    assert 3 * 86_400 < db.ttl(key) <= 3 * 86_400 + 3600


def test_other_words_for_an_outcome_are_refused(db, ledger, run):
    with pytest.raises(ValueError, match="'success' or 'failed'"):
        run(SLOMetrics().record_event("fine"))


@pytest.mark.parametrize("target", [0, 1, 99.9])
def test_a_target_that_is_no_share_is_refused(target):
    with pytest.raises(ValueError, match="a share between 0 and 1"):
        SLOMetrics(target)


def test_workers_count_their_outcomes(members, features, token):
    members.start()
    for n in range(3):
        features.noted.push(token, n).get(timeout=20)
    members.quarantined(features.failing.push("on purpose").id)
    rows = [members.client.hgetall(bucket) for bucket in members.client.keys("rl:slo:*")]
    assert sum(int(row.get("success", 0)) for row in rows) == 3
    assert sum(int(row.get("failed", 0)) for row in rows) == 1
    assert members.client.get("rl:m:global:success") == "3"
    assert members.client.get("rl:m:global:failed") == "1"
    assert SLOMetrics(target=0.5).burn_rates()["1h"] == pytest.approx(0.5)
