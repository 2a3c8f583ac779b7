"""The recorded objects on a real cluster: ready, refused by nobody, and unharmed by what clusters do to pods."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from harness.load import Load, verdict
from tests.infra.ansible import stay_program
from tests.infra.ansible.tier import Stay
from tests.infra.kubernetes.cluster import ROOT, Namespace, kubectl

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
RATE, BEFORE, AFTER = 40.0, 4.0, 6.0
OUTAGE = 60.0
LONG = 20.0
SUITE = "tests/infra/conformance"
RESTORE = f"{SUITE}/test_destructive_restore.py"
APP = ("worker", "worker-recovery", "resurrector")


def until(true: Callable[[], bool], seconds: float, what: str) -> float:
    """Seconds until something is so."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"{what}: not within {seconds:g} s"
        time.sleep(0.5)
    return time.monotonic() - began


def info(tier: Namespace, pod: str, section: str = "replication") -> dict[str, str]:
    """`INFO` of a data node, asked with the probe's password where it lies."""
    ask = f'REDISCLI_AUTH="$(cat /run/secrets/relier/probe)" redis-cli --user probe info {section}'
    done = subprocess.run([*tier.inside(pod), "sh", "-c", ask], capture_output=True, text=True, check=False)
    return dict(line.split(":", 1) for line in done.stdout.splitlines() if ":" in line)


def master(tier: Namespace) -> str:
    """The pod that leads, once all agree."""
    leading: list[str] = []

    def agreed() -> bool:
        nodes = {pod: info(tier, pod) for pod in tier.names("relier-redis")}
        leading[:] = [pod for pod, said in nodes.items() if said.get("role") == "master"]
        followers = [said for said in nodes.values() if said.get("master_link_status") == "up"]
        return len(leading) == 1 and len(followers) == len(nodes) - 1 == 2

    until(agreed, 120, "one master with two replicas")
    return leading[0]


def unready(tier: Namespace, *components: str) -> list[str]:
    """Pods that take no work."""
    return [
        pod["metadata"]["name"]
        for component in components
        for pod in tier.pods(component)
        if not all(state["ready"] for state in pod["status"].get("containerStatuses", [{"ready": False}]))
    ]


def all_take_work(tier: Namespace) -> None:
    """Asked of the pods: what a controller says of them is a moment old."""
    until(lambda: not unready(tier, "worker", "worker-recovery"), 120, "every worker takes work")


@pytest.fixture
def load(tier: Namespace) -> Iterator[Load]:
    """Pushes from a pod that nobody harms."""
    made = Load(tier.inside(tier.names("resurrector")[0]), rate=RATE).start()
    time.sleep(BEFORE)
    yield made
    if made._process.poll() is None:
        made.stop()


def judge(load: Load) -> None:
    """0 lost, 0 committed twice."""
    time.sleep(AFTER)
    load.stop()
    found = load.verdict()
    print(f"\n{found.acknowledged} acknowledged, {len(found.lost)} lost, {found.twice} committed twice.")
    assert found.acknowledged > 100
    assert found.lost == []
    assert found.twice == 0


def test_everything_is_ready_and_nothing_had_to_be_restarted_for_being_restricted(tier: Namespace) -> None:
    workloads = [workload.name for workload in tier.plan.workloads if workload.schedule is None]
    for name in workloads:
        pods = tier.pods(name)
        assert len(pods) == tier.plan[name].replicas, name
        assert all(state["ready"] for pod in pods for state in pod["status"]["containerStatuses"]), name
    events = tier.run("get", "events", "--field-selector", "type=Warning", "-o", "custom-columns=:.message")
    assert "violates PodSecurity" not in events


def test_the_fleet_finds_its_redis_as_it_must_be(tier: Namespace) -> None:
    assert tier.ask("deploy/worker", "rl", "config", "validate").strip() == "Everything is as it must be."


def test_a_second_apply_changes_nothing(tier: Namespace) -> None:
    before = {name: tier.names(name) for name in APP}
    tier.apply()
    tier.ready()
    assert {name: tier.names(name) for name in APP} == before


def test_the_exporter_reads_redis_with_the_password_that_was_written_for_it(tier: Namespace) -> None:
    code = "import urllib.request as u; print(u.urlopen('http://redis-exporter:9121/metrics').read().decode())"
    figures = tier.ask("deploy/worker", "python", "-c", code)
    assert "\nredis_up 1\n" in figures


def test_a_backup_is_taken_from_a_replica_and_the_rehearsal_loads_it(tier: Namespace) -> None:
    for job in ("backup", "drill"):
        tier.run("create", "job", f"{job}-now", f"--from=cronjob/{job}")
        tier.run("wait", f"job/{job}-now", "--for=condition=Complete", "--timeout=180s")
    assert "(a replica)" in tier.run("logs", "job/backup-now")
    assert "DIFFERS" not in tier.run("logs", "job/drill-now")


