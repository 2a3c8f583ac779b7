"""Pods of one namespace. A pod belongs to the controller that bears its workload's name, whoever made it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import testinfra

from infra.topology import Plan
from infra.topology.workload import Probe, Workload
from tests.infra.conformance.adapters.base import Facts, Instance, Mount, Process, Unable, foreign, knock, local, must
from tests.infra.conformance.adapters.docker import REPO

UNITS = {"": 1, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "k": 1000, "M": 1000**2, "G": 1000**3}
CONTROLLERS = {"redis": "statefulset", "sentinel": "statefulset", "backup": "cronjob", "drill": "cronjob"}
BARE = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
SECURE = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


class Kubectl:
    """Whatever `kubectl` of this shell points at."""

    backend = "kubectl"
    stays_down = False

    def __init__(self, plan: Plan, namespace: str) -> None:
        self.plan, self.namespace = plan, namespace
        self._shells: dict[str, Any] = {}

    def _kubectl(self, *words: str, text: str | None = None, timeout: float = 120) -> str:
        return must(["kubectl", "-n", self.namespace, *words], timeout=timeout, text=text)

    def _get(self, *words: str) -> Any:
        return json.loads(self._kubectl("get", *words, "-o", "json"))

    def _pods(self) -> list[dict[str, Any]]:
        """Those that live, with those that are on their way out left aside."""
        found = self._get("pods")["items"]
        return [p for p in found if p["status"]["phase"] == "Running" and not p["metadata"].get("deletionTimestamp")]

    def instances(self, workload: Workload) -> list[Instance]:
        pods = [pod for pod in self._pods() if _owner(pod) == workload.name]
        if workload.schedule is not None:
            known = self._get("cronjobs")["items"]
            return [
                Instance(f"cronjob/{workload.name}", workload.name, running=False)
                for c in known
                if _name(c) == workload.name
            ]
        found = [self._instance(pod, workload) for pod in pods]
        return sorted(found, key=lambda instance: instance.name)

    def _instance(self, pod: Mapping[str, Any], workload: Workload) -> Instance:
        name = _name(pod)
        node = name if name in workload.nodes else None
        return Instance(name, workload.name, node, self._host(name, pod["spec"]["containers"][0]["name"]))

    def _host(self, name: str, container: str) -> Any:
        if name not in self._shells:
            probe = ["kubectl", "-n", self.namespace, "exec", name, "-c", container, "--", "/bin/sh", "-c", "true"]
            address = f"kubectl://{name}?container={container}&namespace={self.namespace}"
            if local(probe).code:
                return None  # not remembered: one that begins has its shell a moment later
            self._shells[name] = testinfra.get_host(address)
        return self._shells[name]

    def strangers(self) -> list[str]:
        planned = {workload.name for workload in self.plan.workloads}
        return [f"the pod {_name(pod)} runs in {self.namespace}" for pod in self._pods() if _owner(pod) not in planned]

    def _described(self, instance: Instance) -> tuple[dict[str, Any], dict[str, Any]]:
        """The pod, or what the pod of a job would be; and its specification."""
        if instance.running:
            pod = self._get("pod", instance.name)
            return pod, pod["spec"]
        job = self._get("cronjob", instance.workload)
        return job, job["spec"]["jobTemplate"]["spec"]["template"]["spec"]

    def facts(self, instance: Instance) -> Facts:
        seen, spec = self._described(instance)
        main, planned = spec["containers"][0], self.plan[instance.workload]
        return Facts(
            image=main["image"],
            user=_user(spec, main),
            memory=_bytes(main.get("resources", {}).get("limits", {}).get("memory")),
            argv=(*main.get("command", ()), *main.get("args", ())),
            env={entry["name"]: entry["value"] for entry in main.get("env", ()) if "value" in entry},
            mounts=tuple(_mounts(spec, main)),
            read_only_root=bool(main.get("securityContext", {}).get("readOnlyRootFilesystem")),
            grace=float(spec.get("terminationGracePeriodSeconds", 30)),
            published=self._published(seen) if instance.running else {},
            checks=_checks(main, planned),
            health=_health(seen) if instance.running else None,
            privileges=tuple(_privileges(spec, main)),
            incarnation=_incarnation(seen) if instance.running else "",
        )

    def _published(self, pod: Mapping[str, Any]) -> dict[int, tuple[str, ...]]:
        """Ports of services that reach out of the cluster."""
        labels = pod["metadata"].get("labels", {}).items()
        found: dict[int, tuple[str, ...]] = {}
        for service in self._get("services")["items"]:
            spec = service["spec"]
            if spec["type"] != "ClusterIP" and spec.get("selector") and spec["selector"].items() <= labels:
                found |= {int(port["port"]): (f"a {spec['type']}",) for port in spec["ports"]}
        return found

    def command(self, instance: Instance, argv: Sequence[str]) -> list[str]:
        container = self.plan[instance.workload].kind
        names = [c["name"] for c in self._get("pod", instance.name)["spec"]["containers"]]
        container = container if container in names else names[0]
        return ["kubectl", "-n", self.namespace, "exec", "-i", instance.name, "-c", container, "--", *argv]

    def own_processes(self, instance: Instance, seen: Sequence[Process]) -> list[Process]:
        return [process for process in seen if process.argv[0] != "/pause"]

    def foreign_files(self, instance: Instance, workload: Workload) -> list[str]:
        return foreign(instance, workload, REPO)

    def described(self, instance: Instance) -> str:
        maps = json.dumps(self._get("configmaps"))
        return json.dumps(self._described(instance)[0]) + maps

    def logs(self, instance: Instance) -> str:
        if not instance.running:
            return ""
        return local(["kubectl", "-n", self.namespace, "logs", instance.name, "--all-containers"]).text

    def internal_networks(self) -> Mapping[str, bool]:
        return {}

    def outsiders_reach(self, targets: Sequence[Instance], port: int) -> list[str]:
        """From a pod of nobody. A policy that the cluster does not enforce is not the deployment's fault."""
        places = {self._get("pod", target.name)["status"]["podIP"]: target for target in targets}
        script = knock(tuple(places), port)
        image = self.plan.of_kind("redis")[0].image or ""
        told = self._errand("outsider", {"containers": [_container(image, ["bash", "-c", script])]}).split()
        reached = [f"{places[place]} at {place}:{port}" for place in told if place in places]
        if reached and self._get("networkpolicies")["items"]:
            raise Unable("there are network policies, but this cluster does not enforce them")
        return reached

    def has_image(self, image: str) -> bool:
        return True

    def kill(self, instance: Instance) -> None:
        self._kubectl("delete", "pod", instance.name, "--force", "--grace-period=0")

    def start(self, instance: Instance) -> None:
        """Its controller has done it."""

    def stop(self, workloads: Sequence[Workload]) -> None:
        for workload in workloads:
            self._scale(workload, 0)
        names = {workload.name for workload in workloads}
        self._until(lambda: not any(_owner(pod) in names for pod in self._get("pods")["items"]), "the pods are gone")

    def resume(self, workloads: Sequence[Workload]) -> None:
        for workload in workloads:
            self._scale(workload, workload.replicas)
        self._until(lambda: all(self._running(workload) for workload in workloads), "the pods run again")

    def _running(self, workload: Workload) -> bool:
        """As many as planned, each far enough that one can enter it. Whether it is ready is another question."""
        mine = [pod for pod in self._pods() if _owner(pod) == workload.name]
        begun = [all("running" in c["state"] for c in pod["status"].get("containerStatuses", ())) for pod in mine]
        return len(begun) >= workload.replicas and all(begun)

    def _scale(self, workload: Workload, replicas: int) -> None:
        kind = CONTROLLERS.get(workload.kind, "deployment")
        self._kubectl("scale", f"{kind}/{workload.name}", f"--replicas={replicas}")

    def _until(self, done: Any, what: str, seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what}: not within {seconds:g} s")
            time.sleep(1)

    def freeze(self, instance: Instance) -> None:
        raise Unable("Kubernetes cannot freeze a pod")

    def thaw(self, instance: Instance) -> None:
        """Nothing was frozen."""

    def backup(self, workload: Workload) -> None:
        job = f"conformance-{int(time.time())}"
        self._kubectl("create", "job", job, f"--from=cronjob/{workload.name}")
        try:
            self._kubectl("wait", "--for=condition=complete", f"job/{job}", "--timeout=120s", timeout=150)
        finally:
            self._kubectl("delete", "job", job)

    def wipe(self, workloads: Sequence[Workload]) -> None:
        for workload in workloads:
            for claim in self._claims(workload):
                volumes = [{"name": "disk", "persistentVolumeClaim": {"claimName": claim}}]
                command = ["find", "/wiped", "-mindepth", "1", "-delete"]
                made = _container(str(workload.image), command) | {
                    "volumeMounts": [{"name": "disk", "mountPath": "/wiped"}]
                }
                self._errand("wipe", _as(workload) | {"containers": [made], "volumes": volumes})

    def _claims(self, workload: Workload) -> list[str]:
        """Of a StatefulSet's pods: TEMPLATE-POD."""
        found = self._get("pvc")["items"]
        return [_name(claim) for claim in found if re.fullmatch(rf".+-{re.escape(workload.name)}-\d+", _name(claim))]

    def restore(self, first: Workload, backup: Workload) -> str:
        """The backup's own pod, with the first node's disk beside the backups."""
        spec = self._get("cronjob", backup.name)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        disk, *_ = (claim for claim in self._claims(first) if claim.endswith("-0"))
        main = spec["containers"][0] | {"command": ["/etc/relier/restore", "/restored"]}
        main.pop("args", None)
        main["volumeMounts"] = [*main["volumeMounts"], {"name": "restored", "mountPath": "/restored"}]
        volumes = [*spec["volumes"], {"name": "restored", "persistentVolumeClaim": {"claimName": disk}}]
        return self._errand("restore", spec | {"containers": [main], "volumes": volumes})

    def _errand(self, name: str, spec: Mapping[str, Any]) -> str:
        """A pod that runs once; what it said."""
        pod = f"conformance-{name}-{int(time.time() * 1000) % 10**8}"
        safe = {"securityContext": BARE | {"runAsUser": 65534}, "automountServiceAccountToken": False} | dict(spec)
        made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod}, "spec": safe | {"restartPolicy": "Never"}}
        self._kubectl("apply", "-f", "-", text=json.dumps(made))
        phase = ""
        try:
            for _ in range(180):
                phase = self._get("pod", pod)["status"]["phase"]
                if phase in ("Succeeded", "Failed"):
                    break
                time.sleep(1)
            said = self._kubectl("logs", pod)
            if phase != "Succeeded":
                raise RuntimeError(f"the pod {pod} ended as {phase}: {said[-600:]}")
            return said
        finally:
            self._kubectl("delete", "pod", pod, "--force", "--grace-period=0")


