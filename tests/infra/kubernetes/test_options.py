"""What a cluster is asked for beyond the topology: who talks to whom, who scales, who watches."""

from __future__ import annotations

from typing import Any

import pytest

from infra.pulumi.components.k8s_jobs import cron
from infra.pulumi.program import main
from infra.topology import load, plan_of
from tests.infra.kubernetes.stacks import PASSWORDS, STACKS, Made, made
from tests.infra.pulumi.recorder import record

KEDA = {"least": 2, "most": 8, "load": 0.5, "prometheus": "http://prometheus.monitoring:9090", "settle": 120}


def guests(stack_made: Made, name: str) -> set[str]:
    """The workloads whose pods a policy lets in."""
    rules = stack_made.spec("NetworkPolicy", name).get("ingress", [])
    return {
        guest
        for rule in rules
        for peer in rule["from"]
        if "podSelector" in peer
        for guest in stack_made.chosen(peer["podSelector"])
    }


def test_redis_is_asked_by_who_has_business_there_and_nobody_else() -> None:
    app = {"worker", "worker-recovery", "resurrector"}
    nodes = {"relier-redis", "relier-sentinel"}
    assert guests(made(), "relier-redis") == app | nodes | {"backup", "redis-exporter"}
    assert guests(made(), "relier-sentinel") == app | nodes | {"backup"}


def test_nobody_gets_in_unasked_and_pods_of_others_are_left_alone() -> None:
    closed = made().spec("NetworkPolicy", "closed")
    assert closed == {"podSelector": closed["podSelector"], "policyTypes": ["Ingress"]}
    assert closed["podSelector"] == {"matchLabels": {"app.kubernetes.io/instance": "relier"}}
    assert made().chosen(closed["podSelector"]) == {workload.name for workload in made().plan.workloads}


@pytest.mark.parametrize("stack", STACKS)
def test_a_policy_is_for_the_pods_of_its_name_and_shuts_both_ways(stack: str) -> None:
    policies = set(made(stack).of_kind("NetworkPolicy")) - {"closed"}
    free = {workload.name for workload in made(stack).plan.of_kind("worker", "resurrector")}
    assert policies == {workload.name for workload in made(stack).plan.workloads} - free
    for name in policies:
        spec = made(stack).spec("NetworkPolicy", name)
        assert made(stack).chosen(spec["podSelector"]) == {name}
        assert sorted(spec["policyTypes"]) == ["Egress", "Ingress"], name


def doors(rules: list[dict[str, Any]]) -> set[tuple[int, str]]:
    return {(port["port"], port["protocol"]) for rule in rules for port in rule["ports"]}


def test_a_door_is_the_port_that_the_pod_listens_on_and_no_other() -> None:
    for workload in made().plan.of_kind("redis", "sentinel", "exporter"):
        rules = made().spec("NetworkPolicy", workload.name)["ingress"]
        assert doors(rules) == {(port.port, "TCP") for port in workload.ports}, workload.name
        listens = made().container(workload.name)["ports"]
        assert {port["containerPort"] for port in listens} == {port.port for port in workload.ports}, workload.name
    assert "ingress" not in made().spec("NetworkPolicy", "backup")


