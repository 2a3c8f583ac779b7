"""What a cluster gets is what the plan says: every workload, its limits, its probes, its secrets as files."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi_kubernetes.core.v1 import ConfigMap

from infra.pulumi.components.k8s_app import Processes
from infra.pulumi.components.k8s_base import Foundation
from infra.pulumi.components.k8s_jobs import Timed
from infra.pulumi.components.k8s_network import Walls
from infra.pulumi.components.k8s_nodes import Nodes
from infra.pulumi.kubernetes import scope_of
from infra.pulumi.render import deployment_of, tidy
from infra.pulumi.schemas import misfits
from infra.topology.workload import Probe, Workload
from tests.infra.kubernetes.stacks import PASSWORDS, STACKS, each_workload, kind_of, made
from tests.infra.pulumi.recorder import Secret, record, reveal, secrets_in

EACH = pytest.mark.parametrize(("stack", "workload"), each_workload(), ids=lambda part: getattr(part, "name", part))
STACK = pytest.mark.parametrize("stack", STACKS)
UNITS = {"Gi": 1024**3, "Mi": 1024**2, "Ki": 1024}


def size(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(\D*)", text).groups()  # type: ignore[union-attr]
    return int(number) * UNITS.get(unit, 1)


def cores(text: str) -> float:
    return int(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)


def asked(probe: dict[str, Any] | None) -> Probe | None:
    """A probe of a pod in the plan's words."""
    if probe is None:
        return None
    command = tuple(probe["exec"]["command"])
    return Probe(command, probe["periodSeconds"], probe["timeoutSeconds"], probe["failureThreshold"])


def meant(probe: Probe | None) -> Probe | None:
    """Kubernetes has no time to start within a probe: that is a probe of its own."""
    return probe and Probe(probe.command, probe.every, probe.timeout, probe.failures)


@EACH
def test_a_process_runs_the_image_and_the_command_of_the_plan(stack: str, workload: Workload) -> None:
    container = made(stack).container(workload.name)
    assert container["image"] == workload.image
    assert tuple(container.get("args") or container.get("command") or ()) == workload.argv
    assert ("args" in container) == (workload.kind in ("worker", "resurrector"))


@EACH
def test_variables_are_those_of_the_plan(stack: str, workload: Workload) -> None:
    found = made(stack).container(workload.name).get("env", [])
    assert {entry["name"]: entry["value"] for entry in found} == dict(workload.env)


@EACH
def test_limits_and_requests_are_those_of_the_plan(stack: str, workload: Workload) -> None:
    resources = made(stack).container(workload.name)["resources"]
    assert size(resources["limits"]["memory"]) == workload.memory
    assert size(resources["requests"]["memory"]) == (workload.memory_request or workload.memory)
    assert cores(resources["limits"].get("cpu", "0")) == (workload.cpus or 0)
    assert cores(resources["requests"]["cpu"]) == (workload.cpu_request or 0.1)


@EACH
def test_probes_are_those_of_the_plan(stack: str, workload: Workload) -> None:
    container = made(stack).container(workload.name)
    assert asked(container.get("livenessProbe")) == meant(workload.live)
    assert asked(container.get("readinessProbe")) == meant(workload.ready)
    if workload.start:
        assert asked(container.get("startupProbe")) == meant(workload.start)


