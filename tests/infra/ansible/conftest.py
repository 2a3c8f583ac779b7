"""One tier for all drills of a session. HOSTS_KEEP=FOLDER keeps it there, and takes it again the next time."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.ansible.molecule.hosts import Fleet
from tests.infra.ansible.play import KIT
from tests.infra.ansible.tier import Tier


def _engine() -> bool:
    docker = shutil.which("docker")
    return bool(docker) and subprocess.run([docker or "", "info"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="session")
def tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tier]:
    if not _engine():
        pytest.skip("no Docker engine answers here")
    kept = os.environ.get("HOSTS_KEEP")
    state = Path(kept) if kept else tmp_path_factory.mktemp("hosts")
    name, distro = os.environ.get("HOSTS_NAME", "relier-drills"), os.environ.get("DISTRO", "trixie")
    tier = Tier(Fleet(name, state / "state", distro), KIT / "inventory" / "sample" / "ha" / "hosts.yml")
    if not tier.fleet.connection.exists():
        run = tier.build()
        print(f"\nsite.yml on {len(tier.hosts)} bare hosts: {run.seconds:.0f} s")
    yield tier
    if not kept:
        tier.fleet.down()


@pytest.fixture
def whole(tier: Tier) -> Tier:
    """The tier before a drill: everything runs, everything follows."""
    tier.settle()
    return tier
