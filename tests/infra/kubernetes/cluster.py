"""A real cluster: the recorded objects of a stack in a namespace of their own, and nothing left of it afterwards."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.pulumi.program import main
from infra.pulumi.render import tidy
from infra.pulumi.settings import merged
from infra.topology import Plan, load, plan_of, topology_of
from tests.infra.pulumi.recorder import record, reveal

ROOT = Path(__file__).parents[3]
#: The same fleet in small: one machine with two cores carries it.
SMALL: dict[str, Any] = {
    "redis": {"memory": "256mb", "maxmemory": "128mb", "storage": "1gb"},
    "workers": {
        "worker": {"replicas": 2, "concurrency": 2, "connections": 10, "memory": "768mb", "memory_request": "128mb"},
        "worker-recovery": {
            "replicas": 1,
            "concurrency": 2,
            "connections": 10,
            "memory": "768mb",
            "memory_request": "128mb",
        },
    },
    "resurrector": {"memory_request": "96mb", "cpu_request": 0.15},
    "checkpoints": {"size": "1gb", "storage_class": None},
    "backup": {"storage": "1gb"},
    "drill": {"memory": "256mb"},
    "telemetry": {"enabled": False, "endpoint": None},
}
for _pool in SMALL["workers"].values():
    _pool |= {"cpus": 1, "cpu_request": 0.2}
SETS = {"Deployment", "StatefulSet"}
PATIENCE = 300


def why_none() -> str | None:
    """Why there is no cluster to test on, or nothing."""
    if shutil.which("kubectl") is None:
        return "no Kubernetes cluster: kubectl is not on PATH"
    if not os.environ.get("KUBECONFIG"):
        return "no Kubernetes cluster: KUBECONFIG is not set"
    asked = subprocess.run(
        ["kubectl", "--request-timeout=5s", "get", "--raw", "/readyz"], capture_output=True, text=True, check=False
    )
    return None if asked.stdout == "ok" else "no Kubernetes cluster: the one of KUBECONFIG does not answer"


def kubectl(*arguments: str, text: str | None = None, timeout: float = PATIENCE + 60) -> str:
    """What kubectl says, or a failure with its reason."""
    done = subprocess.run(
        ["kubectl", *arguments], capture_output=True, text=True, input=text, timeout=timeout, check=False
    )
    if done.returncode:
        pytest.fail(f"kubectl {' '.join(arguments)}: {done.stderr.strip()[-800:]}", pytrace=False)
    return done.stdout


class Namespace:
    """A stack in a namespace of its own. Passwords are made up and reach kubectl by its standard input only."""

    def __init__(
        self, stack: str, overrides: Mapping[str, Any], secrets_too: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        self.name = f"relier-test-{secrets.token_hex(3)}"
        self.data = merged(load.parse(load.find(stack)), overrides)
        self.plan: Plan = plan_of(topology_of(self.data))
        self.passwords = {"redis_password": secrets.token_hex(16)}
        if self.plan.of_kind("sentinel"):
            self.passwords["sentinel_password"] = secrets.token_hex(16)
        self.passwords |= secrets_too or {}
        given = {"namespace": self.name, "cpu_request": 0.1, **options}
        config = {"overrides": dict(overrides), "kubernetes": given}
        seen = record(main, stack=stack, config=config, secrets=self.passwords)
        self.objects = [tidy(reveal(entry.inputs)) for entry in seen if entry.type.startswith("kubernetes:")]

    def run(self, *arguments: str, **more: Any) -> str:
        return kubectl("-n", self.name, *arguments, **more)

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "-o", "json"))

    def apply(self) -> None:
        """Everything at once, as `kubectl apply` takes it."""
        kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": self.objects}))

    def sets(self) -> list[str]:
        """What is to become ready."""
        return [f"{o['kind'].lower()}/{o['metadata']['name']}" for o in self.objects if o["kind"] in SETS]

    def ready(self, sets: Iterable[str] = (), patience: float = PATIENCE) -> float:
        """Seconds until everything is, or a failure with the state of the pods."""
        began = time.monotonic()
        for name in sets or self.sets():
            left = max(5, patience - (time.monotonic() - began))
            words = ["-n", self.name, "rollout", "status", name, f"--timeout={left:.0f}s"]
            done = subprocess.run(["kubectl", *words], capture_output=True, text=True, check=False)
            if done.returncode:
                pods = self.run("get", "pods", "-o", "wide")
                pytest.fail(f"{name} is not ready: {done.stderr.strip()}\n{pods}", pytrace=False)
        return time.monotonic() - began

    def pods(self, component: str) -> list[dict[str, Any]]:
        """The living pods of a workload."""
        found = self.json("get", "pods", "-l", f"app.kubernetes.io/component={component}")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def names(self, component: str) -> list[str]:
        return sorted(pod["metadata"]["name"] for pod in self.pods(component))

    def restarts(self, *components: str) -> dict[str, int]:
        """How often each container was started anew, by pod."""
        found = [pod for component in components for pod in self.pods(component)]
        return {
            pod["metadata"]["name"]: sum(state["restartCount"] for state in pod["status"].get("containerStatuses", ()))
            for pod in found
        }

    def inside(self, pod: str) -> list[str]:
        """The prefix of a command that runs in a pod."""
        return ["kubectl", "-n", self.name, "exec", "-i", pod, "--"]

    def ask(self, pod: str, *command: str) -> str:
        return self.run("exec", pod, "--", *command)

    def logs(self, pod: str) -> str:
        """What a pod has said, nothing if it has not begun."""
        words = ["kubectl", "-n", self.name, "logs", pod, "--tail=50"]
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout

    def stack_file(self, folder: Path) -> Path:
        """The stack as it is here, for whoever reads stacks."""
        path = folder / "k8s.yaml"
        path.write_text(yaml.safe_dump(self.data))
        return path

    def remove(self) -> None:
        """Nothing stays: neither pods nor disks nor what belongs to the whole cluster."""
        if ours := [o["metadata"]["name"] for o in self.objects if o["kind"] == "PriorityClass"]:
            kubectl("delete", "priorityclass", *ours, "--ignore-not-found")
        if not kubectl("get", "namespace", self.name, "--ignore-not-found"):
            return
        self.run("delete", "deployments,statefulsets,cronjobs,jobs", "--all", "--wait=true")
        self.run("delete", "pods", "--all", "--force", "--grace-period=0")
        kubectl("delete", "namespace", self.name, "--wait=true")
        give_back(self.name, str(self.plan["worker"].image))


def give_back(namespace: str, image: str) -> None:
    """Volumes that were bound from a namespace and that nobody empties: empty, and free for whoever claims next."""
    names = [volume["metadata"]["name"] for volume in kept_volumes(namespace)]
    if not names:
        return
    place = f"{namespace}-empty"
    kubectl("create", "namespace", place)
    try:
        release(names)
        claims = [claim(number, name) for number, name in enumerate(names)]
        listed = {"apiVersion": "v1", "kind": "List", "items": [*claims, cleaner(len(names), image)]}
        kubectl("-n", place, "apply", "-f", "-", text=json.dumps(listed))
        kubectl("-n", place, "wait", "pod/cleaner", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=180s")
    finally:
        kubectl("delete", "namespace", place, "--wait=true")
        release(names)


def kept_volumes(namespace: str) -> list[dict[str, Any]]:
    """Those that stay with their data when their claim goes."""
    volumes = json.loads(kubectl("get", "pv", "-o", "json"))["items"]
    bound = [volume for volume in volumes if volume["spec"].get("claimRef", {}).get("namespace") == namespace]
    return [volume for volume in bound if volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"]


def release(names: Iterable[str]) -> None:
    for name in names:
        kubectl("patch", "pv", name, "--type=merge", "-p", '{"spec":{"claimRef":null}}')


def claim(number: int, volume: str) -> dict[str, Any]:
    """One volume and no other."""
    found = json.loads(kubectl("get", "pv", volume, "-o", "json"))["spec"]
    spec = {
        "accessModes": found["accessModes"][:1],
        "storageClassName": found.get("storageClassName", ""),
        "volumeName": volume,
        "resources": {"requests": {"storage": found["capacity"]["storage"]}},
    }
    meta = {"name": f"disk-{number}"}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}


def cleaner(count: int, image: str) -> dict[str, Any]:
    """A pod that empties disks as each of the users who wrote them."""
    mounts = [{"name": f"disk-{number}", "mountPath": f"/disks/{number}"} for number in range(count)]
    erase = ["sh", "-c", "find /disks -mindepth 2 -delete 2>/dev/null; true"]

    def user(uid: int) -> dict[str, Any]:
        own = {"runAsUser": uid, "runAsGroup": uid}
        return {"name": f"u{uid}", "image": image, "command": erase, "securityContext": own, "volumeMounts": mounts}

    disks = [
        {"name": f"disk-{number}", "persistentVolumeClaim": {"claimName": f"disk-{number}"}} for number in range(count)
    ]
    spec = {"restartPolicy": "Never", "initContainers": [user(999)], "containers": [user(10001)], "volumes": disks}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "cleaner"}, "spec": spec}
