"""validate.yml hands the conformance suite what it needs of an inventory, which may have a vault, and nothing else."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.topology import plan_of, read
from tests.infra.ansible.desk import Desk, refusal
from tests.infra.ansible.play import BIN, KIT, playbook
from tests.infra.conformance.adapters.ansible import Hosts

PLAYBOOK = KIT / "playbooks" / "validate.yml"
KEY = "ansible_ssh_private_key_file"


def _told(folder: Path) -> tuple[Path, Path]:
    """The last play with a copy in place of the suite, and where its copy will be."""
    *_, play = yaml.safe_load(PLAYBOOK.read_text())
    (block,) = (task for task in play["tasks"] if "block" in task)
    (suite,) = (task for task in block["block"] if task["name"] == "Run the suite")
    for name in ("environment", "changed_when", "check_mode", "failed_when"):
        del suite[name]
    suite["ansible.builtin.command"] = {"argv": ["cp", "-a", "{{ told.path }}", str(folder / "told")]}
    gone = {"ansible.builtin.assert": {"that": "told.path is not exists"}}
    play["tasks"] = [*play["tasks"][: play["tasks"].index(block) + 1], gone]
    play["vars"]["project"] = str(KIT.parents[1])
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    return folder / "play.yml", folder / "told" / "hosts.yml"


def _vault(folder: Path, text: str) -> str:
    """A line of a vault, as `ansible-vault encrypt_string` prints it."""
    (folder / "password").write_text("of the vault\n")
    argv = [str(BIN / "ansible-vault"), "encrypt_string", "--vault-password-file", str(folder / "password"), text]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_the_suite_is_told_how_hosts_are_reached_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    desk = Desk(tmp_path)
    (desk.folder / "group_vars" / "relier" / "vault.yml").write_text(
        f"relier_given: {_vault(tmp_path, 'never-to-be-told')}\n"
        f"ansible_ssh_private_key_file: {_vault(tmp_path, '/a/key')}\n"
    )
    desk.hosts["relier"]["children"]["redis"]["hosts"]["redis-1"] = {
        "ansible_host": "{{ 'relier' ~ '.example' }}",
        "ansible_port": 2222,
        "ansible_become_password": "never-to-be-told",
    }
    (desk.folder / "hosts.yml").write_text(yaml.safe_dump(desk.hosts))
    play, told = _told(tmp_path)
    password = ("--vault-password-file", str(tmp_path / "password"))
    playbook(str(play), "-i", str(desk.folder / "hosts.yml"), *password, timeout=120).expect_success()
    text = told.read_text()
    said = json.loads(text)["all"]
    assert "never-to-be-told" not in text and "of-this-test" not in text
    assert stat.S_IMODE(told.stat().st_mode) == 0o600
    assert said["hosts"]["redis-1"] == {"ansible_host": "relier.example", "ansible_port": 2222, KEY: "/a/key"}
    assert said["hosts"]["worker-2"] == {KEY: "/a/key"}
    hosts: Any = Hosts(plan_of(read("bare")), [str(told)])
    assert hosts._members("workers") == ["worker-1", "worker-2"] and hosts._members("backup") == ["redis-3"]
    assert {"relier.example", "2222", "/a/key"} <= set(hosts._prefix("redis-1"))


@pytest.mark.parametrize("limit", ["worker-1", "relier"])
def test_a_part_of_the_tier_is_refused(tmp_path: Path, limit: str) -> None:
    said = refusal(Desk(tmp_path).play("playbooks/validate.yml", "--limit", limit))
    assert "leave --limit out" in said


def test_a_stack_beside_the_caller_is_found_and_its_whole_path_is_what_the_suite_gets(tmp_path: Path) -> None:
    said = refusal(Desk(tmp_path).play("playbooks/validate.yml", stack="nowhere.yaml"))
    assert str(KIT / "nowhere.yaml") in said


def test_a_sudo_that_asks_for_a_password_is_said_before_the_suite_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "bin"
    fake.mkdir()
    for name, text in (("id", "echo 1000"), ("sudo", "exit 1")):
        (fake / name).write_text(f"#!/bin/sh\n{text}\n")
        (fake / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake}:/usr/bin:/bin")
    said = refusal(Desk(tmp_path).play("playbooks/validate.yml"))
    assert "wants a password for sudo" in said and "NOPASSWD" in said
