"""The files of collector, Prometheus and Grafana agree with the plan and with each other. No engine needed."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.process import REPO
from infra.topology import environment, load
from infra.topology.plan import plan_of
from relier import slo
from relier.instruments import EVENTS, GAUGES
from tests.infra.telemetry import expressions
from tests.infra.telemetry.expressions import FOLDER

TIERS = ("dev", "prod")
OFFERED = {
    "receivers": {"otlp"},
    "processors": {"batch", "memory_limiter"},
    "exporters": {"prometheus", "otlp", "debug"},
    "extensions": {"health_check"},
}
SURFACE = {
    "relier_tasks_total",
    "relier_admission_total",
    "relier_timeouts_total",
    "relier_drains_total",
    "relier_resurrections_total",
    "relier_idempotency_hits_total",
    "relier_dlq_total",
    "relier_overhead_seconds_bucket",
    "relier_task_duration_seconds_bucket",
}
RECORDED = {rule["record"] for rule in expressions.rules() if "record" in rule}


def yaml_of(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


def jobs() -> dict[str, Any]:
    return {job["job_name"]: job for job in yaml_of("prometheus.yml")["scrape_configs"]}


def targets(job: str) -> list[str]:
    return [target for group in jobs()[job]["static_configs"] for target in group["targets"]]


@pytest.mark.parametrize("tier", TIERS)
def test_every_file_that_the_plan_mounts_is_there(tier: str) -> None:
    plan = plan_of(load.read(tier))
    for workload in plan.of_kind("collector", "prometheus", "grafana"):
        assert all((REPO / mount.source).exists() for mount in workload.files), workload.name


@pytest.mark.parametrize("tier", TIERS)
def test_prometheus_asks_for_exactly_the_data_nodes_of_the_tier(tier: str) -> None:
    (group,) = json.loads((FOLDER / "targets" / f"{tier}.json").read_text())
    assert group["targets"] == environment.redis_nodes(load.read(tier)).split(",")


def test_prometheus_scrapes_the_services_and_ports_of_the_plan() -> None:
    plan = plan_of(load.read("prod"))
    collector, exporter, prometheus = plan["otel-collector"], plan["redis-exporter"], plan["prometheus"]
    (shown,) = targets("otel-collector")
    assert shown == f"{collector.name}:{collector.ports[1].port}"
    assert jobs()["redis"]["relabel_configs"][-1]["replacement"] == f"{exporter.name}:{exporter.ports[0].port}"
    assert targets("prometheus") == [f"localhost:{prometheus.ports[0].port}"]
    assert jobs()["otel-collector"]["honor_labels"], "or all pool children would be one instance"


def test_what_backup_and_drill_write_is_scraped_from_where_it_is_mounted() -> None:
    plan = plan_of(load.read("prod"))
    mounted = {mount.volume: mount for mount in plan["prometheus"].volumes}
    for job, volume, writer in (("backup", "redis_backups", "backup"), ("drill", "drill_scratch", "drill")):
        (written,) = [mount for mount in plan[writer].volumes if mount.volume == volume]
        place = plan[writer].env.get("METRICS_DIR") or plan[writer].env["BACKUP_DIR"]
        assert (written.path, mounted[volume].read_only) == (place, True)
        assert mounted[volume].path == f"/textfiles/{job}"
        assert jobs()[job]["metrics_path"] == f"/user/{job}/relier_{job}.prom"
    assert "--web.user-assets=/textfiles" in plan["prometheus"].argv


def test_the_collector_uses_only_parts_that_every_build_has_and_no_idle_ones() -> None:
    config = yaml_of("otel-collector.yaml")
    pipelines = config["service"]["pipelines"].values()
    for kind, offered in OFFERED.items():
        assert set(config[kind]) <= offered
    used = {part for pipeline in pipelines for part in itertools.chain(pipeline["receivers"], pipeline["processors"])}
    assert used == set(config["receivers"]) | set(config["processors"])
    assert all(pipeline["processors"][0] == "memory_limiter" for pipeline in pipelines)
    assert config["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].endswith(f":{environment.OTLP_PORT}")


def test_the_burn_rates_are_those_of_the_library() -> None:
    by_name = {rule.get("alert"): rule["expr"] for rule in expressions.rules()}
    assert f"> {slo.CRITICAL} and" in by_name["RelierBudgetBurnsFast"]
    budget = 1 - slo.SLOMetrics().target
    burns = [rule for rule in expressions.rules() if rule.get("record") == "relier:slo_burn_rate"]
    assert {rule["labels"]["window"] for rule in burns} == {"5m", "30m", *slo.WINDOWS}
    for rule in burns:
        assert rule["expr"].count(f"[{rule['labels']['window']}]") == 2
        assert float(rule["expr"].rpartition("/")[2]) == pytest.approx(budget)


def test_a_backup_is_too_old_when_the_plan_says_so() -> None:
    backup = load.read("prod").backup
    assert backup is not None
    (old,) = [rule for rule in expressions.rules() if rule.get("alert") == "RelierBackupTooOld"]
    assert f"> {backup.alert_after:g} or" in old["expr"]


def test_every_alert_says_what_is_the_matter_and_what_to_do() -> None:
    alerts = [rule for rule in expressions.rules() if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    for rule in alerts:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert all(rule["annotations"][part].endswith(".") for part in ("summary", "action")), rule["alert"]


def test_every_metric_of_relier_that_is_asked_for_is_one_that_is_emitted() -> None:
    own = [*EVENTS.values(), *GAUGES.values()]
    emitted = {name.replace(".", "_") + suffix for name, _ in own for suffix in ("", "_total")}
    emitted |= SURFACE | {"relier_overhead_seconds_count"} | RECORDED
    scripts = (REPO / "scripts" / "redis" / "backup").read_text() + (REPO / "scripts" / "redis" / "drill").read_text()
    for name, expression in (*expressions.of_panels(), *expressions.of_rules()):
        asked = {metric for metric in expressions.metrics(expression) if metric.startswith("relier")}
        assert all(metric in emitted or f"metric {metric} " in scripts for metric in asked), name


def test_the_dashboard_shows_every_metric_of_the_surface() -> None:
    shown = {metric for _, expression in expressions.of_panels() for metric in expressions.metrics(expression)}
    assert shown >= SURFACE


# Grafana


def test_grafana_gets_its_data_source_and_dashboards_from_files() -> None:
    (source,) = yaml_of("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    (provider,) = yaml_of("grafana/provisioning/dashboards/relier.yaml")["providers"]
    plan = plan_of(load.read("prod"))
    assert source["url"] == f"http://prometheus:{plan['prometheus'].ports[0].port}"
    assert source["jsonData"]["timeInterval"] == yaml_of("prometheus.yml")["global"]["scrape_interval"]
    assert provider["options"]["path"] in {mount.path for mount in plan["grafana"].files}
    assert provider["allowUiUpdates"] is False


def test_every_panel_asks_the_data_source_that_is_provisioned() -> None:
    (source,) = yaml_of("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    wanted = {"type": source["type"], "uid": source["uid"]}
    board = expressions.dashboard()
    assert all(variable["datasource"] == wanted for variable in board["templating"]["list"])
    for panel in expressions.panels():
        assert panel["datasource"] == wanted, panel["title"]
        assert all(target["datasource"] == wanted for target in panel["targets"]), panel["title"]


def test_panels_have_ids_titles_and_units_of_their_own() -> None:
    every = expressions.dashboard()["panels"]
    assert len({panel["id"] for panel in every}) == len({panel["title"] for panel in every}) == len(every)
    for panel in expressions.panels():
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) >= 1


def test_panels_lie_within_the_grid_and_none_upon_another() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in expressions.dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] >= 0 and place["x"] + place["w"] <= 24, panel["title"]
        columns = range(place["x"], place["x"] + place["w"])
        for cell in itertools.product(columns, range(place["y"], place["y"] + place["h"])):
            assert cell not in taken, f"{panel['title']} lies upon {taken.get(cell)}"
            taken[cell] = panel["title"]


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.json")), ids=lambda path: path.name)
def test_json_is_json(path: Path) -> None:
    json.loads(path.read_text())
