"""The stack through Pulumi's own engine and the real provider: what changes is what must, and nothing is left."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pulumi import automation as auto

from infra.pulumi.program import main
from infra.pulumi.settings import merged
from infra.topology import load
from tests.infra.kubernetes.cluster import ROOT, SMALL, give_back, kubectl
from tests.infra.pulumi.live import Live

pytestmark = [pytest.mark.providers, pytest.mark.timeout(1800)]
#: Another name of the same image, for a cluster that has no other.
SAME_IMAGE = "docker.io/library/relier:1.0.0"
QUIET = ("same", "read", "refresh")


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
        self.passwords = {name: secrets.token_hex(16) for name in ("redis_password", "sentinel_password")}
        self.over: dict[str, Any] = dict(SMALL)
        self.live.set({"kubernetes": {"namespace": self.namespace, "cpu_request": 0.1}}, self.passwords)

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

    def pods(self) -> dict[str, str]:
        """Every pod that lives, with what it is an incarnation of."""
        found = json.loads(kubectl("-n", self.namespace, "get", "pods", "-o", "json"))["items"]
        alive = [pod["metadata"] for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return {f"{meta['name']}/{meta['uid']}": meta["labels"]["app.kubernetes.io/component"] for meta in alive}

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
        made.timed("destroy", made.live.stack.destroy)
        left = kubectl("get", "namespaces,priorityclasses", "-o", "name")
        give_back(made.namespace, "relier:1.0.0")
        assert made.namespace not in left


def test_everything_is_ready_when_up_returns(stack: Stack) -> None:
    said = kubectl("-n", stack.namespace, "exec", "deploy/worker", "--", "rl", "config", "validate")
    assert said.strip() == "Everything is as it must be."


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


def test_another_password_renews_exactly_the_pods_that_read_it(stack: Stack) -> None:
    before = stack.pods()
    stack.passwords["sentinel_password"] = secrets.token_hex(16)
    stack.live.set(secrets=stack.passwords)
    changed = stack.up()
    sets = ("StatefulSet/relier-redis", "StatefulSet/relier-sentinel")
    app = ("Deployment/worker", "Deployment/worker-recovery", "Deployment/resurrector")
    assert changed == dict.fromkeys((*sets, *app, "CronJob/backup", "Secret/relier-secrets"), "update")
    assert stack.renewed(before) >= {"relier-redis", "relier-sentinel", "worker"}
    said = kubectl("-n", stack.namespace, "exec", "deploy/worker", "--", "rl", "config", "validate")
    assert said.strip() == "Everything is as it must be."


def test_what_pulumi_stood_up_keeps_the_whole_contract(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "k8s.yaml"
    path.write_text(yaml.safe_dump(merged(load.parse(load.find("k8s")), stack.over)))
    words = ["--stack", str(path), "--backend", "kubectl", "--namespace", stack.namespace]
    suite = [sys.executable, "-m", "pytest", "tests/infra/conformance", "-q", "-p", "no:cacheprovider", *words]
    ran = subprocess.run(suite, cwd=ROOT, capture_output=True, text=True, check=False)
    print(ran.stdout[-2500:])
    assert ran.returncode == 0, ran.stdout[-6000:]
