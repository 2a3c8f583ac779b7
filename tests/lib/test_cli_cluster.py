"""What `rl` asks of Docker: `rl cluster` is one Compose call, and chaos puts back what it took away."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.process import Process, relier_env
from harness.redis import RedisServer
from tests.lib.in_process import rl

COMMANDS = ["up", "down", "status", "scale 2", "logs"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a compose file, seen from a folder below it."""
    (tmp_path / "docker-compose.yml").write_text("services: {}\n")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    monkeypatch.delenv("COMPOSE_FILE", raising=False)
    return tmp_path


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `docker` that writes its arguments down, since what is tested is the command line; returns its record."""
    record, program = tmp_path / "record", tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$2" = version ] || echo "$@" >> {record}\nexit ${{DOCKER_EXIT:-0}}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return record


def wrapper(project: Path, body: str) -> None:
    """The project's own script, with another body."""
    script = project / "infra" / "compose" / "cluster"
    script.parent.mkdir(parents=True)
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)


@pytest.mark.parametrize("command", COMMANDS)
def test_without_docker_it_says_what_to_use_instead(
    project: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("PATH", str(project))
    done = rl("cluster", *command.split())
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Docker is not installed here")
    assert "make worker" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_compose_file_it_says_where_it_looked(
    docker: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    done = rl("cluster", *command.split())
    assert done.exit_code == 1
    assert done.stderr.startswith("There is no compose file here or above")
    assert not docker.exists()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("up", "up --build --detach"),
        ("up --no-detach", "up --build"),
        ("down", "down"),
        ("scale 4", "up --detach --no-recreate --scale worker-default=4 worker-default"),
        ("scale 2 --service worker-high", "up --detach --no-recreate --scale worker-high=2 worker-high"),
        ("logs", "logs"),
        ("logs --follow resurrector", "logs --follow resurrector"),
    ],
)
def test_each_command_is_one_compose_call(project: Path, docker: Path, command: str, expected: str) -> None:
    done = rl("cluster", *command.split())
    assert done.exit_code == 0, done.output
    assert docker.read_text() == f"compose -f {project / 'docker-compose.yml'} {expected}\n"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("up", ["dev up"]),
        ("up --tier prod", ["prod up"]),
        ("up --no-detach", ["dev up", "dev logs --follow"]),
        ("down --tier prod", ["prod down"]),
        ("status", ["dev status"]),
        ("scale 4 --tier prod", ["prod scale worker-default=4"]),
        ("logs --follow resurrector", ["dev logs --follow resurrector"]),
    ],
)
def test_in_the_projects_folder_each_command_is_its_wrapper(
    project: Path, docker: Path, command: str, expected: list[str]
) -> None:
    wrapper(project, f'echo "$@" >> {docker}')
    done = rl("cluster", *command.split())
    assert done.exit_code == 0, done.output
    assert docker.read_text().splitlines() == expected


def test_below_the_wrapper_a_nearer_compose_file_is_not_meant(
    project: Path, docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper(project, f'echo "$@" >> {docker}')
    (project / "infra/compose/docker-compose.yml").write_text("services: {}\n")
    monkeypatch.chdir(project / "infra/compose")
    assert rl("cluster", "down", "--tier", "prod").exit_code == 0
    assert docker.read_text() == "prod down\n"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("variable", "why"), [("", "no infra/compose/cluster is here"), ("other.yml", "COMPOSE_FILE")])
def test_a_tier_that_would_have_no_effect_is_refused(
    project: Path, docker: Path, monkeypatch: pytest.MonkeyPatch, command: str, variable: str, why: str
) -> None:
    monkeypatch.setenv("COMPOSE_FILE", variable)
    done = rl("cluster", *command.split(), "--tier", "prod")
    assert done.exit_code == 1
    assert done.stderr.startswith("--tier prod chooses one of the project's own stacks") and why in done.stderr
    assert not docker.exists()


def test_the_wrappers_failure_is_the_commands(project: Path, docker: Path) -> None:
    wrapper(project, "echo 'cluster: not set: REDIS_PASSWORD' >&2; exit 3")
    done = rl("cluster", "up", "--tier", "prod")
    assert (done.exit_code, done.output) == (3, "")  # what the wrapper said went to the terminal itself


def test_status_shows_the_services_and_whether_redis_answers(project: Path, docker: Path, ledger: Any) -> None:
    done = rl("cluster", "status")
    assert done.exit_code == 0
    assert "Redis answers" in done.stdout
    assert docker.read_text().endswith(" ps\n")


def test_composes_own_failure_is_the_commands(project: Path, docker: Path) -> None:
    program = project / "bin" / "docker"
    program.write_text('#!/bin/sh\n[ "$2" = version ] || exit 17\n')
    done = rl("cluster", "down")
    assert (done.exit_code, done.stderr) == (17, "docker compose down failed (exit code 17).\n")


def test_a_docker_without_compose_says_what_to_install(
    project: Path, docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_EXIT", "1")
    done = rl("cluster", "up")
    assert done.exit_code == 1
    assert "docker-compose-plugin" in done.stderr


NETWORKS = {
    "app_default": {"Aliases": ["redis", "relier-redis"], "IPAMConfig": None},
    "app_fixed": {"Aliases": None, "IPAMConfig": {"IPv4Address": "10.1.0.5"}},
}
CONNECT_AGAIN = [
    "network connect --alias redis --alias relier-redis app_default store",
    "network connect --ip 10.1.0.5 app_fixed store",
]


@pytest.fixture
def networked(project: Path, docker: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A container named `store` on two networks."""
    (project / "networks.json").write_text(json.dumps(NETWORKS))
    script = f'#!/bin/sh\ncase $1 in inspect) cat {project}/networks.json;; network) echo "$@" >> {docker};; esac\n'
    (project / "bin" / "docker").write_text(script)
    monkeypatch.setenv("REDIS_CONTAINER", "store")
    return docker


def test_a_partitioned_container_gets_its_names_and_address_back(networked: Path, ledger: Any) -> None:
    done = rl("chaos", "network-partition", "--secs", "0.1")
    assert done.exit_code == 0, done.output
    assert "container store is cut off from app_default, app_fixed" in done.stdout
    cut = [f"network disconnect --force {network} store" for network in NETWORKS]
    assert networked.read_text().splitlines() == cut + CONNECT_AGAIN


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_partition_is_mended_too(
    networked: Path, ledger: Any, server: RedisServer, number: signal.Signals, tmp_path: Path
) -> None:
    env = relier_env(server.url) | {"PATH": os.environ["PATH"], "REDIS_CONTAINER": "store"}
    argv = [sys.executable, "-m", "relier.cli", "chaos", "network-partition", "--secs", "60"]
    with Process(argv, env=env, name="partition", log=tmp_path / "log") as partition:
        partition.wait_for_output(["is cut off"])
        partition.send(number)
        assert partition.wait(10) == 130
    assert networked.read_text().splitlines()[-2:] == CONNECT_AGAIN


def test_a_container_that_is_not_there_is_named(
    project: Path, docker: Path, monkeypatch: pytest.MonkeyPatch, ledger: Any
) -> None:
    monkeypatch.setenv("REDIS_CONTAINER", "nowhere")
    monkeypatch.setenv("DOCKER_EXIT", "1")
    done = rl("chaos", "network-partition", "--secs", "0.1")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "REDIS_CONTAINER is 'nowhere'" in done.stderr