def _name(thing: Mapping[str, Any]) -> str:
    return str(thing["metadata"]["name"])


def _owner(pod: Mapping[str, Any]) -> str:
    """The workload behind a pod: a Deployment has a ReplicaSet between, a CronJob a Job."""
    for owner in pod["metadata"].get("ownerReferences", ()):
        between = {"ReplicaSet": r"-[a-z0-9]+$", "Job": r"-\d+$"}.get(owner["kind"])
        return re.sub(between, "", owner["name"]) if between else str(owner["name"])
    return ""


def _user(spec: Mapping[str, Any], main: Mapping[str, Any]) -> str:
    known = spec.get("securityContext", {}) | main.get("securityContext", {})
    return f"{known.get('runAsUser', 0)}:{known.get('runAsGroup', 0)}"


def _bytes(quantity: str | None) -> int | None:
    match = re.fullmatch(r"(\d+)([KMG]i|[kMG]|)", quantity or "")
    return int(match[1]) * UNITS[match[2]] if match else None


def _mounts(spec: Mapping[str, Any], main: Mapping[str, Any]) -> Iterator[Mount]:
    volumes = {volume["name"]: volume for volume in spec.get("volumes", ())}
    for mount in main.get("volumeMounts", ()):
        volume, name = volumes[mount["name"]], mount["name"].replace("-", "_")
        fixed = bool(mount.get("readOnly"))
        if "emptyDir" in volume:
            kind = "tmpfs" if volume["emptyDir"].get("medium") == "Memory" and not fixed else "bind"
            yield Mount(mount["mountPath"], kind, "", fixed)
        elif {"persistentVolumeClaim", "ephemeral"} & set(volume):
            yield Mount(mount["mountPath"], "volume", name, fixed)
        else:
            yield Mount(mount["mountPath"], "bind", name, fixed)