def test_a_producer_of_another_namespace_finds_the_names_that_sentinels_say(tier: Namespace) -> None:
    place, image = f"{tier.name}-shop", tier.plan["worker"].image
    ask = ["python", "-c", "import socket; print(socket.getaddrinfo('relier-redis-0.relier-redis', 6379)[0][0])"]
    spec = {
        "restartPolicy": "Never",
        "dnsConfig": {"searches": [f"{tier.name}.svc.cluster.local"]},
        "containers": [{"name": "shop", "image": image, "command": ask}],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shop"}, "spec": spec}
    kubectl("create", "namespace", place)
    try:
        kubectl("-n", place, "apply", "-f", "-", text=json.dumps(pod))
        kubectl("-n", place, "wait", "pod/shop", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    finally:
        kubectl("delete", "namespace", place, "--wait=false")


def test_workers_that_are_rolled_under_load_lose_nothing(tier: Namespace, load: Load) -> None:
    before = set(tier.names("worker"))
    tier.run("rollout", "restart", "deployment/worker", "deployment/worker-recovery")
    seconds = tier.ready(["deployment/worker", "deployment/worker-recovery"])
    assert not before & set(tier.names("worker"))
    print(f"\nworkers rolled in {seconds:.1f} s under {RATE:g} pushes/s.")
    judge(load)


def test_a_replica_that_lost_its_disk_copies_everything_and_pushes_go_on(tier: Namespace, load: Load) -> None:
    leader = master(tier)
    victim = next(pod for pod in tier.names("relier-redis") if pod != leader)
    tier.run("delete", "pvc", f"relier-redis-data-{victim}", "--wait=false")
    tier.run("delete", "pod", victim, "--wait=true")
    # Its controller makes it anew only when the old claim is gone.
    tier.run("wait", f"pod/{victim}", "--for=create", "--timeout=60s")
    tier.run("wait", f"pod/{victim}", "--for=condition=Ready", "--timeout=240s")
    assert info(tier, victim)["role"] == "slave"
    assert master(tier) == leader
    judge(load)


@pytest.fixture
def stay(tier: Namespace) -> Iterator[Stay]:
    """Tasks that outlast a drain. Every start of each is seen from a pod that nobody harms."""
    program = Path(stay_program.__file__).read_text()
    made = Stay([*tier.inside(tier.names("resurrector")[0]), "python", "-c", program])
    yield made.begin("default", "2", str(LONG))
    until(lambda: made.finished, 120, "the long tasks are done")


def deaths(tier: Namespace, tasks: Iterable[str]) -> int:
    """How many of these were found with a worker that had died. What is handed off does not count as a death."""
    code = (
        "import sys; from relier.connection import connect; from relier.settings import get_settings; "
        "print(connect(get_settings()).exists(*(f'rl:resurrections:{task}' for task in sys.argv[1:])))"
    )
    return int(tier.ask(tier.names("resurrector")[0], "python", "-c", code, *tasks))


def test_a_worker_that_is_drained_hands_off_and_its_pod_starts_anew(tier: Namespace, load: Load, stay: Stay) -> None:
    env = tier.plan["worker"].env
    drain, beats = float(env["RELIER_GRACEFUL_SHUTDOWN_TIMEOUT"]), float(env["RELIER_HEARTBEAT_TTL"])
    pod = next(iter(stay.runs.values()))[-1][1].removeprefix("worker@")
    held, restarts = set(stay.on(pod)), tier.restarts("worker")[pod]
    assert f"hands off what is not finished in {drain:g} s" in tier.ask(pod, "rl", "worker", "drain", f"worker@{pod}")
    # Its heartbeats would end later than that, and be missed later still.
    gone = until(lambda: not held & set(stay.on(pod)), drain + beats / 2, f"{len(held)} tasks of {pod} began elsewhere")
    print(f"\n{len(held)} tasks began again {gone:.1f} s after a drain of {drain:g} s was asked for.")
    assert min(stay.runs[task][-1][0] for task in held) >= 2
    assert deaths(tier, held) == 0, "handed off, not found dead"
    until(lambda: tier.restarts("worker")[pod] > restarts, 120, f"{pod} left and was started again")
    all_take_work(tier)
    judge(load)
    assert verdict(load.prefix, stay.runs).lost == []


def test_liveness_restarts_no_worker_while_redis_is_gone(tier: Namespace) -> None:
    all_take_work(tier)  # one that only starts refuses to, without Redis, and is started again until it may
    before = tier.restarts(*APP)
    kept = tier.plan["relier-redis"].replicas
    tier.run("scale", "statefulset/relier-redis", "--replicas=0")
    until(lambda: not tier.names("relier-redis"), 120, "Redis is gone")
    time.sleep(OUTAGE)
    during = tier.restarts("worker", "worker-recovery")
    silent = unready(tier, "worker")
    tier.run("scale", "statefulset/relier-redis", f"--replicas={kept}")
    seconds = tier.ready()
    print(f"\nafter {OUTAGE:g} s without Redis everything was ready in {seconds:.1f} s.")
    assert during == {name: count for name, count in before.items() if name in during}
    assert sorted(silent) == tier.names("worker")
    assert tier.restarts("worker", "worker-recovery") == during
    assert tier.ask("deploy/worker", "rl", "config", "validate").strip() == "Everything is as it must be."


def conforms(tier: Namespace, folder: Path, what: str, *options: str) -> None:
    """The conformance suite is green."""
    words = ["--stack", str(tier.stack_file(folder)), "--backend", "kubectl", "--namespace", tier.name, *options]
    suite = [sys.executable, "-m", "pytest", what, "-q", "-p", "no:cacheprovider", *words]
    done = subprocess.run(suite, cwd=ROOT, capture_output=True, text=True, timeout=850, check=False)
    print(done.stdout[-4000:])
    assert done.returncode == 0, done.stdout[-6000:]


def test_the_running_tier_keeps_the_contract_also_when_workers_and_the_master_are_killed(
    tier: Namespace, tmp_path: Path
) -> None:
    conforms(tier, tmp_path, SUITE, "--destructive", f"--rate={RATE:g}", f"--deselect={RESTORE}")


@pytest.mark.soak
def test_the_backup_gives_everything_back_after_all_disks_were_wiped(tier: Namespace, tmp_path: Path) -> None:
    conforms(tier, tmp_path, RESTORE, "--destructive")
