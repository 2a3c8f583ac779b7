"""YAML for people without Pulumi: from the same program, checked, and without a secret."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.pulumi.render import ROOT, checked, deployment_of, main, objects, tidy
from infra.pulumi.schemas import misfits
from infra.pulumi.settings import merged
from infra.topology import Refused, load, plan_of, topology_of
from tests.infra.conformance.__main__ import overridden
from tests.infra.kubernetes.stacks import STACKS, made
from tests.infra.pulumi.recorder import reveal


def rendered(path: Path) -> dict[tuple[str, str], Any]:
    return {(o["kind"], o["metadata"]["name"]): o for o in yaml.safe_load_all(path.read_text())}


@pytest.mark.parametrize("stack", STACKS)
def test_the_yaml_holds_what_pulumi_would_create_but_for_secrets(
    stack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([stack, "--to", str(tmp_path)]) == 0
    found, ours = rendered(tmp_path / f"{stack}.yaml"), made(stack).objects
    assert {*found} == {key for key in ours if key[0] != "Secret"}
    worker = found["Deployment", "worker"]["spec"]["template"]["spec"]
    assert worker == made(stack).pod("worker")
    said = capsys.readouterr().out
    assert "valid for Kubernetes 1.32, 1.34, 1.37." in said
    assert "kubectl -n relier create secret generic relier-" in said


def test_what_others_need_comes_first_and_nothing_speaks_to_pulumi(tmp_path: Path) -> None:
    assert main(["k8s", "--to", str(tmp_path)]) == 0
    text = (tmp_path / "k8s.yaml").read_text()
    kinds = [document["kind"] for document in yaml.safe_load_all(text)]
    assert kinds[0] == "Namespace"
    assert kinds.index("PersistentVolumeClaim") < kinds.index("StatefulSet")
    assert "pulumi.com/" not in text
    assert "kind: Secret" not in text


def test_overrides_and_options_reach_the_objects(tmp_path: Path) -> None:
    over, options = tmp_path / "over.yaml", tmp_path / "options.yaml"
    over.write_text("workers: {worker: {replicas: 7}}\n")
    options.write_text("{namespace: shop, autoscale: {worker-recovery: {by: hpa, most: 5}}}\n")
    assert main(["k8s", "--overrides", str(over), "--options", str(options), "--to", str(tmp_path)]) == 0
    found = rendered(tmp_path / "k8s.yaml")
    assert found["Deployment", "worker"]["spec"]["replicas"] == 7
    assert found["Deployment", "worker"]["metadata"]["namespace"] == "shop"
    assert ("HorizontalPodAutoscaler", "worker-recovery") in found


def test_as_json_it_is_one_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["k8s-managed", "--json"]) == 0
    assert {item["kind"] for item in json.loads(capsys.readouterr().out)["items"]} >= {"Deployment", "NetworkPolicy"}


def test_a_restore_is_one_job_with_the_first_disk_and_the_memory_of_its_node(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["k8s", "--restore", "relier-20260101T000000Z.rdb", "--to", str(tmp_path)]) == 0
    ((kind, job),) = rendered(tmp_path / "k8s-restore.yaml").items()
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    disks = {v["name"]: v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v}
    assert (kind, disks["restored"]) == (("Job", "restore"), "relier-redis-data-relier-redis-0")
    assert container["command"][1:] == ["--force", "/restored", "/data/relier-20260101T000000Z.rdb"]
    assert container["resources"] == made("k8s").container("relier-redis")["resources"]
    said = capsys.readouterr().out.splitlines()
    order = [
        next(n for n, line in enumerate(said) if f" {word} " in line) for word in ("apply", "delete pvc", "status")
    ]
    assert order == sorted(order), "the other disks go only when the backup has come"
    assert "relier-redis-data-relier-redis-0" not in next(line for line in said if "delete pvc" in line)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["prod"], "prod is of tier prod; name a stack of tier k8s, such as k8s or k8s-managed."),
        (["k9s"], "k9s is neither a stack nor a file; did you mean k8s"),
        (["k8s", "--overrides", "nowhere.yaml"], "nowhere.yaml is no file; name a YAML file."),
        (["k8s", "--restore", "dump.rdb"], "--restore is dump.rdb, no name of a backup; write one such as relier-"),
        (["k8s-managed", "--restore"], "k8s-managed takes no backups, so there is none to restore;"),
        (["k8s", "--to", "/dev/null"], "cannot be written (Not a directory); name another folder with --to."),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert says in said.err.replace("File exists", "Not a directory")
    assert len(said.err.splitlines()) == 1


def test_a_fraction_that_the_cli_wrote_as_text_is_a_number_here_too(tmp_path: Path) -> None:
    """As `pulumi config get overrides` prints what `pulumi config set --path` wrote."""
    over, options = tmp_path / "over.json", tmp_path / "options.json"
    over.write_text('{"workers": {"worker": {"cpu_request": "0.2"}}, "env": {"RATIO": "0.5"}}')
    options.write_text('{"cpu_request": "0.3"}')
    assert main(["k8s", "--overrides", str(over), "--options", str(options), "--to", str(tmp_path)]) == 0
    found = rendered(tmp_path / "k8s.yaml")
    worker = found["Deployment", "worker"]["spec"]["template"]["spec"]["containers"][0]
    assert worker["resources"]["requests"]["cpu"] == "200m"
    assert {"name": "RATIO", "value": "0.5"} in worker["env"]
    redis = found["StatefulSet", "relier-redis"]["spec"]["template"]["spec"]["containers"][0]
    assert redis["resources"]["requests"]["cpu"] == "300m"


def test_the_conformance_suite_takes_such_a_file_too(tmp_path: Path) -> None:
    over = tmp_path / "over.json"
    over.write_text('{"workers": {"worker": {"cpu_request": "0.2"}}, "env": {"RATIO": "0.5"}}')
    stack, rest = overridden("k8s", ["--overrides", str(over), "-x"])
    topology = load.read(stack)
    assert (topology.workers["worker"].cpu_request, topology.env["RATIO"]) == (0.2, "0.5")
    assert rest == ["-x"]


def example() -> dict[str, Any]:
    """The sizes for one small machine, as the page for Kubernetes has them."""
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    (found,) = [block for block in blocks if "workers" in block]
    return dict(found)


def test_the_documented_sizes_for_one_small_machine_want_one_small_machine() -> None:
    """kind and minikube bind no disk that many hosts write, and have a few gigabytes."""
    made_small = objects(deployment_of("k8s", example(), {}))
    assert not [found for found in made_small if "ReadWriteMany" in json.dumps(found)]
    assert not [found for found in made_small if "storageClassName" in json.dumps(found)]
    plan = plan_of(topology_of(merged(load.parse(load.find("k8s")), example())))
    wanted = [(workload.memory_request or workload.memory) * workload.replicas for workload in plan.workloads]
    assert sum(wanted) < 3 * 1024**3


def test_a_typo_in_an_object_would_be_caught() -> None:
    pod = {"containers": [{"name": "x", "image": "x:1", "livenesProbe": {}}]}
    found = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod}
    assert [sentence for sentence in misfits(found, ["1.34"]) if "livenesProbe" in sentence]


SCALED = {"autoscale": {"worker": {"most": 8, "prometheus": "http://prometheus:9090"}}}
WATCHED = {"service_monitor": True, "monitoring": [{"namespace": "monitoring"}]}
OPERATED = {("ScaledObject", "worker"): SCALED, ("ServiceMonitor", "redis-exporter"): WATCHED}
TYPOS: dict[str, tuple[tuple[str, str], Callable[[Any], object], str]] = {
    "a key of a scaler": (
        ("ScaledObject", "worker"),
        lambda spec: spec.update(minReplicas=1),
        "'minReplicas' was unexp",
    ),
    "a trigger's number": (
        ("ScaledObject", "worker"),
        lambda spec: spec["triggers"][0]["metadata"].update(threshold=4),
        "spec.triggers.0.metadata.threshold: 4 is not of type 'string'",
    ),
    "a trigger's address": (
        ("ScaledObject", "worker"),
        lambda spec: spec["triggers"][0]["metadata"].pop("serverAddress"),
        "'serverAddress' is a required property",
    ),
    "a level deep below": (
        ("ScaledObject", "worker"),
        lambda spec: spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"].update(scaledown={}),
        "'scaledown' was unexpected",
    ),
    "no trigger": (("ScaledObject", "worker"), lambda spec: spec["triggers"].clear(), "[] should be non-empty"),
    "a key of an endpoint": (
        ("ServiceMonitor", "redis-exporter"),
        lambda spec: spec["endpoints"][0].update(scrapeInterval="15s"),
        "'scrapeInterval' was unexpected",
    ),
    "an interval without a unit": (
        ("ServiceMonitor", "redis-exporter"),
        lambda spec: spec["endpoints"][0].update(interval="15"),
        "spec.endpoints.0.interval: '15' does not match",
    ),
    "a parameter that is no list": (
        ("ServiceMonitor", "redis-exporter"),
        lambda spec: spec["endpoints"][0]["params"].update(target="redis://r:6379"),
        "is not of type 'array'",
    ),
    "a label of Prometheus' own form": (
        ("ServiceMonitor", "redis-exporter"),
        lambda spec: spec["endpoints"][0]["relabelings"][0].update(source_labels=["a"]),
        "'source_labels' was unexpected",
    ),
}


def operated(key: tuple[str, str]) -> Any:
    """An object of an operator, as the stack makes it."""
    return copy.deepcopy(tidy(reveal(made(kubernetes=OPERATED[key]).objects[key].inputs)))


@pytest.mark.parametrize("key", OPERATED, ids=lambda key: key[0])
def test_an_object_of_an_operator_fits_its_schema(key: tuple[str, str]) -> None:
    assert list(misfits(operated(key))) == []


@pytest.mark.parametrize(("key", "change", "says"), TYPOS.values(), ids=TYPOS)
def test_a_typo_in_an_object_of_an_operator_is_caught_too(
    key: tuple[str, str], change: Callable[[Any], object], says: str
) -> None:
    found = operated(key)
    change(found["spec"])
    (sentence,) = misfits(found)
    assert says in sentence
    assert sentence.startswith(f"{key[0]} {key[1]}, spec")


@pytest.mark.parametrize("version", ["keda.sh/v1", "example.org/v1"])
def test_an_object_that_nobody_knows_is_not_called_valid(version: str) -> None:
    found = {"apiVersion": version, "kind": "ScaledObject", "metadata": {"name": "worker"}, "spec": {}}
    with pytest.raises(Refused) as refused:
        checked([found])
    assert f"ScaledObject worker: {version} has no schema (Kubernetes 1.34); write one in" in str(refused.value)
