"""A copy of what `infra/compose/cluster` needs, so that a test may change it; and a look at what it left behind."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra.compose.resolved import ROOT
from tests.infra.compose.stack import Stack, stack

PARTS = ("infra/compose", "scripts/redis", "relier", "docker-compose.yml")


class Cluster:
    """The wrapper in a project folder of its own, under a Compose project of its own."""

    def __init__(self, root: Path) -> None:
        self.root, self.project = root, f"compose-test-{secrets.token_hex(4)}"
        self.env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
        self.env["COMPOSE_PROJECT_NAME"] = self.project
        for part in PARTS:
            _copy(ROOT / part, root / part)

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        argv = [str(self.root / "infra/compose/cluster"), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, env=self.env | env, timeout=150, check=False)

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.root / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    @property
    def secrets(self) -> Path:
        return self.root / "infra/compose/.secrets"

    def left(self) -> list[str]:
        """What Docker still holds of this project."""
        label = f"label=com.docker.compose.project={self.project}"
        kinds = (["ps", "-aq"], ["volume", "ls", "-q"], ["network", "ls", "-q"])
        return [line for kind in kinds for line in docker(*kind, "--filter", label).split()]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(".secrets", ".env"))
    else:
        shutil.copy(source, target)


def docker(*arguments: str) -> str:
    """What docker says, or the test fails with its reason."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def engine() -> bool:
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="session")
def with_engine() -> None:
    """Skips in one line where no engine answers."""
    if not engine():
        pytest.skip("no Docker engine here")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "project")
    yield cluster
    if engine() and cluster.left():
        cluster.run("dev", "down", "-v")


@pytest.fixture(scope="session")
def prod(with_engine: None) -> Iterator[Stack]:
    """The production tier: drilled first, then held to its plan as the drills have left it."""
    with stack("prod") as one:
        one.wait_whole()
        yield one


@pytest.fixture(scope="session")
def image(with_engine: None) -> str:
    """The application's image, built as `make prod` builds it."""
    name = "relier-compose-test"  # not the tag that a running stack was made from
    argv = ["docker", "build", "--quiet", "-f", "infra/compose/Dockerfile", "-t", name, "."]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return name
