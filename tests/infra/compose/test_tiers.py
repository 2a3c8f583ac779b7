"""Both Docker tiers as people use them: up, held to the plan while they run, up again, down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.process import wait_until
from tests.infra.compose.stack import PROJECT, ROOT, Stack, docker, engine, stack

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not engine(), reason="no Docker engine with Compose"),
]
Note = Callable[[str, object], None]


@pytest.fixture(scope="module", params=["prod", "dev"])
def tier(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """One after the other: both publish Prometheus."""
    if request.param == "prod":
        one: Stack = request.getfixturevalue("prod")
        yield one
        one.down("-v")
        return
    with stack(request.param) as one:
        yield one


def volumes(project: str) -> set[str]:
    return set(docker("volume", "ls", "-q", "--filter", f"label=com.docker.compose.project={project}").split())


def leftovers(project: str) -> list[str]:
    """Containers, networks and volumes that bear the project's name."""
    label = ("--filter", f"label=com.docker.compose.project={project}")
    kinds = (("ps", "-aq"), ("network", "ls", "-q"), ("volume", "ls", "-q"))
    return [found for kind in kinds for found in docker(*kind, *label).split()]


def conformance(one: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    argv = ["make", "--no-print-directory", "conformance", f"TIER={one.tier}", *words]
    return subprocess.run(argv, cwd=ROOT, env=os.environ | one.env, capture_output=True, text=True)


def test_a_second_up_recreates_no_container(tier: Stack, record_property: Note) -> None:
    before = tier.containers()
    record_property("up again after s", round(tier.up(), 1))
    assert tier.containers() == before


def test_its_image_passes_no_label_of_the_project_on(tier: Stack) -> None:
    """Or `docker compose down` removes what others run from this image, wherever it stands."""
    image = tier.inspect("resurrector")["Config"]["Image"]
    labels = json.loads(docker("image", "inspect", image, "--format", "{{json .Config.Labels}}")) or {}
    assert PROJECT not in labels


def test_the_running_tier_conforms_to_its_plan(tier: Stack) -> None:
    done = conformance(tier)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_the_running_tier_keeps_its_promise_when_it_is_harmed(tier: Stack, pytestconfig: pytest.Config) -> None:
    if tier.tier == "dev" and "not soak" in pytestconfig.getoption("markexpr"):
        pytest.skip("prod is harmed every time, dev with DRILLS=full")
    done = conformance(tier, "DESTRUCTIVE=1", "ARGS=-k destructive")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def rl_cluster(tier: Stack, *words: str) -> str:
    """`rl cluster`, as it is called in the project's folder."""
    argv = [sys.executable, "-m", "relier.cli", "cluster", *words, "--tier", tier.tier]
    done = subprocess.run(argv, cwd=ROOT, env=os.environ | tier.env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_rl_cluster_shows_scales_and_reads_the_tier(tier: Stack) -> None:
    pool = tier.plan.of_kind("worker")[0].name
    copies = ("ps", "-q", "--filter", f"name={tier.project}-{pool}-", "--filter", "health=healthy")
    assert pool in rl_cluster(tier, "status")
    rl_cluster(tier, "scale", "2", "--service", pool)
    wait_until(lambda: len(docker(*copies).split()) == 2, 120, f"two of {pool} are healthy", 1.0)
    assert f"{pool}-2" in rl_cluster(tier, "logs", pool)
    rl_cluster(tier, "scale", "1", "--service", pool)
    assert len(docker(*copies).split()) == 1


KEYS = 50
CLIENT = (
    "from relier.connection import connect; from relier.settings import get_settings; r = connect(get_settings()); "
)


def ask(tier: Stack, program: str) -> str:
    """What a Python program prints that has the application's own client as `r`."""
    return docker(*tier.prefix()[1:], "python", "-c", CLIENT + program)


def recover(tier: Stack, *words: str) -> str:
    argv = [str(ROOT / "infra/compose/recover"), tier.tier, *words]
    done = subprocess.run(argv, env=os.environ | tier.env, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_backup_outlives_the_tier_and_gives_back_every_key(tier: Stack, tmp_path: Path) -> None:
    ask(tier, f"[r.set(f'keep:{{n}}', n) for n in range({KEYS})]")
    file = recover(tier, "backup", str(tmp_path))
    tier.down("-v")
    tier.up()
    count = f"print(sum(r.get(f'keep:{{n}}') == str(n).encode() for n in range({KEYS})))"
    assert ask(tier, count) == "0"
    recover(tier, "restore", file, "--yes")
    tier.wait_whole()
    assert ask(tier, count) == str(KEYS)


def test_down_keeps_the_volumes_and_down_v_leaves_nothing(tier: Stack) -> None:
    kept = volumes(tier.project)
    tier.down()
    assert tier.containers() == {}
    assert volumes(tier.project) == kept != set()
    tier.down("-v")
    assert leftovers(tier.project) == []
