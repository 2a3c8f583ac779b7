"""Roles say what they take, playbooks parse, and the linters of Ansible and YAML have nothing to say."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.topology import emit, load
from tests.infra.ansible.play import BIN, KIT, ROOT, environment

ROLES = sorted(path.parent.parent for path in (KIT / "roles").glob("*/tasks/main.yml"))
PLAYBOOKS = [KIT / "site.yml", *sorted((KIT / "playbooks").glob("*.yml"))]
TYPES = {"str": str, "path": str, "int": int, "bool": bool, "list": list, "dict": dict}
EMITTED = {
    "bare": KIT / "group_vars" / "all" / "topology.yml",
    "bare-single": KIT / "inventory" / "sample" / "single" / "group_vars" / "relier" / "topology.yml",
}


def _names(paths: list[Path]) -> list[str]:
    return [path.stem for path in paths]


def _read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


def _tool(*argv: str) -> subprocess.CompletedProcess[str]:
    """A linter, from the folder where users start it."""
    return subprocess.run([str(BIN / argv[0]), *argv[1:]], cwd=KIT, env=environment(), capture_output=True, text=True)


@pytest.mark.parametrize("stack", EMITTED)
def test_the_variables_are_those_of_the_topology_byte_for_byte(stack: str) -> None:
    wanted = emit.files(load.read(stack), stack)
    text = next(text for path, text in wanted.items() if path.endswith("topology.yml"))
    assert EMITTED[stack].read_text() == text, f"run: python -m infra.topology emit {stack} --to ."


@pytest.mark.parametrize("role", ROLES, ids=_names(ROLES))
def test_a_role_describes_every_variable_that_it_has_a_default_for(role: Path) -> None:
    entries = _read(role / "meta" / "argument_specs.yml").get("argument_specs", {})
    options = {name: option for entry in entries.values() for name, option in entry.get("options", {}).items()}
    defaults = _read(role / "defaults" / "main.yml")
    assert sorted(options) == sorted(defaults)
    assert all(option.get("description") and option.get("type") for option in options.values())


@pytest.mark.parametrize("role", ROLES, ids=_names(ROLES))
def test_a_default_is_of_the_type_that_the_role_asks_for(role: Path) -> None:
    entries = _read(role / "meta" / "argument_specs.yml").get("argument_specs", {})
    types = {name: TYPES[option["type"]] for entry in entries.values() for name, option in entry["options"].items()}
    written = _read(role / "defaults" / "main.yml").items()
    known = {name: value for name, value in written if "{{" not in str(value)}  # others are known on a host
    assert [name for name, value in known.items() if type(value) is not types[name]] == []


@pytest.mark.parametrize("role", ROLES, ids=_names(ROLES))
def test_a_role_uses_nothing_but_what_comes_with_ansible_core(role: Path) -> None:
    for path in [*role.rglob("tasks/*.yml"), *role.rglob("handlers/*.yml")]:
        for task in _tasks(yaml.safe_load(path.read_text()) or []):
            modules = [key for key in task if "." in key]
            assert all(module.startswith("ansible.builtin.") for module in modules), f"{path}: {modules}"


def _tasks(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    inner = [part for row in rows for key in ("block", "rescue", "always") for part in row.get(key, [])]
    return [*rows, *(_tasks(inner) if inner else [])]


def _uses(play: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    """Which roles a play uses, from which of their files, under which tags of their own."""
    roles = [row if isinstance(row, dict) else {"role": row} for row in play.get("roles", [])]
    uses = [(row["role"], "main", row.get("tags", [])) for row in roles]
    for task in _tasks([*play.get("pre_tasks", []), *play.get("tasks", [])]):
        for module in ("ansible.builtin.include_role", "ansible.builtin.import_role"):
            if used := task.get(module):
                tags = [task.get("tags", []), *([used["apply"]["tags"]] if "apply" in used else [])]
                assert all(tag == tags[0] for tag in tags), f"{used['name']}: what it includes has other tags"
                uses.append((used["name"], used.get("tasks_from", "main"), tags[0]))
    return uses


@pytest.mark.parametrize("role", [role for role in ROLES if role.name != "common"], ids=lambda role: role.name)
def test_site_yml_plays_every_role_under_its_own_tag(role: Path) -> None:
    plays = yaml.safe_load((KIT / "site.yml").read_text())
    tags = [[*play.get("tags", []), *own] for play in plays for name, _, own in _uses(play) if name == role.name]
    wanted = "always" if role.name == "preflight" else role.name
    assert tags and all(tag == [wanted] for tag in tags)


def test_site_yml_builds_everywhere_or_nowhere_and_lets_no_host_use_a_release_before_its_turn() -> None:
    plays = {play["name"]: play for play in yaml.safe_load((KIT / "site.yml").read_text())}
    uses = {name: [(role, file) for role, file, _ in _uses(play)] for name, play in plays.items()}
    assert uses["Application"] == [("app", "release")] and plays["Application"]["any_errors_fatal"]
    assert {name for name, used in uses.items() if ("app", "activate") in used} == {"Workers", "Resurrector"}
    assert all("pre_tasks" in plays[name] for name in ("Workers", "Resurrector")) and "serial" in plays["Workers"]


@pytest.mark.parametrize("sample", ["single", "ha"])
def test_every_playbook_parses_with_the_inventories_that_users_copy(sample: str) -> None:
    inventory = KIT / "inventory" / "sample" / sample / "hosts.yml"
    done = _tool("ansible-playbook", "-i", str(inventory), "--syntax-check", *map(str, PLAYBOOKS))
    assert done.returncode == 0, done.stderr


def test_ansible_lint_has_nothing_to_say() -> None:
    done = _tool("ansible-lint", "--offline", "--profile", "production", "-q", "--nocolor")
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


def test_yamllint_has_nothing_to_say() -> None:
    done = _tool("yamllint", "--strict", ".")
    assert done.returncode == 0, done.stdout


def test_the_scripts_are_clean_shell() -> None:
    files = [p for p in (KIT / "roles").glob("*/files/*") if p.read_bytes().startswith(b"#!/bin/sh")]
    assert files
    done = _tool("shellcheck", *map(str, files))
    assert done.returncode == 0, done.stdout


def test_every_playbook_says_how_to_call_it() -> None:
    for path in PLAYBOOKS[1:]:
        assert f"playbooks/{path.name}" in path.read_text(), path.name


def test_nothing_but_documents_is_left_of_the_secrets_of_a_sample() -> None:
    listed = subprocess.run(["git", "ls-files", "infra/ansible"], cwd=ROOT, capture_output=True, text=True, check=True)
    kept = [Path(line) for line in listed.stdout.split() if "/secrets/" in line]
    assert [path for path in kept if path.name != ".gitignore"] == []
