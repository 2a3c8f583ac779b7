"""What a release is called, which one stays, which one is gone back to: real runs of the kit's own tasks, no hosts."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from yaml import safe_load

from tests.infra.ansible.desk import Desk, refusal
from tests.infra.ansible.play import KIT, Run

ALONE = "../../tests/infra/ansible/alone.yml"
VARIABLES = [str(KIT / "group_vars" / "all" / f"{name}.yml") for name in ("topology", "secrets")]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


class Control:
    """A playbook that decides about a release and says what it made of it."""

    def __init__(self, desk: Desk, folder: Path) -> None:
        # So deep that no path relative to the kit leads to the same file from here.
        self.desk, self.book = desk, folder.joinpath(*["deep"] * len(KIT.parts), "book.yml")
        self.book.parent.mkdir(parents=True)

    def play(self, task: dict[str, Any], says: str, **variables: Any) -> Run:
        tasks = [{"name": "Decide", **task}, {"name": "Say", "ansible.builtin.debug": {"msg": "{{ " + says + " }}"}}]
        play = {"name": "Control", "hosts": "workers", "gather_facts": False, "any_errors_fatal": True}
        self.book.write_text(json.dumps([play | {"vars_files": VARIABLES, "tasks": tasks}]))
        return self.desk.play(str(self.book), "--check", **variables)

    def build(self, says: str, **variables: Any) -> Run:
        include = {"name": "app", "tasks_from": "release", "public": True}
        return self.play({"ansible.builtin.include_role": include}, says, **variables)

    def named(self, **variables: Any) -> str:
        (name,) = said(self.build("app_release", **variables))
        return name


def said(run: Run) -> set[str]:
    """What the last task said, on all hosts."""
    return {row["msg"] for row in run.expect_success().rows if row.get("task") == "Say"}


@pytest.fixture
def control(desk: Desk, tmp_path: Path) -> Control:
    return Control(desk, tmp_path)


def test_a_rebuilt_wheel_or_changed_constraints_are_a_new_release_however_their_path_is_written(
    control: Control, tmp_path: Path
) -> None:
    wheel, constraints = tmp_path / "shop-1.1.0-py3-none-any.whl", tmp_path / "constraints.txt"
    paths = {"relier_release_wheel": wheel, "relier_release_constraints": constraints}
    relative = {name: os.path.relpath(path, KIT) for name, path in paths.items()}
    names = []
    for content in (("one", "one"), ("two", "one"), ("two", "two")):
        for path, text in zip(paths.values(), content, strict=True):
            path.write_text(text)
        names.append(control.named(**relative))
    assert len(set(names)) == 3 and all(name.startswith("1.1.0-") for name in names)
    assert control.named(**{name: str(path) for name, path in paths.items()}) == names[-1]


class Repository:
    """A git repository in a folder, and what it says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self("init", "-q", "-b", "main")

    def __call__(self, *words: str) -> str:
        argv = ["git", "-C", str(self.folder), "-c", "user.name=me", "-c", "user.email=me@example.org", *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self) -> str:
        self("commit", "-q", "--allow-empty", "-m", "change")
        return self("rev-parse", "HEAD")

    def at(self, ref: str) -> str:
        return f"git+file://{self.folder}@{ref}"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "shop.git")


def test_a_branch_that_moved_is_a_new_release_and_pip_gets_its_commit(control: Control, repository: Repository) -> None:
    for _ in range(2):
        commit = repository.commit()
        run = control.build(
            "[app_release, app_pip | last] | join(' ')", relier_release_git=repository.at("main#egg=shop")
        )
        (words,) = said(run)
        name, source = words.split()
        assert name.startswith(f"main-{commit[:8]}-")
        assert source == repository.at(f"{commit}#egg=shop")


@pytest.mark.parametrize("ref", ["v1", "{commit}", "{short}", "feature/basket"])
def test_a_tag_or_a_commit_is_the_commit_that_it_names(control: Control, repository: Repository, ref: str) -> None:
    commit = repository.commit()
    repository("tag", "-a", "v1", "-m", "annotated")
    repository("branch", "other/v1")
    repository("branch", "feature/basket")
    repository.commit()
    (source,) = said(
        control.build("app_pip | last", relier_release_git=repository.at(ref.format(commit=commit, short=commit[:9])))
    )
    assert source.startswith(repository.at(commit[:9])) and commit.startswith(source.rpartition("@")[2])


def test_a_commit_is_not_looked_up(control: Control, tmp_path: Path) -> None:
    assert control.named(relier_release_git=f"git+file://{tmp_path}/away.git@{'1234abcd' * 5}").startswith("1234abcd-")


def test_a_git_reference_that_is_nothing_or_cannot_be_asked_for_is_refused(
    control: Control, repository: Repository, tmp_path: Path
) -> None:
    repository.commit()
    wrong = refusal(control.build("app_release", relier_release_git=repository.at("v9")))
    assert "no tag, branch or commit v9" in wrong
    away = refusal(control.build("app_release", relier_release_git=f"git+file://me:secret@/{tmp_path}/away.git@v1"))
    assert "cannot read the repository" in away and "40 characters" in away and "secret" not in away


def test_what_root_installs_is_readable_whatever_its_umask_is(control: Control) -> None:
    (words,) = said(control.build("app_readable | to_json | string", relier_release_package="shop==1"))
    argv = [*(json.loads(words) if isinstance(words, str) else words), "sh", "-c", "umask"]
    assert subprocess.run(argv, umask=0o077, check=True, capture_output=True, text=True).stdout.strip() == "0022"
    text = (KIT / "roles" / "app" / "tasks" / "release.yml").read_text()
    (build,) = (task["block"] for task in safe_load(text) if "block" in task)
    commands = [task["ansible.builtin.command"]["argv"] for task in build if "ansible.builtin.command" in task]
    assert len(commands) == 2 and all(argv.startswith("{{ app_readable + ") for argv in commands)