@pytest.mark.parametrize("name", ["relier-redis", "relier-sentinel", "backup", "redis-exporter"])
def test_the_way_out_is_names_and_the_port_of_each_node_that_is_asked(name: str) -> None:
    names, *ways = made().spec("NetworkPolicy", name)["egress"]
    assert names == {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
    found = {
        target: doors([way]) for way in ways for peer in way["to"] for target in made().chosen(peer["podSelector"])
    }
    asked = ("relier-redis",) if name == "redis-exporter" else ("relier-redis", "relier-sentinel")
    assert found == {node: {(port.port, "TCP") for port in made().plan[node].ports} for node in asked}


def test_every_way_to_redis_that_the_plan_needs_is_open() -> None:
    plan = made().plan
    clients = {w.name for w in plan.workloads if "REDIS" in str(w.env) and w.kind != "drill"}
    assert clients <= guests(made(), "relier-redis") | {"relier-redis"}


def test_a_rehearsal_can_talk_to_nobody_and_a_backup_only_to_redis() -> None:
    assert "egress" not in made().spec("NetworkPolicy", "drill")
    assert "Egress" in made().spec("NetworkPolicy", "drill")["policyTypes"]
    exits = made().spec("NetworkPolicy", "backup")["egress"]
    ports = {port["port"] for rule in exits for port in rule["ports"]}
    assert ports == {53, 6379, 26379}


def test_a_backup_that_leaves_the_cluster_finds_the_way_out() -> None:
    over: dict[str, Any] = {
        "backup": {"offsite": {"bucket": "s3://b/p"}, "image": "relier-backup:1.0.0"},
        "secrets": {"offsite": "k8s:relier-s3/credentials"},
    }
    exits = made(overrides=over, kubernetes={"create_namespace": False}).spec("NetworkPolicy", "backup")["egress"]
    assert {"ports": [{"port": 443, "protocol": "TCP"}]} in exits
    over["backup"]["offsite"]["endpoint"] = "https://minio.shop:9000"
    exits = made(overrides=over, kubernetes={"create_namespace": False}).spec("NetworkPolicy", "backup")["egress"]
    assert {"ports": [{"port": 9000, "protocol": "TCP"}]} in exits


def test_a_fraction_that_the_cli_wrote_as_text_is_a_number_but_where_text_is_meant() -> None:
    config = {"overrides": {"workers": {"worker": {"cpu_request": "0.2"}}, "env": {"RATIO": "0.5"}}}
    found = Made(plan_of(load.read("k8s")), record(main, stack="k8s", config=config, secrets=PASSWORDS["k8s"]))
    assert found.container("worker")["resources"]["requests"]["cpu"] == "200m"
    assert {"name": "RATIO", "value": "0.5"} in found.container("worker")["env"]


def test_producers_of_another_namespace_reach_redis_and_sentinel() -> None:
    shop = made(kubernetes={"producers": [{"namespace": "shop", "labels": {"app": "web"}}]})
    for name in ("relier-redis", "relier-sentinel"):
        peer = shop.spec("NetworkPolicy", name)["ingress"][0]["from"][-1]
        assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "shop"}
        assert peer["podSelector"]["matchLabels"] == {"app": "web"}


def test_who_scales_a_pool_owns_its_replicas() -> None:
    scaled = made(kubernetes={"autoscale": {"worker": KEDA}})
    assert "replicas" not in scaled.spec("Deployment", "worker")
    assert scaled.spec("Deployment", "worker-recovery")["replicas"] == 2
    assert list(scaled.objects["Deployment", "worker"].request.ignoreChanges) == ["spec.replicas"]
    assert list(scaled.objects["Deployment", "worker-recovery"].request.ignoreChanges) == []


def test_keda_counts_what_waits_and_what_runs_for_each_slot() -> None:
    spec = made(kubernetes={"autoscale": {"worker": KEDA}}).objects["ScaledObject", "worker"].inputs["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 8)
    trigger = spec["triggers"][0]["metadata"]
    assert float(trigger["threshold"]) == 0.5 * 8
    assert 'relier_queue_depth{rl_task_queue=~"high_priority|default|low_priority"}' in trigger["query"]
    assert trigger["query"].endswith(" + max(relier_tasks_inflight)"), "no figures must not look like no load"
    assert trigger["ignoreNullValues"] == "false"
    down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] == 120


def test_an_hpa_takes_the_same_load_from_the_metrics_adapter() -> None:
    scaler = {"by": "hpa", "least": 2, "most": 8, "load": 0.5}
    spec = made(kubernetes={"autoscale": {"worker": scaler}}).spec("HorizontalPodAutoscaler", "worker")
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "worker"}
    external = spec["metrics"][0]["external"]
    assert external["metric"] == {"name": "relier_load", "selector": {"matchLabels": {"pool": "worker"}}}
    assert external["target"] == {"type": "AverageValue", "averageValue": "4000m"}


def test_nothing_is_scaled_watched_or_opened_unless_it_is_asked_for() -> None:
    kinds = {kind for kind, _ in made().objects}
    assert not kinds & {"ScaledObject", "HorizontalPodAutoscaler", "ServiceMonitor"}