def test_a_sentinel_has_the_time_to_start_that_its_readiness_grants() -> None:
    start = made().container("relier-sentinel")["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= 30
    assert "startupProbe" not in made().container("resurrector")


@EACH
def test_a_pod_has_the_whole_grace_and_a_worker_pauses_within_it(stack: str, workload: Workload) -> None:
    pod = made(stack).pod(workload.name)
    assert pod["terminationGracePeriodSeconds"] == workload.grace
    pause = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
    assert pause == (["sleep", f"{workload.pre_stop:g}"] if workload.pre_stop else None)
    if workload.kind == "worker":
        drain = float(workload.env["RELIER_GRACEFUL_SHUTDOWN_TIMEOUT"])
        assert pod["terminationGracePeriodSeconds"] > drain + workload.pre_stop


@EACH
def test_a_pod_is_restricted_and_has_no_token(stack: str, workload: Workload) -> None:
    pod = made(stack).pod(workload.name)
    uid, gid = map(int, workload.user.split(":"))
    secure = pod["securityContext"]
    assert (secure["runAsNonRoot"], secure["runAsUser"], secure["runAsGroup"], secure["fsGroup"]) == (
        True,
        uid,
        gid,
        gid,
    )
    assert secure["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False is pod["enableServiceLinks"]
    assert made(stack).of_kind("ServiceAccount")[workload.name].inputs["automountServiceAccountToken"] is False
    for container in (*pod["containers"], *pod.get("initContainers", ())):
        own = container["securityContext"]
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, workload.read_only)


def placed(pod: dict[str, Any], path: str) -> dict[str, Any]:
    """The volume that is mounted at a path."""
    name = next(mount["name"] for mount in pod["containers"][0]["volumeMounts"] if mount["mountPath"] == path)
    volume: dict[str, Any] = next(volume for volume in pod["volumes"] if volume["name"] == name)
    return volume


@EACH
def test_secrets_are_files_that_only_the_process_reads(stack: str, workload: Workload) -> None:
    pod = made(stack).pod(workload.name)
    if not workload.secrets:
        assert not [volume for volume in pod["volumes"] if "projected" in volume]
        return
    kept = next(volume["projected"] for volume in pod["volumes"] if "projected" in volume)
    assert kept["defaultMode"] == 0o440
    found = {
        item["path"]: f"k8s:{source['secret']['name']}/{item['key']}"
        for source in kept["sources"]
        for item in source["secret"]["items"]
    }
    assert found == {mount.name: mount.reference for mount in workload.secrets}
    mount = next(m for m in pod["containers"][0]["volumeMounts"] if m["mountPath"] == "/run/secrets/relier")
    assert mount["readOnly"] is True
    assert {path.path for path in workload.secrets} == {f"/run/secrets/relier/{name}" for name in found}


@EACH
def test_disks_and_files_of_the_plan_are_mounted(stack: str, workload: Workload) -> None:
    pod = made(stack).pod(workload.name)
    mounts = {mount["mountPath"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    for mount in workload.volumes:
        assert mounts[mount.path]["name"] == mount.volume.replace("_", "-")
        assert mounts[mount.path].get("readOnly", False) == mount.read_only
    for path in workload.tmpfs:
        assert placed(pod, path)["emptyDir"]["medium"] == "Memory"
    if workload.files:
        data = made(stack).of_kind("ConfigMap")[f"{workload.name}-files"].inputs["data"]
        assert {f"/etc/relier/{name}" for name in data} == {file.path for file in workload.files}
        assert placed(pod, "/etc/relier")["configMap"]["defaultMode"] == 0o555


def test_every_node_brings_a_disk_and_what_all_share_is_written_by_all() -> None:
    plan, claims = made().plan, made().of_kind("PersistentVolumeClaim")
    for workload in plan.of_kind("redis", "sentinel"):
        claim = made().spec("StatefulSet", workload.name)["volumeClaimTemplates"][0]["spec"]
        assert size(claim["resources"]["requests"]["storage"]) == workload.volumes[0].size
        assert claim["accessModes"] == ["ReadWriteOnce"]
    assert {name: claims[name].inputs["spec"]["accessModes"] for name in claims} == {
        "redis-checkpoints": ["ReadWriteMany"],
        "redis-backups": ["ReadWriteOnce"],
    }


def test_a_secret_in_another_form_is_written_in_memory_and_is_what_its_reader_takes(tmp_path: Path) -> None:
    """The exporter wants JSON by address; the script that writes it runs here as it does there."""
    writer = made().pod("redis-exporter")["initContainers"][0]
    places = {"/run/sources": tmp_path / "from", "/run/secrets/relier": tmp_path / "to"}
    argv = list(writer["command"])
    for place, here in places.items():
        here.mkdir()
        argv[2] = argv[2].replace(place, str(here))
    (tmp_path / "from" / "exporter").write_text('quo"te back\\slash $(id)')
    (tmp_path / "from" / "plain").write_text("as it is")
    subprocess.run([*argv, "plain"], check=True)
    keys = made().plan["redis-exporter"].secrets[0].keys
    assert json.loads((tmp_path / "to" / "exporter").read_text()) == dict.fromkeys(keys, 'quo"te back\\slash $(id)')
    assert (tmp_path / "to" / "plain").read_text() == "as it is"
    assert (tmp_path / "to" / "exporter").stat().st_mode & 0o777 == 0o640
    assert placed(made().pod("redis-exporter"), "/run/secrets/relier")["emptyDir"]["medium"] == "Memory"


def test_nodes_meet_by_names_that_resolve_before_they_are_ready() -> None:
    for workload in made().plan.of_kind("redis", "sentinel"):
        service, found = made().spec("Service", workload.name), made().spec("StatefulSet", workload.name)
        assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)
        assert found["serviceName"] == workload.name
        assert found["podManagementPolicy"] == "Parallel"
        pods = [f"{workload.name}-{number}" for number in range(found["replicas"])]
        assert tuple(pods) == workload.nodes
        assert all(f"{pod}.{workload.name}:" in str(workload.env) for pod in pods)
        assert service["selector"] == found["selector"]["matchLabels"]


@EACH
def test_there_are_as_many_as_planned_and_never_two_resurrectors(stack: str, workload: Workload) -> None:
    if workload.schedule:
        job = made(stack).spec("CronJob", workload.name)
        assert job["concurrencyPolicy"] == "Forbid"
        assert job["jobTemplate"]["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    elif workload.nodes:
        assert made(stack).spec("StatefulSet", workload.name)["replicas"] == workload.replicas
    else:
        spec = made(stack).spec("Deployment", workload.name)
        assert spec["replicas"] == workload.replicas
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        assert spec["strategy"] == ({"type": "Recreate"} if workload.update == "recreate" else rolling)
    assert made(stack).plan["resurrector"].update == "recreate"


@pytest.mark.parametrize("name", ["backup", "drill"])
def test_a_job_is_not_tried_again_where_that_would_only_store_it_again(name: str) -> None:
    """`scripts/redis/backup` ends with 3 when the backup is there and its copy elsewhere is not."""
    final, moved = made("k8s").spec("CronJob", name)["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert (final["action"], final["onExitCodes"]) == ("FailJob", {"operator": "In", "values": [3]})
    assert (moved["action"], moved["onPodConditions"]) == ("Ignore", [{"type": "DisruptionTarget", "status": "True"}])


def test_every_pool_and_every_set_gives_one_at_a_time() -> None:
    budgets = {
        name: entry.inputs["spec"]["maxUnavailable"] for name, entry in made().of_kind("PodDisruptionBudget").items()
    }
    assert budgets == dict.fromkeys(("relier-redis", "relier-sentinel", "worker", "worker-recovery"), 1)
    for name in budgets:
        assert made().chosen(made().spec("PodDisruptionBudget", name)["selector"]) == {name}


@EACH
def test_whoever_looks_for_pods_of_a_workload_finds_them_and_no_others(stack: str, workload: Workload) -> None:
    found, pod = made(stack), made(stack).pod(workload.name)
    kept = [kind for kind in ("Deployment", "StatefulSet") if (kind, workload.name) in found.objects]
    selectors = [found.spec(kind, workload.name)["selector"] for kind in kept]
    if ("Service", workload.name) in found.objects:
        selectors.append({"matchLabels": found.spec("Service", workload.name)["selector"]})
    selectors += [spread["labelSelector"] for spread in pod.get("topologySpreadConstraints", ())]
    assert all(found.chosen(selector) == {workload.name} for selector in selectors)
    assert bool(selectors) == (workload.schedule is None)


@EACH
def test_pods_of_a_kind_spread_but_never_wait_for_it(stack: str, workload: Workload) -> None:
    pod = made(stack).pod(workload.name)
    if workload.schedule:
        return
    assert {spread["whenUnsatisfiable"] for spread in pod["topologySpreadConstraints"]} == {"ScheduleAnyway"}
    assert [*pod["affinity"]["podAntiAffinity"]] == ["preferredDuringSchedulingIgnoredDuringExecution"]


def test_redis_goes_before_workers_where_room_is_short() -> None:
    levels = {name: entry.inputs["value"] for name, entry in made().of_kind("PriorityClass").items()}
    assert levels[made().pod("relier-redis")["priorityClassName"]] > levels[made().pod("worker")["priorityClassName"]]


@STACK
def test_every_secret_is_marked_and_nothing_else_holds_one(stack: str) -> None:
    values = set(PASSWORDS[stack].values())
    for entry in made(stack).recorded:
        if entry.type.endswith(":Secret"):
            assert all(isinstance(value, Secret) for value in _leaves(entry.inputs["stringData"])), entry.name
        else:
            assert not secrets_in(entry.inputs), entry.name
            assert not any(value in str(reveal(entry.inputs)) for value in values), entry.name


def _leaves(value: Any) -> list[Any]:
    return [value] if isinstance(value, Secret) else list(value.values())


@STACK
def test_every_secret_that_a_pod_names_is_made(stack: str) -> None:
    made_here = {
        f"k8s:{name}/{key}"
        for name, entry in made(stack).of_kind("Secret").items()
        for key in reveal(entry.inputs["stringData"])
    }
    assert made_here == {*made(stack).plan.secrets.values()}


@STACK
@pytest.mark.parametrize("version", ["1.32", "1.34", "1.37"])
def test_every_object_is_valid_in_three_versions_of_kubernetes(stack: str, version: str) -> None:
    for (kind, name), entry in made(stack).objects.items():
        assert list(misfits(tidy(reveal(entry.inputs)), [version])) == [], (kind, name)


@STACK
def test_everything_hangs_below_a_component_of_its_own(stack: str) -> None:
    components = {entry.name for entry in made(stack).recorded if entry.type.startswith("relier:kubernetes:")}
    assert components == {"foundation", "walls", *(workload.name for workload in made(stack).plan.workloads)}
    for entry in made(stack).objects.values():
        assert entry.parent_name in components, entry.name


@STACK
def test_an_object_is_named_as_its_resource_and_lives_in_the_namespace(stack: str) -> None:
    for (kind, name), entry in made(stack).objects.items():
        assert name.isascii()
        assert entry.name == name, kind
        inside = kind not in ("Namespace", "PriorityClass")
        assert entry.inputs["metadata"].get("namespace") == ("relier" if inside else None), name


def test_workers_wait_for_redis_and_everything_for_the_namespace() -> None:
    urns = {kind_of(entry) + entry.name: entry.urn for entry in made().recorded}
    deployment = made().objects["Deployment", "worker"]
    assert {urns["StatefulSetrelier-redis"], urns["StatefulSetrelier-sentinel"]} <= set(deployment.depends_on)
    for (kind, name), entry in made().objects.items():
        if kind not in ("Namespace", "PriorityClass"):
            assert urns["Namespacerelier"] in entry.depends_on, (kind, name)
    assert urns["Secretrelier-secrets"] in made().objects["StatefulSet", "relier-sentinel"].depends_on


COMPONENTS = (Foundation, Walls, Nodes, Processes, Timed)


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.__name__)
def test_a_component_takes_its_name_and_the_rest_by_keyword(component: type) -> None:
    name, *rest = inspect.signature(component).parameters.values()
    assert name.name == "name"
    assert {parameter.kind for parameter in rest} == {inspect.Parameter.KEYWORD_ONLY}
    assert rest[-1].name == "opts" and rest[-1].default is None


def test_a_component_hangs_and_waits_where_its_caller_says() -> None:
    scope = scope_of(deployment_of("k8s", {}, {}))

    def program() -> None:
        top = pulumi.ComponentResource("shop:index:Top", "top")
        first = ConfigMap("first", data={})
        Foundation("mine", scope=scope, opts=pulumi.ResourceOptions(parent=top, depends_on=[first]))

    seen = {entry.name: entry for entry in record(program)}
    assert seen["mine"].parent_name == "top"
    assert seen["relier"].parent_name == "mine"
    assert all(seen["first"].urn in seen[name].depends_on for name in ("mine", "relier", "redis-backups"))
