"""The shipped Docker tiers through the real provider, held to the conformance suite, under names of their own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.pulumi import settings
from infra.pulumi.program import main
from infra.topology import yamlio
from tests.infra.pulumi.docker_stacks import PASSWORDS
from tests.infra.pulumi.live import DOCKER, Live, ask, health, left_of, missing, no_engine, sweep, told

LACKING = missing("pulumi", DOCKER) or no_engine()
pytestmark = [pytest.mark.providers, pytest.mark.timeout(1800)]
NAME, SUBNET = "relier-tier", "10.87.34.0/24"
HIDDEN: dict[str, Any] = {"publish_prometheus": None, "publish_grafana": None}
GIVEN = {"dev": {}, "prod": PASSWORDS}


def overrides(tier: str) -> dict[str, Any]:
    """A name and addresses of its own, nothing published, and no Grafana where its image is not to be had."""
    data = settings.parse(settings.find(tier))
    grafana = data["telemetry"]["grafana"] if ask("image", "inspect", data["telemetry"]["grafana"]) else None
    subnet = SUBNET if data.get("subnet") else None
    return {"name": NAME, "subnet": subnet, "redis": {"publish": []}, "telemetry": {**HIDDEN, "grafana": grafana}}


class Tier:
    """A tier that is up."""

    def __init__(self, name: str, home: Path) -> None:
        self.name, self.project = name, f"{NAME}-{name}"
        self.stack = home / "stack.yaml"
        self.stack.write_text(yamlio.dumps(settings.merged(settings.parse(settings.find(name)), overrides(name))))
        self.live = Live(home, name, main)
        self.live.set({"topology": name, "overrides": overrides(name)}, GIVEN[name])

    def timed(self, what: str, step: Callable[[], Any]) -> Any:
        """Do a step, and print how long it took."""
        began = time.monotonic()
        done = step()
        print(f"\n{self.name}: {what} took {time.monotonic() - began:.0f} s")
        return done

    def containers(self) -> list[str]:
        """Those that run."""
        return told("ps", "--filter", f"label=relier.project={self.project}", "--format", "{{.Names}}").splitlines()

    def keep(self, key: str) -> None:
        """Write a key that an update must not lose."""
        self._redis(f"set('{key}', 'yes')")

    def kept(self, key: str) -> bool:
        """Is it still there?"""
        return "yes" in self._redis(f"get('{key}')")

    def _redis(self, call: str) -> str:
        """An answer to a worker, which has the password of the day."""
        program = f"from relier.tasks.app import app; print(app.backend.client.{call})"
        return told("exec", f"{self.project}-worker-high-1", "python", "-c", program)

    def conforms(self, *options: str) -> None:
        """The conformance suite is green."""
        suite = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/infra/conformance", *options]
        place = ["--stack", str(self.stack), "--backend", "docker", "--project", self.project]
        ran = subprocess.run([*suite, *place], capture_output=True, text=True, cwd=settings.ROOT, check=False)
        print(ran.stdout[-3000:])
        assert ran.returncode == 0, ran.stdout[-6000:]


@pytest.fixture(scope="module", params=["dev", "prod"])
def tier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tier]:
    """A tier, up; destroyed at the end, come what may."""
    sweep(f"{NAME}-{request.param}")
    made = Tier(request.param, tmp_path_factory.mktemp(request.param))
    try:
        made.timed("up", made.live.up)
        yield made
    finally:
        made.timed("destroy", made.live.end)
        ask("rmi", f"{NAME}:2")
        assert left_of(made.project) == []


def test_the_tier_comes_up_as_a_whole(tier: Tier) -> None:
    """Whatever has a check is healthy."""
    assert set(health(tier.containers()).values()) <= {"healthy", "running"}


def test_a_second_update_changes_nothing(tier: Tier) -> None:
    """And a refresh finds no drift."""
    assert tier.timed("no-op up", tier.live.up).changed == set()
    assert set(tier.timed("refresh", tier.live.drift)) == {"same"}


def test_the_tier_conforms(tier: Tier) -> None:
    """What Compose is held to."""
    tier.timed("conformance", tier.conforms)


def test_data_survives_that_every_worker_is_replaced(tier: Tier) -> None:
    """A new image: workers and resurrector go, Redis and what it holds stay."""
    if tier.name == "dev":
        pytest.skip("the development tier is updated in test_docker_real")
    tier.keep("tier:image")
    told("tag", "relier:1.0.0", "relier-tier:2")
    tier.live.set({"overrides": {**overrides(tier.name), "app": {"image": "relier-tier:2"}}})
    changed = tier.timed("a new image", tier.live.up).changed
    running = {name for name in changed if not name.endswith("-files") and ":" not in name}
    assert running == {"worker-high-1", "worker-default-1", "worker-recovery-1", "resurrector-1"}
    assert tier.kept("tier:image")


def test_a_rotated_password_keeps_the_data(tier: Tier) -> None:
    """All nodes of Redis take it at once, and nothing that was written is lost."""
    if tier.name == "dev":
        pytest.skip("the development tier has no password")
    tier.keep("tier:password")
    tier.live.set(secrets={"redis_password": "another-password"})
    changed = tier.timed("a new password", tier.live.up).changed
    assert {"relier-redis-master-1", "worker-high-1"} <= changed
    assert not [name for name in changed if name.startswith("relier-sentinel")]
    assert tier.kept("tier:password")
    assert set(health(tier.containers()).values()) <= {"healthy", "running"}
