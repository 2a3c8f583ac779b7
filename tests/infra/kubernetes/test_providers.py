"""The stack through Pulumi's own engine and the real provider: what changes is what must, and nothing is left."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pulumi import automation as auto

from harness.load import Load
from infra.pulumi import settings
from infra.pulumi.program import main
from infra.pulumi.settings import merged
from infra.topology import load, plan_of, topology_of
from tests.infra.kubernetes.cluster import ROOT, SMALL, give_back, kubectl
from tests.infra.kubernetes.test_cluster import judge
from tests.infra.pulumi.live import Live, altered

pytestmark = [pytest.mark.providers, pytest.mark.timeout(1800)]
#: Another name of the same image, for a cluster that has no other.
SAME_IMAGE = "docker.io/library/relier:1.0.0"
QUIET = ("same", "read", "refresh")
SHOP = {"app.kubernetes.io/component": "shop"}
RATE = 50.0


class Did:
    """What an update did, by type and name."""

    def __init__(self) -> None:
        self.ops: dict[str, str] = {}

    def __call__(self, event: auto.EngineEvent) -> None:
        if event.resource_pre_event and event.resource_pre_event.metadata.type.startswith("kubernetes:"):
            metadata = event.resource_pre_event.metadata
            self.ops[f"{metadata.type.rpartition(':')[2]}/{metadata.urn.rpartition('::')[2]}"] = str(metadata.op.value)

    @property
    def changed(self) -> dict[str, str]:
        """Whatever was not left as it was."""
        return {name: op for name, op in self.ops.items() if op not in QUIET}


class Stack:
    """The stack k8s in a namespace of its own."""

    def __init__(self, home: Path) -> None:
        self.home, self.namespace = home, f"relier-up-{secrets.token_hex(3)}"
        self.live = Live(home, "k8s", main)
        self.live.as_shipped("kubernetes")
        self.passwords = {name: secrets.token_hex(16) for name in ("redis_password", "sentinel_password")}
        self.over: dict[str, Any] = dict(SMALL)
        options = {"namespace": self.namespace, "cpu_request": 0.1, "producers": [{"labels": SHOP}]}
        self.live.set({"kubernetes": options}, self.passwords)

    def up(self, **over: Any) -> dict[str, str]:
        """What an update with these overrides changed."""
        self.over = merged(self.over, over)
        self.live.set({"overrides": self.over})
        return self.timed("up", self._up)

    def _up(self) -> dict[str, str]:
        did = Did()
        self.live.stack.up(on_event=did)
        return did.changed

    def timed(self, what: str, step: Callable[[], Any]) -> Any:
        """Do a step, and print how long it took."""
        began = time.monotonic()
        done = step()
        print(f"\nk8s: {what} took {time.monotonic() - began:.0f} s")
        return done

    def inside(self, *words: str) -> str:
        """What a command says inside a worker."""
        return kubectl("-n", self.namespace, "exec", "deploy/worker", "--", *words).strip()

    def login(self, current: dict[str, str], second: dict[str, str]) -> None:
        """The passwords that everybody logs in with, and those that are taken too."""
        self.passwords = dict(current)
        given = {name.replace("_", "_second_"): value for name, value in second.items()}
        for name in SECOND:
            if f"{name}_password" not in given:
                self.live.stack.remove_config(f"relier:{name}_password")
        self.live.set(secrets={**current, **given})

    @contextmanager
    def producer(self) -> Iterator[list[str]]:
        """How a command is run in a pod that pushes and that no update touches. It is started as a worker is."""
        run = ["-n", self.namespace]
        spec = json.loads(kubectl(*run, "get", "deploy/worker", "-o", "json"))["spec"]["template"]["spec"]
        kept = ("name", "image", "env", "resources", "securityContext", "volumeMounts")
        spec["containers"] = [{key: spec["containers"][0][key] for key in kept} | {"args": ["sleep", "3600"]}]
        meta = {"name": f"shop-{secrets.token_hex(3)}", "labels": SHOP}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec | {"restartPolicy": "Never"}}
        kubectl(*run, "apply", "-f", "-", text=json.dumps(pod))
        try:
            kubectl(*run, "wait", f"pod/{meta['name']}", "--for=condition=Ready", "--timeout=60s")
            yield ["kubectl", *run, "exec", "-i", str(meta["name"]), "--"]
        finally:
            kubectl(*run, "delete", "pod", str(meta["name"]), "--force", "--grace-period=0")

    def pods(self) -> dict[str, str]:
        """Every pod that lives, with what it is an incarnation of."""
        found = json.loads(kubectl("-n", self.namespace, "get", "pods", "-o", "json"))["items"]
        alive = [pod["metadata"] for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return {f"{meta['name']}/{meta['uid']}": meta["labels"]["app.kubernetes.io/component"] for meta in alive}

    def claims(self) -> set[str]:
        """Every disk, as the cluster tells them apart."""
        found = json.loads(kubectl("-n", self.namespace, "get", "pvc", "-o", "json"))["items"]
        return {claim["metadata"]["uid"] for claim in found}

    def renewed(self, before: dict[str, str]) -> set[str]:
        """The workloads that have other pods than before."""
        return {workload for pod, workload in self.pods().items() if pod not in before}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Up, and destroyed at the end, come what may."""
    made = Stack(tmp_path_factory.mktemp("k8s"))
    try:
        assert set(made.up().values()) == {"create"}
        yield made
    finally:
        made.timed("destroy", made.live.end)
        left = kubectl("get", "namespaces,priorityclasses", "-o", "name")
        give_back(made.namespace, "relier:1.0.0")
        assert made.namespace not in left


