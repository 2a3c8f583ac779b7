"""What site.yml says of hosts that are as they should be, of a promoted master, and of hosts that somebody changed."""

from __future__ import annotations

import pytest

from tests.infra.ansible import drift
from tests.infra.ansible.tier import Tier

pytestmark = pytest.mark.hosts


def test_a_second_run_changes_nothing(whole: Tier) -> None:
    run = whole.site().expect_success()
    print(f"\nsecond run: {run.seconds:.0f} s")
    assert run.changed == []


def test_a_run_after_a_failover_changes_nothing_and_the_promoted_master_stays(whole: Tier) -> None:
    old = whole.master()
    whole.sh(old, "/usr/lib/relier/handover")
    whole.settle()
    new = whole.master()
    assert new != old
    assert whole.site().expect_success().changed == []
    assert whole.master() == new


def test_a_check_of_a_converged_tier_reports_nothing(whole: Tier) -> None:
    assert whole.site("--check", "--diff").expect_success().changed == []


def test_a_check_reports_exactly_what_somebody_changed_and_a_run_mends_it(whole: Tier) -> None:
    kinds = drift.kinds(whole)
    for kind in kinds:
        whole.sh(kind.host, kind.harm)
    expected = sorted({f"{kind.host}: {kind.task}" for kind in kinds})
    checked = whole.site("--check", "--diff").expect_success()
    assert sorted(set(drift.without_handlers(checked.changed))) == expected
    print(f"\n{len(kinds)} kinds of drift, each reported and nothing else")
    whole.site().expect_success()
    assert whole.site("--check").expect_success().changed == []
