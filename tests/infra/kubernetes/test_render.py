"""YAML for people without Pulumi: from the same program, checked, and without a secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.pulumi.render import main
from infra.pulumi.schemas import misfits
from tests.infra.kubernetes.stacks import STACKS, made


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


def test_a_typo_in_an_object_would_be_caught() -> None:
    pod = {"containers": [{"name": "x", "image": "x:1", "livenesProbe": {}}]}
    found = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod}
    assert [sentence for sentence in misfits(found, ["1.34"]) if "livenesProbe" in sentence]
