"""The image of workers and resurrector: small, without a way to more, and without anybody's secret."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import pytest

from harness.process import wait_until
from infra.topology import plan_of, read
from tests.infra.compose.conftest import docker
from tests.infra.compose.resolved import ROOT

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

BASE = "python:3.13-slim-trixie"
MEGABYTES = 150
HIDDEN = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


def facts(name: str) -> dict[str, Any]:
    return dict(json.loads(docker("image", "inspect", name))[0])


def inside(image: str, *argv: str) -> str:
    return docker("run", "--rm", "--network", "none", *HIDDEN, image, *argv).strip()


@pytest.fixture(scope="module")
def canary() -> str:
    return f"canary-{secrets.token_hex(16)}"


@pytest.fixture(scope="module")
def spied(image: str, canary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image as built from a folder full of secrets, with one in the environment of the build as well."""
    root, name = tmp_path_factory.mktemp("context"), f"relier-compose-{secrets.token_hex(4)}"
    for part in ("relier", "infra/compose"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__", ".secrets"))
    for part in ("pyproject.toml", "README.md", "LICENSE", ".dockerignore"):
        shutil.copy(ROOT / part, root / part)
    for place in (".env", "infra/compose/.env", "infra/compose/.secrets/prod/REDIS_PASSWORD", "relier/.env"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(canary)
    build(root, name, canary)
    yield name
    docker("rmi", "--force", name)


def build(root: Path, name: str, canary: str) -> None:
    env = {**os.environ, "REDIS_PASSWORD": canary, "SENTINEL_PASSWORD": canary}
    argv = ["docker", "build", "--quiet", "-f", "infra/compose/Dockerfile", "-t", name, "."]
    done = subprocess.run(argv, cwd=root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_it_adds_little_to_its_base(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    added = (facts(image)["Size"] - facts(BASE)["Size"]) / 1024**2
    with capsys.disabled():
        print(f"\nimage: {added:.0f} MB over {BASE}")
    assert 0 < added <= MEGABYTES


def test_it_runs_as_nobody_special(image: str) -> None:
    assert facts(image)["Config"]["User"] == plan_of(read("prod"))["worker-high"].user
    assert inside(image, "id", "-u") == "10001"
    owned = inside(image, "sh", "-c", "find / -xdev -user relier 2>/dev/null; true").split()
    assert set(owned) == {"/app", "/var/lib/relier/checkpoints"}


def test_it_starts_by_an_init_and_without_a_shell(image: str) -> None:
    config = facts(image)["Config"]
    assert (config["Entrypoint"], config["Cmd"][0], config["WorkingDir"]) == (["tini", "--"], "celery", "/app")
    assert inside(image, "cat", "/proc/1/comm") == "tini"


def test_it_holds_no_tools_caches_or_history(image: str) -> None:
    base = set(inside(BASE, "sh", "-c", "ls /usr/bin /usr/local/bin").split())
    ours = set(inside(image, "sh", "-c", "ls /usr/bin /usr/local/bin").split())
    assert ours - base == {"tini"}
    names = " -o ".join(f"-name '{name}'" for name in (".*history", ".env*", "*.whl", "http-v2"))
    left = f"find / -xdev \\( {names} \\) 2>/dev/null; true"
    assert set(inside(image, "sh", "-c", left).split()) <= set(inside(BASE, "sh", "-c", left).split())


def test_its_programs_are_on_the_path_with_telemetry_and_bytecode(image: str) -> None:
    assert inside(image, "sh", "-c", "command -v rl; command -v celery").split() == [
        "/opt/relier/bin/rl",
        "/opt/relier/bin/celery",
    ]
    assert inside(image, "rl", "--version").startswith("relier ")
    code = "import opentelemetry.sdk, relier.dispatch as d, os; print(os.path.exists(d.__cached__))"
    assert inside(image, "python", "-c", code) == "True"


def test_no_layer_and_no_step_of_its_history_holds_a_secret(spied: str, canary: str) -> None:
    assert canary not in docker("history", "--no-trunc", spied)
    assert canary not in docker("image", "inspect", spied)
    with subprocess.Popen(["docker", "save", spied], stdout=subprocess.PIPE) as saving:
        assert saving.stdout
        names, found = scan(saving.stdout, canary.encode())
    assert "app" in names or "app/" in names, "the layers were read"
    assert found == []


def scan(stream: IO[bytes], needle: bytes) -> tuple[set[str], list[str]]:
    """All names in all layers, and the files that hold the needle."""
    names: set[str] = set()
    found: list[str] = []
    with tarfile.open(fileobj=stream, mode="r|") as image:
        for member in image:
            content = image.extractfile(member)
            if content is None:
                continue
            try:
                with tarfile.open(fileobj=content, mode="r|*") as layer:
                    found += [entry.name for entry in seen(layer, names) if holds(layer, entry, needle)]
            except tarfile.ReadError:
                continue  # the image's own JSON, read by `inspect` above
    return names, found


def seen(layer: tarfile.TarFile, names: set[str]) -> Iterator[tarfile.TarInfo]:
    for entry in layer:
        names.add(entry.name)
        yield entry


def holds(layer: tarfile.TarFile, entry: tarfile.TarInfo, needle: bytes) -> bool:
    content = layer.extractfile(entry) if entry.isfile() else None
    return content is not None and needle in content.read()


def test_mounted_source_wins_over_what_is_installed(image: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "relier", tmp_path / "relier", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "relier" / "__init__.py").open("a") as file:
        file.write("\nEDITED = 'yes'\n")
    mount = f"{tmp_path}/relier:/app/relier:ro"
    argv = ("run", "--rm", "--network", "none", *HIDDEN, "-v", mount, image)
    assert docker(*argv, "python", "-c", "import relier; print(relier.EDITED)").strip() == "yes"
    assert docker(*argv, "rl", "--version").startswith("relier ")


@pytest.fixture
def network(with_engine: None) -> Iterator[str]:
    """A network with a Redis named `redis`; everything in it goes away with it."""
    name = f"compose-test-{secrets.token_hex(4)}"
    docker("network", "create", name)
    docker("run", "-d", "--name", f"{name}-redis", "--network", name, "--network-alias", "redis", "redis:8.0",
           "redis-server", "--protected-mode", "no", "--appendonly", "yes")  # fmt: skip
    yield name
    docker("rm", "-fv", *docker("ps", "-aq", "--filter", f"network={name}").split())
    docker("network", "rm", name)


def test_a_worker_is_ready_soon(image: str, network: str, capsys: pytest.CaptureFixture[str]) -> None:
    worker = f"{network}-worker"
    argv = plan_of(read("dev"))["worker-high"].argv
    redis = ("-e", "RELIER_REDIS_URL=redis://redis:6379/0")
    docker("run", "-d", "--name", worker, "--network", network, *HIDDEN, *redis, image, *argv)
    wait_until(lambda: " ready." in logs(worker), 120, "the worker says that it is ready", interval=0.2)
    began = datetime.fromisoformat(docker("inspect", "-f", "{{.State.StartedAt}}", worker).strip()[:26])
    line = next(line for line in logs(worker).splitlines() if line.endswith(" ready."))
    took = (datetime.fromisoformat(line[:26]) - began).total_seconds()
    with capsys.disabled():
        print(f"\nimage: a worker is ready {took:.1f} s after its start")
    docker("stop", "-t", "60", worker)
    assert docker("inspect", "-f", "{{.State.ExitCode}}", worker).strip() == "0"


def logs(container: str) -> str:
    done = subprocess.run(["docker", "logs", "-t", container], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr
