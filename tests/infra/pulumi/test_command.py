"""`make up|preview|destroy` as a command: what is missing is said in one sentence, and nothing was begun."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from infra.pulumi.settings import ROOT
from tests.infra.pulumi.live import QUIET, missing

LEFT_OUT = shutil.ignore_patterns("ansible", "__pycache__", "rendered")


@pytest.fixture(scope="module")
def cli() -> None:
    """Pulumi's own program."""
    if lacking := missing("pulumi", "pulumi-language-python"):
        pytest.skip(lacking)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The programs in a place of their own: the CLI writes into a stack's file."""
    shutil.copytree(ROOT / "infra", tmp_path / "infra", ignore=LEFT_OUT)
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(ROOT / ".venv/bin/python")
    return tmp_path


def said(project: Path, *words: str, code: int = 2, **env: str) -> list[str]:
    """What a command that must fail says, without its own remarks about where the state is."""
    given = {"PATH": os.environ["PATH"], "HOME": str(project), **QUIET, **env}
    command = [str(project / "infra/pulumi/stack"), *words]
    ran = subprocess.run(command, capture_output=True, text=True, env=given, check=False, timeout=120)
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
    assert "encryptionsalt" not in (project / "infra/pulumi/Pulumi.dev.yaml").read_text()


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
