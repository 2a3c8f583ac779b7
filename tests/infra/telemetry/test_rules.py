"""promtool's judgement of the files, and alerts that fire when they should and not before."""

from __future__ import annotations

import subprocess
import uuid

import pytest

from harness.process import REPO
from infra.topology import load
from infra.topology.plan import plan_of

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]
PROMETHEUS = plan_of(load.read("prod"))["prometheus"]
CASES = REPO / "tests" / "infra" / "telemetry" / "rules"


def promtool(*argv: str) -> str:
    """Run it where the plan mounts the files; returns what it said."""
    mounts = [f"-v={REPO / file.source}:{file.path}:ro" for file in PROMETHEUS.files]
    mounts.append(f"-v={CASES}:/etc/prometheus/cases:ro")
    name = f"telemetry-promtool-{uuid.uuid4().hex[:6]}"
    command = ["docker", "run", "--rm", "--name", name, "--entrypoint", "promtool", *mounts, PROMETHEUS.image or ""]
    try:
        done = subprocess.run([*command, *argv], capture_output=True, text=True, timeout=500, check=False)
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def test_promtool_accepts_the_configuration_and_the_rules(docker_engine: None) -> None:
    assert "SUCCESS" in promtool("check", "config", "/etc/prometheus/prometheus.yml")
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", "/etc/prometheus/rules.yml")


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.glob("*.yml")))
def test_alerts_fire_when_they_should(docker_engine: None, case: str) -> None:
    assert "SUCCESS" in promtool("test", "rules", f"/etc/prometheus/cases/{case}")