def test_everything_is_ready_when_up_returns(stack: Stack) -> None:
    assert stack.inside("rl", "config", "validate") == "Everything is as it must be."


def test_a_second_update_changes_nothing_and_a_refresh_finds_no_drift(stack: Stack) -> None:
    assert stack.up() == {}
    assert set(stack.timed("refresh", stack.live.drift)) == {"same"}


def test_no_password_is_in_clear_in_what_pulumi_keeps(stack: Stack) -> None:
    kept = stack.live.kept()
    assert stack.namespace in kept
    assert not [value for value in stack.passwords.values() if value in kept]


def test_another_size_touches_that_pool_and_no_pod_of_others(stack: Stack) -> None:
    before = stack.pods()
    assert stack.up(workers={"worker": {"replicas": 3}}) == {"Deployment/worker": "update"}
    assert stack.renewed(before) == {"worker"}
    assert set(before) <= set(stack.pods())
    assert stack.up(workers={"worker": {"replicas": 2}}) == {"Deployment/worker": "update"}


def test_another_image_renews_the_application_and_nothing_else(stack: Stack) -> None:
    before = stack.pods()
    app = ("worker", "worker-recovery", "resurrector")
    assert stack.up(app={"image": SAME_IMAGE}) == {f"Deployment/{name}": "update" for name in app}
    assert stack.renewed(before) == set(app)


def test_another_disk_stops_no_node_and_takes_no_claim_away(stack: Stack) -> None:
    """The rehearsal alone has a new disk each time, and of the new size."""
    before, kept = stack.pods(), stack.claims()
    assert stack.up(redis={"storage": "2gb"}, checkpoints={"storage_class": "other"}) == {"CronJob/drill": "update"}
    assert stack.renewed(before) == set()
    assert stack.claims() == kept
    assert stack.up(redis={"storage": "1gb"}, checkpoints={"storage_class": None}) == {"CronJob/drill": "update"}


def test_another_check_is_that_of_the_pods_that_it_is_for(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    topology = topology_of(merged(load.parse(load.find("k8s")), stack.over))
    probe = plan_of(topology)["worker-recovery"].ready
    assert probe is not None
    before = stack.pods()
    monkeypatch.setattr(settings, "plan_of", altered({"worker-recovery"}, ready=replace(probe, every=9.0)))
    assert stack.up() == {"Deployment/worker-recovery": "update"}
    assert stack.renewed(before) == {"worker-recovery"}
    period = "-o=jsonpath={.items[*].spec.containers[0].readinessProbe.periodSeconds}"
    chosen = "app.kubernetes.io/component=worker-recovery"
    assert kubectl("-n", stack.namespace, "get", "pods", "-l", chosen, period).split().count("9") == 1
    monkeypatch.undo()
    assert stack.up() == {"Deployment/worker-recovery": "update"}


SETS = ("StatefulSet/relier-redis", "StatefulSet/relier-sentinel")
APP = tuple(f"Deployment/{name}" for name in ("worker", "worker-recovery", "resurrector", "redis-exporter"))
BESIDE = ("Secret/relier-secrets", *SETS)
SECOND = {f"{name}_second": f"k8s:relier-secrets/{name}-second" for name in ("redis", "sentinel")}


def rotate(stack: Stack, current: dict[str, str], second: dict[str, str], changed: tuple[str, ...]) -> None:
    """One update, which renews the pods of what it changes."""
    before = stack.pods()
    stack.login(current, second)
    assert stack.up(secrets=SECOND if second else dict.fromkeys(SECOND)) == dict.fromkeys(changed, "update")
    assert stack.renewed(before) >= {name.partition("/")[2] for name in changed if name in (*SETS, *APP)}


def test_both_passwords_are_changed_under_load_in_three_updates_without_a_loss(stack: Stack) -> None:
    """The new one beside the old, the new one with the old beside it, the new one alone."""
    old, new = dict(stack.passwords), {name: secrets.token_hex(16) for name in stack.passwords}
    with stack.producer() as prefix:
        load = Load(prefix, rate=RATE).start()
        rotate(stack, old, new, BESIDE)
        rotate(stack, new, old, (*BESIDE, *APP, "CronJob/backup"))
        judge(load)
    with stack.producer() as prefix:
        load = Load(prefix, rate=RATE).start()
        rotate(stack, new, {}, BESIDE)
        judge(load)
    assert stack.inside("rl", "config", "validate") == "Everything is as it must be."


def test_what_pulumi_stood_up_keeps_the_whole_contract(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "k8s.yaml"
    path.write_text(yaml.safe_dump(merged(load.parse(load.find("k8s")), stack.over)))
    words = ["--stack", str(path), "--backend", "kubectl", "--namespace", stack.namespace]
    suite = [sys.executable, "-m", "pytest", "tests/infra/conformance", "-q", "-p", "no:cacheprovider", *words]
    ran = subprocess.run(suite, cwd=ROOT, capture_output=True, text=True, check=False)
    print(ran.stdout[-2500:])
    assert ran.returncode == 0, ran.stdout[-6000:]
