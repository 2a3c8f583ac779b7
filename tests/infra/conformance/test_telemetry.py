"""What a tier's own Prometheus knows: every data node, and Relier's figures, by way of the collector."""

from __future__ import annotations

import re

import pytest

from tests.infra.conformance.deployment import Deployment, all_hold, eventually

#: Metric exports, a scrape and the resurrector's gauges come within a minute; a tier that just started has none yet.
PATIENCE = 120
WITHIN_THE_TIER = ("otel-collector", "prometheus", "redis")


def asked(deployment: Deployment, query: str) -> dict[str, float]:
    """A query's answer: labels → value."""
    (prometheus, *_) = deployment.of_kind("prometheus")
    answer = deployment.run(prometheus, "promtool", "query", "instant", "http://localhost:9090", query)
    rows = (re.fullmatch(r"(.*) => (\S+) @\[.*\]", line) for line in answer.out.splitlines())
    return {row[1]: float(row[2]) for row in rows if row}


@pytest.fixture(autouse=True)
def _has_prometheus(deployment: Deployment) -> None:
    if deployment.adapter.backend != "docker":
        pytest.skip("Prometheus is the cluster's or the site's own here")


def test_every_data_node_and_the_collector_are_scraped(deployment: Deployment) -> None:
    def up() -> dict[str, float]:
        found = asked(deployment, f'up{{job=~"{"|".join(WITHIN_THE_TIER)}"}}')
        return found if found and all(found.values()) else {}

    found = eventually(up, PATIENCE, "every target of Prometheus is up")
    missing = [name for name in [*WITHIN_THE_TIER[:2], *_nodes(deployment)] if not any(name in row for row in found)]
    all_hold(f"{name}: Prometheus does not scrape it; look at its targets." for name in missing)


def _nodes(deployment: Deployment) -> list[str]:
    return [f"{node}:" for workload in deployment.plan.of_kind("redis") for node in workload.nodes]


def test_the_library_reports_as_many_workers_as_answer(deployment: Deployment) -> None:
    answering = len(deployment.fleet["answering"])

    def reported() -> bool:
        return set(asked(deployment, "max(relier_workers_alive)").values()) == {answering}

    eventually(reported, PATIENCE, f"relier_workers_alive says {answering}, as many as answer")
