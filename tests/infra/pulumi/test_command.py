"""`make up|preview|destroy` as a command: what is missing is said in one sentence, and nothing was begun."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.infra.pulumi.live import QUIET, missing


@pytest.fixture(scope="module")
def cli() -> None:
    """Pulumi's own program."""
    if lacking := missing("pulumi", "pulumi-language-python"):
        pytest.skip(lacking)


@pytest.fixture
def calls(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Runs the command with a `pulumi` and a `docker` that only write down how they are called."""
    programs, log = project / "bin", project / "calls"
    programs.mkdir()
    for name in ("pulumi", "docker"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{log}\n')
        (programs / name).chmod(0o755)

    def run(*words: str, **env: str) -> list[str]:
        log.unlink(missing_ok=True)
        said(project, *words, code=0, PATH=f"{programs}:{os.environ['PATH']}", **env)
        return log.read_text().splitlines()

    return run


def settings_of(project: Path) -> dict[str, str]:
    """What stands in the files of the stacks."""
    return {path.name: path.read_text() for path in (project / "infra/pulumi").glob("Pulumi*.yaml")}


def said(project: Path, *words: str, code: int = 2, **env: str) -> list[str]:
    """What a command that must fail says, without its own remarks about where the state is."""
    given = {"PATH": os.environ["PATH"], "HOME": str(project), **QUIET, **env}
    command = [str(project / "infra/pulumi/stack"), *words]
    ran = subprocess.run(command, capture_output=True, text=True, env=given, check=False, timeout=120, cwd=project)
    assert ran.returncode == code, ran.stdout + ran.stderr
    return [line for line in (ran.stdout + ran.stderr).splitlines() if not line.startswith("stack: the state")]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "say what to do: stack up|preview|destroy|outputs|config STACK."),
        (("upp", "dev"), "stack: upp is unknown; write up, preview, destroy, outputs or config."),
        (("up", ""), "STACK is missing; write STACK=dev, or one of: dev k8s-managed k8s prod"),
        (("up", "prd"), "STACK is prd, and there is no infra/pulumi/Pulumi.prd.yaml; write one of: dev k8s-managed"),
    ],
)
def test_a_wrong_word_is_one_sentence(project: Path, words: tuple[str, ...], sentence: str) -> None:
    (found,) = said(project, *words)
    assert found.startswith(sentence)


def test_without_the_cli_it_says_where_to_get_it(project: Path) -> None:
    (found,) = said(project, "preview", "dev", PATH="/usr/bin:/bin")
    assert found.startswith("pulumi is not on PATH; install it (https://www.pulumi.com/docs/install)")
    assert not (project / ".local").exists()


@pytest.mark.usefixtures("cli")
@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"PULUMI_CONFIG_PASSPHRASE_FILE": "/nowhere"}, "PULUMI_CONFIG_PASSPHRASE_FILE is /nowhere, which is no file"),
        ({"PULUMI_BACKEND_URL": "file:///nowhere"}, 'error: unable to open state directory "file:///nowhere"'),
    ],
)
def test_a_passphrase_or_a_state_that_is_not_there_is_one_sentence(
    project: Path, env: dict[str, str], sentence: str
) -> None:
    found = said(project, "preview", "dev", code=2 if "PASSPHRASE" in str(env) else 1, **env)
    assert found[-1].startswith(sentence)


@pytest.mark.parametrize(
    ("stack", "topology", "built"),
    [
        ("prod", "{relier:topology: prod}", True),
        ("staging", "{relier:topology: prod}", True),
        ("dev", "{'relier:overrides': {app: {image: 'shop:1.4.2'}}}", False),
        ("k8s", "{relier:topology: k8s}", False),
        ("dev", "{relier:topology: nowhere}", False),
    ],
    ids=["the kit's", "the kit's under another name", "one of the user's", "a cluster's", "nobody's"],
)
def test_up_builds_the_kits_image_each_time_and_no_other(
    project: Path, calls: Callable[..., list[str]], stack: str, topology: str, built: bool
) -> None:
    """An image that is there already may be older than the source, and a build without changes is quick."""
    (project / f"infra/pulumi/Pulumi.{stack}.yaml").write_text(f"config: {topology}\n")
    builds = [call for call in calls("up", stack) if call.startswith("docker build")]
    assert [f"--tag relier:1.0.0 {project}" in call for call in builds] == [True] * built


def test_only_up_builds(calls: Callable[..., list[str]]) -> None:
    for verb in ("preview", "destroy", "outputs", "config"):
        assert not [call for call in calls(verb, "dev") if call.startswith("docker")]


def test_the_cli_is_given_a_copy_of_the_stacks_file(project: Path, calls: Callable[..., list[str]]) -> None:
    """A new one each time, so that an edit is heard; but keys that are set on the way go where they stay."""
    for text in ("config: {relier:topology: dev}\n", "config: {relier:topology: prod}\n"):
        (project / "infra/pulumi/Pulumi.dev.yaml").write_text(text)
        given = calls("preview", "dev")[-1].split()
        copy = Path(given[given.index("--config-file") + 1])
        assert project / "infra" not in copy.parents
        assert copy.read_text() == text
    setting = calls("up", "dev", "-c", "topology=prod")[-1]
    assert f"--config-file {project}/infra/pulumi/Pulumi.dev.yaml" in setting


def test_a_file_of_another_machines_passphrase_gets_no_new_one(project: Path, calls: Callable[..., list[str]]) -> None:
    """A fresh passphrase could not read it; the CLI would only say that it is incorrect."""
    (project / "infra/pulumi/Pulumi.dev.yaml").open("a").write("encryptionsalt: v1:x\n")
    found = said(project, "up", "dev", PATH=f"{project}/bin:{os.environ['PATH']}")
    assert found[-1].startswith("Pulumi.dev.yaml was encrypted with a passphrase that is not here; set PULUMI_CONFIG")
    assert not (project / ".local/state/relier/pulumi.passphrase").exists()


@pytest.mark.usefixtures("cli")
def test_looking_writes_into_no_file_of_the_repository(project: Path) -> None:
    """Neither a preview, here one that is refused, nor outputs or a list; and all of them read the file as it is."""
    with (project / "infra/pulumi/Pulumi.dev.yaml").open("a") as file:
        file.write("  relier:overrides: {redis: {port: 0}}\n")
    before = settings_of(project)
    assert any("redis.port is 0; write 1 or more." in line for line in said(project, "preview", "dev", code=1))
    assert any('"port":0' in line for line in said(project, "config", "dev", code=0))
    said(project, "outputs", "dev", code=0)
    assert settings_of(project) == before


@pytest.mark.usefixtures("cli")
def test_state_and_passphrase_may_be_relative(project: Path) -> None:
    """The one to the programs' folder, the other to where the command is called."""
    (project / "infra/pulumi/state").mkdir()
    (project / "phrase").write_text("only for tests")
    place = {"PULUMI_BACKEND_URL": "file://./state", "PULUMI_CONFIG_PASSPHRASE_FILE": "phrase"}
    assert said(project, "outputs", "dev", code=0, **place)
    assert list((project / "infra/pulumi/state").rglob("dev.json"))


@pytest.mark.usefixtures("cli")
def test_another_passphrase_than_the_stacks_is_refused(project: Path) -> None:
    (project / "infra/pulumi/Pulumi.prod.yaml").open("a").write("encryptionsalt: v1:9Le3xQQiXWI=:v1:uAcfRJzPtjV9sa2F:"
                                                                "MRhluHKaF7eiIUC2XHWDJy6Jj5Lnnw==\n")  # fmt: skip
    found = said(project, "preview", "prod", code=1, PULUMI_CONFIG_PASSPHRASE="another")
    assert found[-1].endswith("incorrect passphrase")


@pytest.mark.usefixtures("cli")
def test_a_password_is_set_where_the_command_keeps_its_state(
    project: Path,
) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(project), **QUIET}
    command = [str(project / "infra/pulumi/stack"), "config", "prod", "set", "--secret", "redis_password"]
    subprocess.run(command, env=env, input="hunter2-redis", text=True, check=True, timeout=120)
    written = (project / "infra/pulumi/Pulumi.prod.yaml").read_text()
    assert "relier:redis_password:\n    secure: v1:" in written
    assert "hunter2" not in written
    assert oct((project / ".local/state/relier/pulumi.passphrase").stat().st_mode)[-3:] == "600"
