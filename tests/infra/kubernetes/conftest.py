"""One deployment for all tests on a cluster; without a cluster, one line that says so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache

import pytest

from infra.pulumi.components.k8s_scope import COMPONENT
from infra.pulumi.settings import merged
from tests.infra.kubernetes.cluster import SMALL, Namespace, why_none
from tests.infra.pulumi.live import missing

PROVIDER = "pulumi-resource-kubernetes"
#: So short that a task can outlast it and still end before its hard timeout.
DRAIN = {"drain": "5s"}
_why = cache(why_none)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What is lacking is said once, not for every test."""
    real = item.get_closest_marker("cluster") or item.get_closest_marker("providers")
    lacking = missing("pulumi", PROVIDER) if item.get_closest_marker("providers") else None
    if real and (reason := lacking or _why()):
        pytest.skip(reason)


@pytest.fixture(scope="module")
def tier() -> Iterator[Namespace]:
    """The stack k8s, small and ready, in a namespace of its own; gone before another stack comes, for want of room."""
    made = Namespace("k8s", merged(SMALL, DRAIN), monitoring=[{"labels": {COMPONENT: "worker"}}])
    try:
        began = time.monotonic()
        made.apply()
        made.ready()
        print(f"\n{made.name}: everything ready {time.monotonic() - began:.1f} s after kubectl apply.")
        yield made
    finally:
        made.remove()
