"""Real collector, Prometheus, exporter and Redis: what Relier does is seen where operators look."""

from __future__ import annotations

import re
from typing import Any

import pytest

from harness.process import wait_until
from tests.infra.telemetry import expressions
from tests.infra.telemetry.conftest import PUSHED, Traffic
from tests.infra.telemetry.stand import ABSENT, MASTER, REPLICA, Stand

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
SERIES: list[tuple[str, dict[str, Any], float]] = [
    ("relier_tasks_total", {"status": "completed", "rl_task_name": "telemetry.fine"}, PUSHED + 1),
    ("relier_tasks_total", {"status": "completed", "rl_task_name": "telemetry.held"}, 1),
    ("relier_tasks_total", {"status": "idempotency_hit", "rl_task_name": "telemetry.once"}, 1),
    ("relier_tasks_total", {"status": "failed", "reason": "ValueError"}, 1),
    ("relier_tasks_total", {"status": "failed", "reason": "HardTimeoutError"}, 1),
    ("relier_tasks_total", {"status": "failed", "reason": "max_resurrections_exceeded"}, 1),
    ("relier_admission_total", {"rl_admission_result": "ok", "rl_task_name": "telemetry.fine"}, PUSHED + 1),
    ("relier_admission_total", {"rl_admission_result": "rejected"}, 1),
    ("relier_timeouts_total", {"type": "soft", "rl_task_name": "telemetry.slow"}, 1),
    ("relier_timeouts_total", {"type": "hard"}, 1),
    ("relier_drains_total", {"type": "clean"}, 1),
    ("relier_resurrections_total", {"rl_task_name": "telemetry.held"}, 1),
    ("relier_idempotency_hits_total", {"rl_task_name": "telemetry.once"}, 1),
    ("relier_dlq_total", {"reason": "ValueError"}, 1),
    ("relier_overhead_seconds_count", {"phase": "enqueue", "rl_task_name": "telemetry.fine"}, PUSHED + 2),
    ("relier_overhead_seconds_count", {"phase": "pickup", "rl_task_name": "telemetry.fine"}, PUSHED + 1),
    ("relier_overhead_seconds_count", {"phase": "schema", "rl_task_name": "telemetry.fine"}, PUSHED + 1),
    ("relier_overhead_seconds_count", {"phase": "idempotency", "rl_task_name": "telemetry.once"}, 3),
    ("relier_task_duration_seconds_count", {"rl_task_name": "telemetry.fine"}, PUSHED + 1),
]
# What a healthy stand does not show, and why.
SILENT = {
    "Budget burn, 3 d": "",
    "Replication lag": "",
}


@pytest.mark.parametrize(("metric", "labels", "expected"), SERIES)
def test_what_happened_is_in_prometheus_to_the_last_one(
    traffic: Traffic, metric: str, labels: dict[str, str], expected: float
) -> None:
    selector = ",".join(f'{name}="{value}"' for name, value in labels.items())
    assert traffic.stand.value(f"sum({metric}{{{selector}}})") == expected


def test_pool_children_are_instances_of_their_own(traffic: Traffic) -> None:
    rows = traffic.stand.query('relier_tasks_total{rl_task_name="telemetry.fine"}')
    assert len({labels["instance"] for labels, _ in rows}) > 1
    assert {labels["job"] for labels, _ in rows} == {"relier"}
    assert all(labels["rl_worker_id"].startswith("fleet@") for labels, _ in rows)


def test_the_first_tasks_of_a_child_are_part_of_the_rate(traffic: Traffic) -> None:
    """A counter that appears with 200 in it has risen by 200, and Prometheus must see it so."""
    risen = traffic.stand.value('sum(increase(relier_tasks_total{rl_task_name="telemetry.fine"}[10m]))')
    assert risen == pytest.approx(PUSHED + 1, rel=0.2)


def test_the_cluster_as_the_resurrector_sees_it(traffic: Traffic) -> None:
    stand = traffic.stand
    assert {labels["rl_task_queue"] for labels, _ in stand.query("relier_queue_depth")} >= {"default", "re-queue"}
    assert [stand.value(f"relier_{name}") for name in ("tasks_inflight", "dlq_size", "workers_alive")] == [0, 3, 1]
    assert stand.value("relier_resurrector_scans_total") > 0


def test_the_exporter_shows_every_node_of_the_plan(stand: Stand) -> None:
    up = {labels["instance"]: value for labels, value in stand.query("redis_up")}
    assert up == {f"{MASTER}:6379": 1, f"{REPLICA}:6379": 1, f"{ABSENT}:6379": 0}
    assert stand.value("redis_connected_slaves and on (instance) redis_instance_info{role='master'}") == 1


def test_the_newest_backup_and_the_drill_are_seen(stand: Stand) -> None:
    wait_until(lambda: stand.value("relier_drill_success") == 1, 30, "the drill's figures", interval=0.5)
    assert stand.value("time() - relier_backup_last_success_timestamp_seconds") < 300


@pytest.mark.parametrize(("name", "expression"), [*expressions.of_panels(), *expressions.of_rules()])
def test_every_shipped_expression_is_one_that_prometheus_takes(stand: Stand, name: str, expression: str) -> None:
    stand.query(expression)


@pytest.mark.parametrize(("name", "expression"), list(expressions.of_panels()))
def test_every_panel_has_something_to_show(traffic: Traffic, name: str, expression: str) -> None:
    wait_until(lambda: traffic.stand.query(expression), 30, f"data for {name}", interval=0.5)


@pytest.mark.parametrize("metric", sorted({m for _, e in expressions.of_rules() for m in expressions.metrics(e)}))
def test_every_metric_of_a_rule_exists(traffic: Traffic, metric: str) -> None:
    wait_until(lambda: traffic.stand.query(metric), 30, metric, interval=0.5)


def test_the_alerts_that_fire_are_those_that_should(traffic: Traffic) -> None:
    """One node of three is away, three tasks have failed and one push was turned away; nothing else is the matter."""

    def active() -> set[str]:
        alerts = traffic.stand.api("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts}

    wait_until(lambda: {"RedisDown", "RelierDeadLetters", "RelierBudgetBurnsFast"} <= active(), 60, "alerts")
    burns = {"RelierBudgetBurns", "RelierBudgetLeaks"}
    assert active() <= {"RedisDown", "RelierDeadLetters", "RelierBudgetBurnsFast", "RelierSheds"} | burns


def test_the_collector_hands_whole_traces_on(traffic: Traffic) -> None:
    """To the address in TRACES_ENDPOINT: here another collector, which writes down what it gets."""
    blocks = re.split(r"Span #\d+\n", traffic.stand.logs("tempo"))[1:]
    spans = [dict(re.findall(r"^ +(Trace ID|Parent ID|ID|Name)\s*: (.*)$", block, re.M)) for block in blocks]
    (push,) = [span for span in spans if span["Name"] == "push telemetry.held"]
    (process,) = [span for span in spans if span["Name"] == "process telemetry.held"]
    assert (process["Trace ID"], process["Parent ID"]) == (push["Trace ID"], push["ID"])
    inside = {span["Name"] for span in spans if span["Parent ID"] == process["ID"]}
    assert inside == {"claim", "run telemetry.held", "commit"}
