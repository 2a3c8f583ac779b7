"""The hand-written Compose files say what the plan says, in both directions, one sentence a difference."""

from __future__ import annotations

import re
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from infra.topology import plan_of
from infra.topology import read as stack
from infra.topology.environment import TUNABLE
from tests.infra.compose import resolved
from tests.infra.compose.resolved import FILES, GIVEN, KIT, ROOT
from tests.infra.compose.resolved_plan import differences, planned

TIERS = ("dev", "prod")


def lines(file: dict[str, Any], tier: str) -> str:
    return "\n".join(differences(file, planned(tier)))


@pytest.mark.parametrize("tier", TIERS)
def test_every_workload_of_the_file_is_the_plans(tier: str) -> None:
    assert lines(resolved.form(resolved.read(tier)), tier) == ""


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.skipif(not resolved.docker_compose(), reason="no `docker compose` here to resolve the file")
def test_what_compose_itself_makes_of_the_file_is_the_plan(tier: str) -> None:
    assert lines(resolved.composed(tier), tier) == ""


@pytest.mark.skipif(not resolved.docker_compose(), reason="no `docker compose` here to resolve the file")
def test_the_file_at_the_root_is_the_development_tier() -> None:
    assert lines(resolved.composed("dev", ROOT / "docker-compose.yml"), "dev") == ""


def test_the_file_at_the_root_only_includes() -> None:
    content = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert content == {"name": "relier-dev", "include": ["infra/compose/docker-compose.yml"]}


SAYS = [
    (["worker-high", "stop_grace_period"], "10s", "worker-high.stop_grace_period: file says 10s, plan says 60s."),
    (["worker-high", "mem_limit"], "1gb", "worker-high.mem_limit: file says 1gb, plan says 2gb."),
    (
        ["resurrector", "command"],
        ["rl"],
        "resurrector.command: file says rl, plan says rl run-resurrector --loglevel info.",
    ),
    (["backup", "privileged"], True, "backup.privileged: file says true, plan has it not."),
    (["backup", "environment", "X"], "1", "backup.environment.X: file says 1, plan has it not."),
    (["drill", "ports"], ["0.0.0.0:1:2"], "drill.ports: file says {'2': '0.0.0.0:1'}, plan has it not."),
]


@pytest.mark.parametrize(("path", "value", "sentence"), SAYS, ids=[".".join(path) for path, _, _ in SAYS])
def test_a_difference_is_one_sentence_that_names_both_sides(path: list[str], value: Any, sentence: str) -> None:
    content = resolved.read("prod")
    place = content["services"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert differences(resolved.form(content), planned("prod")) == [sentence]


def test_a_service_more_or_less_is_one_sentence() -> None:
    content = resolved.read("dev")
    content["services"]["shell"] = {"image": "busybox:1"}
    del content["services"]["drill"]
    names = [sentence.split(":")[0] for sentence in differences(resolved.form(content), planned("dev"))]
    assert names == ["drill", "shell"]


def test_without_a_secret_the_file_refuses_and_says_what_to_do() -> None:
    for name in GIVEN:
        with pytest.raises(ValueError, match=f"{name} is not set; run make prod"):
            resolved.form(resolved.read("prod"), {**GIVEN, name: ""})


@pytest.mark.parametrize("tier", TIERS)
def test_no_file_names_a_password_or_the_environment_of_one(tier: str) -> None:
    variables = set(re.findall(r"\$\{(\w+)", FILES[tier].read_text()))
    assert variables - set(GIVEN) - {"DATA_SUBNET"} == {"APP_IMAGE", "BACKUP_IMAGE", "PIP_INDEX_URL", *TUNABLE}


@pytest.mark.parametrize("tier", TIERS)
def test_a_setting_in_dotenv_reaches_every_process_of_the_application(tier: str) -> None:
    """Each under its own name, and nothing else changes but what is named for it."""
    plain = resolved.form(resolved.read(tier))
    given = {name: f"from-dotenv-{number}" for number, name in enumerate(sorted(TUNABLE))}
    found = resolved.form(resolved.read(tier), {**GIVEN, **given})
    for workload in plan_of(stack(tier)).workloads:
        app = workload.kind in ("worker", "resurrector")
        before, after = (form["services"][workload.name] for form in (plain, found))
        assert after.get("environment", {}) == before.get("environment", {}) | (given if app else {})
        assert (given["RELIER_LOG_LEVEL"] in after["command"]) == app


@pytest.mark.parametrize("tier", TIERS)
def test_an_image_with_a_client_of_s3_is_for_backups_alone(tier: str) -> None:
    found = resolved.form(resolved.read(tier), {**GIVEN, "BACKUP_IMAGE": "relier-backup:1.0.0"})
    users = [name for name, service in found["services"].items() if service["image"] == "relier-backup:1.0.0"]
    assert users == ["backup"]


@pytest.mark.parametrize("tier", TIERS)
def test_what_is_mounted_is_there_and_what_is_run_may_be(tier: str) -> None:
    for workload in plan_of(stack(tier)).workloads:
        for mount in workload.files:
            path = ROOT / mount.source
            assert path.exists(), f"{workload.name}: {mount.source} is missing"
            if mount.path in workload.argv[:1]:
                assert path.stat().st_mode & stat.S_IXOTH, f"{mount.source} cannot be run"


def test_the_image_runs_as_the_plans_user_and_holds_its_checkpoint_directory() -> None:
    text = (KIT / "Dockerfile").read_text()
    plan = plan_of(stack("prod"))
    worker = plan["worker-high"]
    assert f"\nUSER {worker.user}\n" in text
    assert f"install -d -o relier -g relier /app {worker.volumes[0].path}\n" in text
    assert re.search(r'"-Q", "([\w,-]+)"\]', text)[1].split(",") == [  # type: ignore[index]
        "high_priority",
        "default",
        "low_priority",
        "re-queue",
    ]
    assert set(plan.queues) == {"high_priority", "default", "low_priority", "re-queue"}


def test_the_image_is_built_from_pinned_parts_and_started_without_a_shell() -> None:
    text = (KIT / "Dockerfile").read_text()
    assert re.findall(r"^ARG BASE=(.*)", text, re.M) == ["python:3.13-slim-trixie"]
    assert set(re.findall(r"^FROM (\S+)", text, re.M)) == {"${BASE}"}
    assert re.findall(r"^(?:ENTRYPOINT|CMD) (.)", text, re.M) == ["[", "["]


def test_every_dependency_is_pinned_to_a_version_that_the_project_allows() -> None:
    rows = (KIT / "constraints.txt").read_text().splitlines()
    pins = dict(row.split("==") for row in rows if not row.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in (*project["dependencies"], *project["optional-dependencies"]["otel"]):
        wanted = Requirement(text)
        assert wanted.specifier.contains(pins[wanted.name]), f"constraints.txt: {wanted.name} {pins[wanted.name]}"


def test_git_and_docker_never_see_a_password_file() -> None:
    asked = ["infra/compose/.secrets/prod/REDIS_PASSWORD", ".env", "infra/compose/.env"]
    done = subprocess.run(["git", "check-ignore", *asked], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 128:
        pytest.skip("this is no git checkout")
    assert done.stdout.split() == asked
    rules = Path(ROOT / ".dockerignore").read_text().splitlines()
    assert next(rule for rule in rules if rule and rule[0] not in "#!") == "*"
