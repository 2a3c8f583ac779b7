"""The files `Pulumi.<stack>.yaml` as they are shipped, and the schema that editors hold them to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema.validators import Draft202012Validator

from infra.pulumi import settings, stackfile
from infra.pulumi.components.k8s_options import Options as Kubernetes
from infra.pulumi.docker import Options as Docker
from infra.pulumi.settings import ROOT, Deployment
from tests.infra.pulumi.docker_stacks import GIVEN
from tests.infra.pulumi.recorder import record

FILES = sorted((ROOT / "infra/pulumi").glob("Pulumi.*.yaml"))
each_file = pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])

# What somebody writes below `config`, and whether an editor may leave it unmarked.
KEYS: list[tuple[str, dict[str, Any], bool]] = [
    ("a misspelt key", {"relier:topolgy": "dev"}, False),
    ("a key of a provider's", {"kubernetes:context": "here"}, True),
    ("one field of a topology", {"relier:overrides": {"redis": {"maxmemory": "256mb"}}}, True),
    ("a pool's size", {"relier:overrides": {"workers": {"worker-high": {"replicas": 3}}}}, True),
    ("a fraction as the CLI writes it", {"relier:overrides": {"workers": {"worker-high": {"cpus": "0.5"}}}}, True),
    ("something switched off", {"relier:overrides": {"telemetry": {"grafana": None}}}, True),
    ("a misspelt field", {"relier:overrides": {"redis": {"memry": "1gb"}}}, False),
    ("a field out of bounds", {"relier:overrides": {"redis": {"port": 0}}}, False),
    ("an option", {"relier:docker": {"protect": True}}, True),
    ("a misspelt option", {"relier:docker": {"protekt": True}}, False),
    ("an option of a cluster", {"relier:kubernetes": {"storage_class": "fast"}}, True),
    ("a misspelt one", {"relier:kubernetes": {"storageClass": "fast"}}, False),
    ("a secret", {"relier:redis_password": {"secure": "v1:x"}}, True),
    ("a secret in clear", {"relier:redis_password": "hunter2"}, False),
]


def wrong(content: Any) -> list[str]:
    """What an editor would mark."""
    return [found.message for found in Draft202012Validator(json.loads(stackfile.schema())).iter_errors(content)]


def name_of(file: Path) -> str:
    return file.name.split(".")[1]


def loaded(file: Path) -> Deployment:
    """What the program makes of a file, with passwords for those who need some."""
    config = {key.partition(":")[2]: text for key, text in stackfile.config_of(file).items()}
    found: list[Deployment] = []
    stack = name_of(file)
    record(lambda: found.append(settings.load(stack)), stack=stack, config=config, secrets=GIVEN.get(stack))
    return found[0]


def test_the_four_stacks_are_shipped() -> None:
    assert [name_of(file) for file in FILES] == ["dev", "k8s-managed", "k8s", "prod"]


@each_file
def test_a_shipped_file_holds_nothing_of_anybodys(file: Path) -> None:
    """A salt belongs to one passphrase, and a fresh clone would hear that its own is incorrect."""
    assert set(yaml.safe_load(file.read_text())) == {"config"}, f"{file.name}: keep your own settings out of a commit"
    assert "secure:" not in file.read_text()


@each_file
def test_a_shipped_file_is_a_deployment(file: Path) -> None:
    """Its settings are known, its topology keeps every rule, and the tier's options fit."""
    deployment = loaded(file)
    options = Kubernetes if deployment.topology.tier == "k8s" else Docker
    assert settings.options_of(options, deployment.options, "any")
    assert deployment.plan.workloads


@each_file
def test_a_shipped_file_names_its_schema_and_fits_it(file: Path) -> None:
    first, *_ = file.read_text().splitlines()
    assert first == "# yaml-language-server: $schema=settings.schema.json"
    assert not wrong(yaml.safe_load(file.read_text()))


def test_the_schema_is_that_of_the_models() -> None:
    again = f"run: python -m infra.pulumi.stackfile schema > {stackfile.SCHEMA}"
    assert (ROOT / stackfile.SCHEMA).read_text() == stackfile.schema(), again


def test_the_schema_knows_every_key_of_the_program() -> None:
    """And is one."""
    schema = json.loads(stackfile.schema())
    Draft202012Validator.check_schema(schema)
    assert set(schema["properties"]["config"]["properties"]) == {f"relier:{name}" for name in settings.KNOWN}


@pytest.mark.parametrize(("config", "good"), [case[1:] for case in KEYS], ids=[case[0] for case in KEYS])
def test_an_editor_marks_what_the_program_refuses(config: dict[str, Any], good: bool) -> None:
    assert (not wrong({"config": config})) is good


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("{relier:topology: prod}", "relier:1.0.0"),
        ("{relier:topology: prod, relier:overrides: {app: {image: 'shop:1.4.2'}}}", "shop:1.4.2"),
        ("""{relier:overrides: '{"app": {"image": "shop:2"}}'}""", "shop:2"),
        ("{relier:topology: k8s}", ""),
        ("{relier:topology: nowhere}", ""),
        ("{relier:overrides: {redis: {port: 0}}}", ""),
        ("[", ""),
        ("", "relier:1.0.0"),
    ],
)
def test_the_image_that_an_engine_is_to_have(
    text: str, image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """None for a cluster, and none where the program will say what is wrong."""
    file = tmp_path / "Pulumi.staging.yaml" if "topology" in text else tmp_path / "Pulumi.dev.yaml"
    file.write_text(f"config: {text}\n")
    stackfile.main(["image", str(file)])
    assert capsys.readouterr().out == f"{image}\n"
