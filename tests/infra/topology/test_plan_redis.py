"""What the stacks run of Redis and around it: who reaches it, who knows which password, where backups lie."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from infra.topology.plan import plan_of
from infra.topology.workload import Workload
from tests.infra.topology.stacks import TIERS, each, planned, sentences, topology

ROOT = Path(__file__).parents[3]
WORKERS = ["worker-high", "worker-default", "worker-recovery"]


def test_prod_adds_replicas_sentinels_backup_and_drill() -> None:
    redis = ["relier-redis-master", "relier-redis-replica-1", "relier-redis-replica-2"]
    sentinels = [f"relier-sentinel-{number}" for number in (1, 2, 3)]
    rest = ["resurrector", "backup", "drill", "otel-collector", "prometheus", "grafana", "redis-exporter"]
    assert [workload.name for workload in planned("prod").workloads] == [*redis, *sentinels, *WORKERS, *rest]


@pytest.mark.parametrize(("tier", "workload"), each("worker"), ids=str)
def test_a_worker_lives_by_its_own_pulse_and_is_ready_by_redis(tier: str, workload: Workload) -> None:
    assert workload.live and workload.ready and workload.start
    assert workload.live.command[:3] == ("rl", "probe", "live") == workload.start.command[:3]
    assert workload.ready.command[:3] == ("rl", "probe", "ready")
    assert (workload.live.command[3:] == ()) == (tier != "bare")


@pytest.mark.parametrize(("tier", "workload"), each("worker"), ids=str)
def test_a_worker_is_started_with_its_queues_its_size_and_a_node_name_of_its_own(tier: str, workload: Workload) -> None:
    argv = list(workload.argv)
    assert argv[:4] == ["celery", "-A", "relier.tasks.app", "worker"]
    assert argv[argv.index("-Q") + 1].split(",") == list(workload.queues)
    assert argv[argv.index("-c") + 1] == str(workload.concurrency) == workload.env["RELIER_CELERY_WORKER_CONCURRENCY"]
    assert argv[argv.index("-n") + 1] == f"{workload.name}@%h"


@pytest.mark.parametrize(("tier", "workload"), each("redis", "sentinel"), ids=str)
def test_probes_of_redis_read_the_answer_and_take_passwords_from_files(tier: str, workload: Workload) -> None:
    assert workload.live and workload.ready
    paths = {mount.path for mount in workload.secrets}
    for probe in (workload.live, workload.ready):
        if probe.command == ("/etc/relier/entrypoint", "ready"):
            continue
        assert probe.command[:2] == ("sh", "-c")
        assert "| grep -q" in probe.command[2]
        asked = re.findall(r'^REDISCLI_AUTH="\$\(cat (\S+)\)" ', probe.command[2])
        assert set(asked) <= paths
        assert bool(asked) == (tier != "dev")
        assert ("--user probe" in probe.command[2]) == (tier != "dev" and workload.kind == "redis")
    assert "LOADING" in workload.live.command[2]
    assert "LOADING" not in workload.ready.command[-1]


def test_pods_are_rolled_by_who_leads_follows_or_sees_the_master() -> None:
    """What they say of real servers, tests/infra/redis/test_probes.py tries."""
    plan = planned("k8s")
    (redis,), (sentinel,) = plan.of_kind("redis"), plan.of_kind("sentinel")
    assert redis.live and redis.ready and redis.start and sentinel.ready
    assert redis.ready.command == ("/etc/relier/entrypoint", "ready")
    assert redis.start.command == redis.live.command
    assert "sentinel master relier-master" in sentinel.ready.command[2]


def test_only_servers_read_a_second_password() -> None:
    """So nobody else is restarted when it comes and goes, and everybody logs in with the current one."""
    changes = {"secrets.redis_second": "k8s:a/second", "secrets.sentinel_second": "k8s:a/other"}
    plan = plan_of(topology("k8s", **changes))
    readers = {w.name: {mount.name for mount in w.secrets if "second" in mount.name} for w in plan.workloads}
    assert {name: names for name, names in readers.items() if names} == {
        "relier-redis": {"redis_second", "sentinel_second"},
        "relier-sentinel": {"sentinel_second"},
    }


def test_only_who_needs_redis_shares_its_network() -> None:
    plan = planned("prod")
    reach = {workload.name for workload in plan.workloads if "data" in workload.networks}
    redis = {workload.name for workload in plan.of_kind("redis", "sentinel")}
    assert reach == redis | {*WORKERS, "resurrector", "backup", "redis-exporter"}
    closed = {tier: {network.name: network.internal for network in planned(tier).networks} for tier in ("dev", "prod")}
    assert closed == {"dev": {"data": True, "edge": False}, "prod": {"data": True, "edge": False}}


def test_what_is_published_has_a_way_out() -> None:
    for _, workload in each():
        if any(port.published for port in workload.ports):
            assert "edge" in workload.networks


def test_prod_publishes_nothing_but_uis_on_the_loopback() -> None:
    published = {w.name: port.published for w in planned("prod").workloads for port in w.ports if port.published}
    assert published == {"prometheus": "127.0.0.1:9090", "grafana": "127.0.0.1:3000"}


def test_images_run_as_their_own_users_and_hosts_as_the_units_do() -> None:
    users = {workload.kind: workload.user for _, workload in each() if workload.image}
    assert users["redis"] == users["sentinel"] == users["backup"] == users["drill"] == "999:999"
    assert users["worker"] == users["resurrector"] == "10001:10001"
    assert {w.user for w in planned("bare").of_kind("redis", "sentinel", "backup", "drill")} == {"redis"}
    assert {w.user for w in planned("bare").of_kind("worker", "resurrector")} == {"relier"}


@pytest.mark.parametrize("tier", TIERS)
def test_every_node_of_redis_has_disk_of_its_own(tier: str) -> None:
    plan = planned(tier)
    names = [mount.volume for workload in plan.of_kind("redis", "sentinel") for mount in workload.volumes]
    assert len(names) == len(set(names)) == len(plan.of_kind("redis", "sentinel"))


def test_a_sidecar_waits_by_itself_and_a_timer_calls_once() -> None:
    assert planned("prod")["backup"].argv == ("/etc/relier/backup", "--every", "3600")
    assert planned("k8s")["backup"].argv == ("/etc/relier/backup",)
    assert (planned("k8s")["backup"].schedule, planned("k8s")["drill"].schedule) == (3600.0, 604_800.0)


def test_the_drill_only_reads_backups_and_talks_to_nobody() -> None:
    drill = planned("prod")["drill"]
    assert (drill.networks, drill.secrets) == ((), ())
    assert [(mount.volume, mount.path, mount.read_only) for mount in drill.volumes] == [
        ("redis_backups", "/var/backups/relier", True),
        ("drill_scratch", "/data", False),
    ]
    settings = {"BACKUP_ALERT_SECONDS": "7200", "BACKUP_DIR": "/var/backups/relier"}
    assert drill.env == settings | {"TMPDIR": "/data", "METRICS_DIR": "/data"}
    assert [(wait.name, wait.condition) for wait in drill.depends_on] == [("backup", "started")]


def test_on_hosts_and_kubernetes_a_drill_is_called_by_the_clock() -> None:
    assert planned("k8s")["drill"].argv == planned("bare")["drill"].argv == ("/etc/relier/drill",)


def test_a_backup_can_load_its_largest_key_and_a_drill_all_of_the_data() -> None:
    memory = {tier: [planned(tier)[name].memory // 1024**2 for name in ("backup", "drill")] for tier in TIERS}
    assert memory == {"dev": [512, 768], "prod": [2048, 3072], "k8s": [2048, 3072], "bare": [2048, 3072]}
    small = plan_of(topology("dev", **{"redis.maxmemory": "1mb"}))
    assert small["backup"].memory == small["drill"].memory == 128 * 1024**2
    odd = plan_of(topology("dev", **{"redis.maxmemory": "333mb"}))
    assert odd["drill"].memory == 500 * 1024**2
    given = plan_of(topology("prod", **{"backup.memory": "5gb", "drill.memory": "6gb"}))
    assert (given["backup"].memory, given["drill"].memory) == (5 * 1024**3, 6 * 1024**3)


def test_little_is_set_aside_for_a_backup_where_a_scheduler_asks() -> None:
    assert planned("k8s")["backup"].memory_request == 128 * 1024**2
    changes = {"redis.maxmemory": "64mb", "backup.memory": "64mb"}
    assert plan_of(topology("k8s", **changes))["backup"].memory_request == 64 * 1024**2
    assert planned("prod")["backup"].memory_request is None


def test_docker_gives_a_node_the_time_to_load_that_its_start_probe_gives() -> None:
    """An unhealthy node ends a start, and then the tier is taken down."""
    for tier in ("dev", "prod"):
        for node in planned(tier).of_kind("redis"):
            assert node.health and node.start
            assert node.health.start_period == node.start.every * node.start.failures == 600
            assert node.health.patience == 600 + 3 * (10 + 5)
        backup = planned(tier)["backup"].health
        assert backup and backup.start_period > 600


def test_backups_lie_where_the_images_user_may_write() -> None:
    assert planned("prod")["backup"].env["BACKUP_DIR"] == "/data" == planned("prod")["backup"].volumes[0].path
    assert planned("bare")["backup"].env["BACKUP_DIR"] == "/var/backups/relier"


def test_a_backup_goes_offsite_with_an_address_a_bucket_and_credentials_of_its_own() -> None:
    place = {"bucket": "s3://b/p", "endpoint": "https://s3.example.org"}
    image = {"backup.image": "relier-backup:1.0.0"}
    changes = {"backup.offsite": place, "secrets.offsite": "file:/etc/relier/s3", **image}
    backup = plan_of(topology("prod", **changes))["backup"]
    assert (backup.env["OFFSITE_BUCKET"], backup.env["OFFSITE_ENDPOINT"]) == ("s3://b/p", "https://s3.example.org")
    assert backup.secrets[-1].path == "/run/secrets/offsite"
    assert "edge" in backup.networks
    plain = plan_of(topology("prod", **{**changes, "backup.offsite": {"bucket": "s3://b/p"}}))["backup"]
    assert "OFFSITE_ENDPOINT" not in plain.env
    assert planned("prod")["backup"].networks == ("data",)


@pytest.mark.parametrize("tier", ["dev", "prod", "k8s"])
def test_an_image_of_backups_is_no_other_workloads(tier: str) -> None:
    plain, own = planned(tier), plan_of(topology(tier, **{"backup.image": "relier-backup:1.0.0"}))
    assert plain["backup"].image == "redis:8.0"
    changed = {w.name: w.image for w in own.workloads if w.image != plain[w.name].image}
    assert changed == {"backup": "relier-backup:1.0.0"}


def test_nodes_are_told_whether_they_have_users() -> None:
    told = {
        tier: {workload.env["REDIS_ACL"] for workload in planned(tier).of_kind("redis", "sentinel")} for tier in TIERS
    }
    assert told == {"dev": {"false"}, "prod": {"true"}, "k8s": {"true"}, "bare": {"true"}}


def test_sentinels_under_an_acl_know_no_password_but_their_own() -> None:
    assert [mount.name for mount in planned("prod")["relier-sentinel-1"].secrets] == ["sentinel"]
    assert planned("prod")["relier-sentinel-1"].env["REDIS_ACL"] == "true"


@pytest.mark.parametrize("tier", TIERS)
def test_every_script_that_is_mounted_is_there(tier: str) -> None:
    sources = {file.source for workload in planned(tier).workloads for file in workload.files}
    ours = {source for source in sources if source.startswith("scripts/redis/") and "/overlays/" not in source}
    assert len(ours) >= 3
    assert not [source for source in ours if not (ROOT / source).is_file()]


def test_a_user_without_a_password_of_its_own_shares_one() -> None:
    shared = {mount.name: mount.reference for mount in planned("prod")["relier-redis-master"].secrets}
    assert set(shared) == {"redis", "replica", "backup", "probe", "sentinel"}
    assert shared["backup"] == shared["redis"] == "env:REDIS_PASSWORD"
    own = plan_of(topology("prod", **{"secrets.backup": "env:BACKUP"}))
    assert own.secrets["backup"] == "env:BACKUP"
    assert own.secrets["probe"] == "env:REDIS_PASSWORD"


def test_dev_redis_has_no_password_and_says_so_to_nobody_else() -> None:
    assert planned("dev").secrets == {}
    assert sentences("dev", **{"redis.publish": ["0.0.0.0:6379"]})


def test_a_node_that_is_a_container_knows_its_name_and_a_pod_asks_its_host() -> None:
    assert planned("prod")["relier-redis-replica-1"].env["REDIS_NODE"] == "relier-redis-replica-1"
    assert "REDIS_NODE" not in planned("k8s")["relier-redis"].env
    assert "SENTINEL_NODE" not in planned("k8s")["relier-sentinel"].env


def test_sentinels_start_after_the_nodes_and_workers_after_both() -> None:
    plan = planned("prod")
    nodes = [workload.name for workload in plan.of_kind("redis")]
    sentinels = [workload.name for workload in plan.of_kind("sentinel")]
    first = plan["relier-sentinel-1"].depends_on
    assert [(wait.name, wait.condition) for wait in first] == [(name, "started") for name in nodes]
    waits = plan["worker-high"].depends_on
    assert [(wait.name, wait.condition) for wait in waits] == [(name, "healthy") for name in nodes + sentinels]
    assert not any(workload.depends_on for workload in planned("k8s").workloads)


def test_nodes_know_the_votes_and_times_of_sentinel() -> None:
    env = planned("prod")["relier-sentinel-2"].env
    assert env["SENTINEL_NODE"] == "relier-sentinel-2"
    assert (env["SENTINEL_QUORUM"], env["SENTINEL_DOWN_AFTER_MS"], env["SENTINEL_FAILOVER_TIMEOUT_MS"]) == (
        "2",
        "5000",
        "15000",
    )
    odd = plan_of(topology("prod", **{"sentinel.down_after": "1005ms"}))["relier-sentinel-1"].env
    assert odd["SENTINEL_DOWN_AFTER_MS"] == "1005"
    assert plan_of(topology("prod", **{"sentinel.quorum": None}))["relier-sentinel-1"].env["SENTINEL_QUORUM"] == "2"


def test_who_talks_to_redis_knows_every_node_by_an_address_that_outlives_it() -> None:
    """Docker forgets the name of a dead node, and a Sentinel that waits for a resolver elects nobody."""
    plan = planned("prod")
    nodes = {w.name: w.address for w in plan.of_kind("redis", "sentinel")}
    assert len(nodes) == len(set(nodes.values())) == 6
    for workload in plan.workloads:
        assert workload.hosts == (nodes if "data" in workload.networks else {})
        assert workload.address == nodes.get(workload.name)


def test_what_the_engine_gives_away_is_no_address_of_a_node() -> None:
    data = planned("prod").networks[0]
    assert data.subnet and data.free
    for address in planned("prod")["worker-high"].hosts.values():
        assert IPv4Address(address) in IPv4Network(data.subnet)
        assert IPv4Address(address) not in IPv4Network(data.free)


def test_one_node_needs_no_addresses() -> None:
    assert planned("dev").networks[0].subnet is None
    assert not any(w.hosts or w.address for w in planned("dev").workloads)