def test_the_prometheus_operator_finds_the_exporter() -> None:
    watched = made(kubernetes={"service_monitor": True, "monitoring": [{"namespace": "monitoring"}]})
    monitor = watched.objects["ServiceMonitor", "redis-exporter"].inputs["spec"]
    service = watched.objects["Service", "redis-exporter"].inputs
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {entry["port"] for entry in monitor["endpoints"]} == {service["spec"]["ports"][0]["name"]}
    asked = [entry["params"]["target"][0] for entry in monitor["endpoints"]]
    assert asked == [f"redis://relier-redis-{place}.relier-redis:6379" for place in range(3)]
    peer = watched.spec("NetworkPolicy", "redis-exporter")["ingress"][0]["from"]
    assert peer == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]


def test_what_belongs_to_the_whole_cluster_can_be_left_out() -> None:
    modest = made(kubernetes={"create_namespace": False, "priority_classes": False, "network_policies": False})
    kinds = {kind for kind, _ in modest.objects}
    assert not kinds & {"Namespace", "PriorityClass", "NetworkPolicy"}
    assert "priorityClassName" not in modest.pod("worker")


def test_another_namespace_is_everywhere() -> None:
    shop = made(kubernetes={"namespace": "shop"})
    spaces = {entry.inputs["metadata"].get("namespace") for entry in shop.objects.values()}
    assert spaces == {"shop", None}
    assert shop.pod("worker")["priorityClassName"] == "shop-work"


def test_disks_take_the_class_that_is_asked_for() -> None:
    fast = made(kubernetes={"storage_class": "fast"})
    assert fast.spec("StatefulSet", "relier-redis")["volumeClaimTemplates"][0]["spec"]["storageClassName"] == "fast"
    assert fast.spec("PersistentVolumeClaim", "redis-checkpoints")["storageClassName"] == "standard"


CLAIMS = ("redis-checkpoints", "redis-backups")


def test_nothing_is_protected_until_it_is_asked_for() -> None:
    requests = [entry.request for entry in made().recorded]
    assert not any(request.protect or request.retainOnDelete for request in requests)


def test_a_protected_stack_gives_up_neither_its_namespace_nor_what_lies_on_shared_disks() -> None:
    kept = made(kubernetes={"protect": True}).objects
    protected = {key for key, entry in kept.items() if entry.request.protect}
    assert protected == {("Namespace", "relier"), *(("PersistentVolumeClaim", name) for name in CLAIMS)}
    assert [key for key, entry in kept.items() if entry.request.retainOnDelete] == [("Namespace", "relier")]


def test_a_private_registry_is_asked_with_a_secret_of_the_cluster() -> None:
    assert made(kubernetes={"image_pull_secrets": ["registry"]}).pod("worker")["imagePullSecrets"] == [
        {"name": "registry"}
    ]


def test_nobody_waits_for_what_shall_not_be_awaited() -> None:
    quick = made(kubernetes={"wait": False})
    for kind, name in (("Deployment", "worker"), ("StatefulSet", "relier-redis")):
        assert quick.objects[kind, name].inputs["metadata"]["annotations"] == {"pulumi.com/skipAwait": "true"}


def test_one_node_without_sentinel_is_a_stack_too() -> None:
    over: dict[str, Any] = {
        "redis": {"nodes": ["store-0"], "min_replicas_to_write": 0},
        "sentinel": None,
        "secrets": {"sentinel": None},
        "durability": "local",
    }
    single = made(overrides=over, only=("redis_password",))
    assert {name for kind, name in single.objects if kind == "StatefulSet"} == {"store"}
    assert single.pod("worker")["containers"][0]["env"]
    assert ("PodDisruptionBudget", "store") not in single.objects
    urls = [e["value"] for e in single.container("worker")["env"] if e["name"] == "RELIER_REDIS_URL"]
    assert urls == ["redis://store-0.store:6379/0"]


@pytest.mark.parametrize(
    ("every", "said"),
    [
        (900, "*/15 * * * *"),
        (3600, "7 * * * *"),
        (21_600, "7 */6 * * *"),
        (86_400, "7 1 * * *"),
        (604_800, "7 1 * * 0"),
        (50, None),
        (3000, None),
        (5 * 3600, None),
        (2 * 86_400, None),
    ],
)
def test_a_span_is_said_as_cron_says_it_or_not_at_all(every: int, said: str | None) -> None:
    assert cron("backup", every) == said
