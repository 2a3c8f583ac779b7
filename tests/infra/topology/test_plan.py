"""What the stacks of the kit run: the services, queues and variables that the deployment guide names."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from infra.topology import load
from infra.topology.capacity import capacity
from infra.topology.environment import OWNED
from infra.topology.plan import plan_of
from infra.topology.workload import Workload
from relier.keys import ALL_QUEUES
from relier.settings import FILED, Settings
from tests.infra.topology.stacks import TIERS, each, planned, topology

ROOT = Path(__file__).parents[3]
APP = ("worker", "resurrector")
WORKERS = ["worker-high", "worker-default", "worker-recovery"]
SENTINELS = "relier-sentinel-1:26379,relier-sentinel-2:26379,relier-sentinel-3:26379"
SPLIT = {
    "high_priority": ("worker-high",),
    "default": ("worker-high", "worker-default"),
    "low_priority": ("worker-default",),
    "re-queue": ("worker-recovery",),
}


def test_dev_runs_the_services_of_the_guide_the_exporter_and_the_rehearsal() -> None:
    watch = ["otel-collector", "prometheus", "grafana", "redis-exporter"]
    named = ["redis", *WORKERS, "resurrector", "backup", "drill", *watch]
    assert [workload.name for workload in planned("dev").workloads] == named


@pytest.mark.parametrize("tier", ["dev", "prod", "bare"])
def test_three_pools_split_the_queues_so_that_a_flood_starves_nobody(tier: str) -> None:
    assert planned(tier).queues == dict(sorted(SPLIT.items()))


def test_kubernetes_runs_four_workers_of_eight_tasks_and_a_pool_for_what_is_resurrected() -> None:
    plan = planned("k8s")
    worker = plan["worker"]
    assert (worker.replicas, worker.concurrency, worker.connections, worker.grace) == (4, 8, 30, 60.0)
    assert (worker.memory, worker.memory_request, worker.cpus, worker.cpu_request) == (
        2 * 1024**3,
        512 * 1024**2,
        2,
        0.5,
    )
    assert plan.queues["re-queue"] == ("worker-recovery",)
    assert {name: len(plan[name].nodes) for name in ("relier-redis", "relier-sentinel")} == {
        "relier-redis": 3,
        "relier-sentinel": 3,
    }


def test_prod_processes_find_the_master_through_sentinels_as_the_guide_writes_it() -> None:
    env = planned("prod")["worker-high"].env
    assert env["RELIER_REDIS_USE_SENTINEL"] == "true"
    assert env["RELIER_REDIS_SENTINEL_NODES"] == SENTINELS
    assert env["RELIER_REDIS_SENTINEL_MASTER_NAME"] == "relier-master"
    assert env["RELIER_CHECKPOINT_BACKEND"] == "filesystem"
    assert env["RELIER_CHECKPOINT_DIR"] == "/var/lib/relier/checkpoints"
    assert "RELIER_REDIS_URL" not in env


def test_dev_processes_have_the_variables_of_the_guide() -> None:
    env = planned("dev")["worker-high"].env
    assert env["RELIER_REDIS_URL"] == "redis://redis:6379/0"
    assert env["RELIER_OTEL_ENABLED"] == "true"
    assert env["RELIER_OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://otel-collector:4317"


def test_pods_are_reached_through_their_headless_service() -> None:
    env = planned("k8s")["worker"].env
    assert env["RELIER_REDIS_SENTINEL_NODES"].split(",")[0] == "relier-sentinel-0.relier-sentinel:26379"
    assert planned("k8s")["relier-redis"].env["REDIS_NODES"].split(",")[2] == "relier-redis-2.relier-redis:6379"


@pytest.mark.parametrize(
    ("cpus", "workers", "concurrency", "connections"), [(1, 1, 4, 15), (2, 2, 8, 30), (4, 4, 8, 30), (8, 8, 8, 30)]
)
def test_the_capacity_table_of_the_guide_comes_out_of_the_model(
    cpus: int, workers: int, concurrency: int, connections: int
) -> None:
    found = capacity(cpus)
    assert (found.workers, found.concurrency, found.connections) == (workers, concurrency, connections)
    pool = {"queues": list(ALL_QUEUES), "replicas": found.workers, "concurrency": found.concurrency, "memory": "1gb"}
    plan = plan_of(topology("dev", workers={"worker": pool}))
    assert (plan["worker"].replicas, plan["worker"].connections) == (workers, connections)
    assert plan["worker"].total_connections == found.total_connections
    assert plan["worker"].total_memory == cpus * 1024**3


def test_a_host_without_a_cpu_has_no_capacity() -> None:
    with pytest.raises(ValueError, match="cpus is 0; write 1 or more"):
        capacity(0)


@pytest.mark.parametrize(("tier", "workload"), each(*APP), ids=str)
def test_every_emitted_variable_is_a_setting_and_its_value_parses(
    tier: str, workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("RELIER_")]:
        monkeypatch.delenv(name)
    for name, value in workload.env.items():
        assert name.removeprefix("RELIER_").lower() in Settings.model_fields, name
        if name.endswith("_FILE"):
            value = str(tmp_path / value.rpartition("/")[2])
            Path(value).write_text("a password\n")
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    assert settings.celery_worker_concurrency == (workload.concurrency or 8)
    assert settings.redis_max_connections == workload.connections
    assert settings.redis_use_sentinel == (tier != "dev")
    for secret in workload.secrets:
        field = {"redis": "redis_password", "sentinel": "redis_sentinel_password"}.get(secret.name, secret.name)
        assert settings.secret(field) == "a password"


def test_what_the_topology_decides_are_settings() -> None:
    assert {name.removeprefix("RELIER_").lower() for name in OWNED} <= set(Settings.model_fields)
    assert {f"RELIER_{name.upper()}{suffix}" for name in FILED for suffix in ("", "_FILE")} <= set(OWNED)


def test_every_emitted_variable_is_one_that_the_topology_decides() -> None:
    assert {name for _, workload in each(*APP) for name in workload.env if name.startswith("RELIER_")} <= set(OWNED)


@pytest.mark.parametrize(("tier", "workload"), each(), ids=str)
def test_a_process_is_told_where_its_secrets_are_and_never_what_they_are(tier: str, workload: Workload) -> None:
    paths = {mount.path for mount in workload.secrets}
    told = {value for name, value in workload.env.items() if name.endswith("_FILE")}
    assert told <= paths
    assert not [name for name in workload.env if re.search(r"(PASSWORD|SECRET_KEY)$", name)]
    assert not any(mount.reference in " ".join(workload.argv) for mount in workload.secrets)


def test_modules_with_tasks_are_imported_by_every_worker() -> None:
    plan = plan_of(topology("prod", **{"app.include": ["shop.tasks", "shop.mail"]}))
    assert all(workload.argv[-1] == "--include=shop.tasks,shop.mail" for workload in plan.of_kind("worker"))


@pytest.mark.parametrize("tier", TIERS)
def test_there_is_one_resurrector_and_never_two(tier: str) -> None:
    (found,) = planned(tier).of_kind("resurrector")
    assert (found.replicas, found.update, found.argv[:2]) == (1, "recreate", ("rl", "run-resurrector"))


def test_only_dev_mounts_the_source() -> None:
    assert {tier for tier, workload in each(*APP) if workload.files} == {"dev"}


@pytest.mark.parametrize("tier", ["prod", "k8s"])
def test_whoever_writes_or_resumes_a_checkpoint_has_the_same_disk(tier: str) -> None:
    disks = {workload.volumes for workload in planned(tier).of_kind(*APP)}  # type: ignore[arg-type]
    (((mount,)),) = disks
    assert (mount.volume, mount.path, mount.shared) == (
        "redis_checkpoints",
        "/var/lib/relier/checkpoints",
        tier == "k8s",
    )


@pytest.mark.parametrize(("tier", "workload"), each(), ids=str)
def test_every_workload_is_limited_unprivileged_and_given_time(tier: str, workload: Workload) -> None:
    assert workload.memory > 0
    assert workload.grace >= 10
    assert workload.user not in ("root", "0", "0:0", "")
    assert workload.read_only
    assert (workload.image is None) == (tier == "bare")


def test_a_probe_forgives_a_pause_and_a_start_takes_a_minute() -> None:
    for _, workload in each("worker", "redis", "sentinel"):
        assert workload.live and workload.ready
        assert workload.live.every * workload.live.failures >= 30
        assert workload.ready.every <= 15 and workload.ready.start_period >= 30
        assert workload.health == workload.ready
        if workload.start:
            assert workload.start.every * workload.start.failures >= 60
    assert planned("prod")["resurrector"].health == planned("prod")["resurrector"].ready


@pytest.mark.parametrize("tier", ["dev", "prod"])
def test_a_backup_sidecar_is_healthy_while_it_has_a_fresh_backup(tier: str) -> None:
    health = planned(tier)["backup"].health
    assert health and "-mmin -120" in health.command[-1]
    assert planned("bare")["backup"].health is None


@pytest.mark.parametrize("tier", TIERS)
def test_a_plan_is_the_same_every_time(tier: str) -> None:
    assert planned(tier) == planned(tier)


def test_logs_are_cut_at_ten_megabytes_and_five_files() -> None:
    assert (planned("prod").log_size, planned("prod").log_files) == (10 * 1024**2, 5)


def test_a_topology_cannot_be_changed() -> None:
    found = topology("dev")
    with pytest.raises(ValueError, match="frozen"):
        found.drain = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        found.workers["more"] = found.workers["worker-high"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        planned("dev").workloads[0].memory = 1  # type: ignore[misc]


def test_a_topology_survives_the_way_through_json() -> None:
    found = topology("prod")
    assert load.topology_of(json.loads(found.model_dump_json(exclude_unset=True))) == found