class Host:
    """A host's releases, its links to them, and what its units say."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.fake = folder / "opt", folder / "bin"
        (self.home / "releases").mkdir(parents=True)
        self.fake.mkdir()
        self.says("systemctl")
        monkeypatch.setenv("PATH", f"{self.fake}:/usr/bin:/bin")

    def says(self, command: str, *lines: str) -> None:
        (self.fake / command).write_text("\n".join(["#!/bin/sh", *(f"echo '{line}'" for line in lines), ""]))
        (self.fake / command).chmod(0o755)

    def built(self, *names: str) -> Host:
        for number, name in enumerate(names):
            (self.home / "releases" / name).mkdir()
            os.utime(self.home / "releases" / name, (number, number))
        return self

    def links(self, **names: str) -> Host:
        for link, name in names.items():
            (self.home / link).symlink_to(self.home / "releases" / name)
        return self

    def units(self, release: str, restless: bool = False) -> Host:
        self.says("grep", f"/etc/systemd/system/relier-worker-a.service:{self.home}/releases/{release}")
        self.says("systemctl", *(["relier-worker-a.service loaded activating auto-restart A"] if restless else []))
        return self

    def activate(self, desk: Desk, release: str, **variables: Any) -> tuple[set[str], str]:
        """Names of what would be removed, and the release that `previous` would link to from now on."""
        variables |= {"role": "app", "where": "worker-1", "app_home": str(self.home), "app_release": release}
        run = desk.play(ALONE, "--check", "--diff", **variables, common_seen=[], common_older=[]).expect_success()
        rows = {row["task"]: row for row in run.rows if row["kind"] == "ok"}
        removed = (
            {Path(path).name for path in rows["app : Remove them"]["items"]} if "app : Remove them" in rows else set()
        )
        diff = rows.get("app : Link the one before", {}).get("diff") or {}
        return removed, Path(diff.get("after", {}).get("src", "")).name


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_a_release_that_units_name_stays_however_many_failed_after_it(desk: Desk, host: Host) -> None:
    host.built("old", "b1", "b2", "b3").links(current="b2").units("old")
    removed, _ = host.activate(desk, "b3", relier_releases_kept=2)
    assert removed == {"b1"}


def test_a_release_that_ran_is_the_one_before_and_one_that_never_came_up_is_not(desk: Desk, host: Host) -> None:
    host.built("older", "old", "b1", "b2").links(current="old", previous="older").units("old")
    assert host.activate(desk, "b1", relier_releases_kept=1) == ({"b2", "older"}, "old")
    (host.home / "current").unlink()
    (host.home / "previous").unlink()
    host.links(current="b1", previous="old").units("b1", restless=True)
    removed, linked = host.activate(desk, "b2", relier_releases_kept=1)
    assert removed == {"older"} and linked in ("", "old")


def test_a_run_that_switches_nothing_remembers_nothing_else(desk: Desk, host: Host) -> None:
    host.built("a", "b", "c").links(current="c", previous="a").units("c")
    assert host.activate(desk, "c", relier_releases_kept=1) == ({"b"}, "")


def test_a_way_back_makes_where_it_goes_the_one_before(desk: Desk, host: Host) -> None:
    host.built("a", "b").links(current="b", previous="x").units("b")
    assert host.activate(desk, "a", app_goes_back=True) == (set(), "a")


BEFORE = [
    ("an older wheel deployed again", {"worker-1": "a 9 b", "worker-2": "a 9 b"}, "b"),
    ("nothing is known but what was built", {"worker-1": "b 9 -", "worker-2": "b 9 -"}, "a"),
    ("gone back to it, and back once more", {"worker-1": "b 9 b", "worker-2": "b 9 b"}, "a"),
    ("what one host knows holds for all", {"worker-1": "c 9 c", "worker-2": "c 5 a"}, "a"),
    ("a deployment stopped", {"worker-1": "c 9 b", "worker-2": "b 5 a"}, "b"),
    ("a deployment of an older wheel stopped", {"worker-1": "a 9 b", "worker-2": "b 5 a"}, "b"),
    ("a rollback stopped", {"worker-1": "a 9 a", "worker-2": "b 5 a"}, "a"),
]


def _release_before(control: Control, hosts: dict[str, str], **variables: Any) -> Run:
    """`hosts`: which release each runs, since when, and which one it ran before."""
    for name, words in hosts.items():
        running, since, before = words.split()
        told = {"running_release": running, "switched_at": float(since), "previous_release": before.strip("-")}
        control.desk.groups["workers"]["hosts"][name] = told | {"known_releases": ["a", "b", "c"]}
    task = {"ansible.builtin.include_tasks": str(KIT / "playbooks" / "tasks" / "release_before.yml")}
    return control.play(task, "app_release", **variables)


@pytest.mark.parametrize(("hosts", "wanted"), [row[1:] for row in BEFORE], ids=[row[0] for row in BEFORE])
def test_rollback_goes_to_what_ran_before(control: Control, hosts: dict[str, str], wanted: str) -> None:
    assert said(_release_before(control, hosts)) == {wanted}


def test_rollback_does_not_guess_between_hosts_that_come_from_different_releases(control: Control) -> None:
    hosts = {"worker-1": "c 9 a", "worker-2": "c 5 b"}
    said_no = refusal(_release_before(control, hosts))
    assert "b, a" in said_no and "-e release=NAME" in said_no
    assert said(_release_before(control, hosts, release="b")) == {"b"}