def _checks(main: Mapping[str, Any], planned: Workload) -> dict[str, Probe]:
    """Kubernetes knows no start period: a start probe takes its place."""
    kinds = {"live": "livenessProbe", "ready": "readinessProbe", "start": "startupProbe"}
    found = {kind: main[key] for kind, key in kinds.items() if key in main}
    made = {kind: _probe(probe, getattr(planned, kind)) for kind, probe in found.items()}
    if planned.start is None and "start" in made and planned.live and made["start"].command == planned.live.command:
        del made["start"]
    return made


def _probe(probe: Mapping[str, Any], planned: Probe | None) -> Probe:
    command = tuple(probe.get("exec", {}).get("command", ()))
    every, timeout = float(probe.get("periodSeconds", 10)), float(probe.get("timeoutSeconds", 1))
    return Probe(command, every, timeout, probe.get("failureThreshold", 3), planned.start_period if planned else 0.0)


def _health(pod: Mapping[str, Any]) -> str:
    ready = [c["status"] for c in pod["status"].get("conditions", ()) if c["type"] == "Ready"]
    return "healthy" if ready == ["True"] else "not ready"


def _incarnation(pod: Mapping[str, Any]) -> str:
    status = pod["status"]["containerStatuses"][0]
    return f"{pod['metadata']['uid'][:8]} with {status['restartCount']} restarts"


def _privileges(spec: Mapping[str, Any], main: Mapping[str, Any]) -> Iterator[str]:
    own = main.get("securityContext", {})
    if own.get("privileged"):
        yield "is privileged"
    if own.get("allowPrivilegeEscalation", True):
        yield "may gain privileges by a set-uid program"
    if "ALL" not in own.get("capabilities", {}).get("drop", ()):
        yield "keeps the default capabilities"
    if any(spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
        yield "shares a namespace with its machine"
    if spec.get("automountServiceAccountToken", True):
        yield "carries a token of its service account"


def _container(image: str, command: Sequence[str]) -> dict[str, Any]:
    limits = {"limits": {"memory": "64Mi"}, "requests": {"memory": "16Mi", "cpu": "10m"}}
    return {"name": "main", "image": image, "command": list(command), "securityContext": SECURE, "resources": limits}


def _as(workload: Workload) -> dict[str, Any]:
    """The workload's own user, who owns its files."""
    uid, gid = map(int, workload.user.split(":"))
    return {"securityContext": BARE | {"runAsUser": uid, "runAsGroup": gid, "fsGroup": gid}}
