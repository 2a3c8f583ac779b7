"""`make up`, `make destroy` and what is between them, as a user runs them: command, CLI and real provider."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra.pulumi.live import DOCKER, ask, environment, health, left_of, missing, no_engine, sweep, told

LACKING = missing("pulumi", "pulumi-language-python", DOCKER) or no_engine()
pytestmark = [pytest.mark.providers, pytest.mark.timeout(900)]
NAME = "relier-command"
PROJECT, IMAGE = f"{NAME}-dev", f"{NAME}:1"
SETTINGS = f"""\
config:
  relier:topology: tests/infra/pulumi/small.yaml
  relier:overrides: {{name: {NAME}, app: {{image: "{IMAGE}"}}}}
"""


class Command:
    """`infra/pulumi/stack` on the small stack, with state, passphrase, name and image of its own."""

    def __init__(self, project: Path) -> None:
        self.program, self.file = project / "infra/pulumi/stack", project / "infra/pulumi/Pulumi.dev.yaml"
        self.file.write_text(SETTINGS)
        (project / "state").mkdir()
        self.env = {**environment(project / "state"), "XDG_STATE_HOME": str(project / "home")}

    def __call__(self, verb: str, *options: str, given: str = "") -> str:
        """What it prints; a failure is one of the test."""
        argv = [str(self.program), verb, "dev", *options]
        ran = subprocess.run(argv, capture_output=True, text=True, env=self.env, input=given, check=False, timeout=600)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout


@pytest.fixture
def command(project: Path) -> Iterator[Command]:
    """Whatever a test leaves is removed."""
    sweep(PROJECT)
    told("tag", "relier:1.0.0", IMAGE)
    try:
        yield Command(project)
    finally:
        sweep(PROJECT)
        ask("rmi", IMAGE)


def test_a_stack_is_made_repeated_and_removed(command: Command) -> None:
    """It says what to do next; a second run changes nothing; nothing is left, and only `config` wrote into the file."""
    command("config", "set", "--secret", "redis_password", given="hunter2-redis")
    configured = command.file.read_text()
    assert "secure: v1:" in configured
    assert "create" in command("preview")

    said = command("up", "--yes")
    assert f"docker exec {PROJECT}-worker-all-1 rl doctor" in said
    assert "hunter2" not in said
    outputs = json.loads(command("outputs", "--json"))
    assert outputs["project"] == PROJECT
    assert set(health(outputs["containers"]).values()) == {"healthy"}

    assert re.search(r"Resources:\n +\d+ unchanged\n", command("up", "--yes"))
    command("destroy", "--yes")
    assert left_of(PROJECT) == []
    assert command.file.read_text() == configured
