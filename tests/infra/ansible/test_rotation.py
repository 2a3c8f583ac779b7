"""What a rotation of secrets makes of what lies on hosts: the tasks' own templates, on hosts that a test made up."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.ansible.play import KIT, playbook

TASKS = KIT / "playbooks" / "tasks"
NEW = "the-key-that-comes"


def _tasks(name: str, *wanted: str) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = yaml.safe_load((TASKS / name).read_text())
    return [task for task in tasks if task["name"] in wanted]


def _facts(
    folder: Path,
    tasks: list[dict[str, Any]],
    shown: str,
    hosts: dict[str, Any],
    monitoring: str = "",
    **variables: Any,
) -> Any:
    """What an expression is after tasks that ran on hosts which are this machine."""
    out = folder / "out.json"
    write = {"ansible.builtin.copy": {"content": f"{{{{ {shown} | to_json }}}}", "dest": str(out), "mode": "0600"}}
    play = {"hosts": "all", "gather_facts": False, "tasks": [*tasks, write | {"run_once": True}]}
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    here = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    groups = {"monitoring": {"hosts": dict.fromkeys(monitoring)}}
    inventory = {"all": {"hosts": hosts, "vars": here | variables, "children": groups}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    playbook(str(folder / "play.yml"), "-i", str(folder / "hosts.yml"), timeout=120).expect_success()
    return json.loads(out.read_text())


def _host(**held: str) -> dict[str, Any]:
    """A host with credentials, `SERVICE__NAME`, as rotation_held.yml reads them."""
    read = [
        {
            "item": f"/etc/relier/credentials/{path.replace('__', '/')}",
            "content": base64.b64encode(f"{value}\n".encode()).decode(),
        }
        for path, value in held.items()
    ]
    return {"rotation_read": {"results": read}, "rotation_units": {"stdout_lines": []}}


def _compared(folder: Path, shown: str, hosts: dict[str, Any], previous: str = "", monitoring: str = "") -> Any:
    tasks = _tasks("rotation_held.yml", "Compare", "Gather what is stale anywhere", "Gather the keys that go")
    values = {"secret_key": NEW, "secret_keys_previous": previous, "sentinel": "new", "probe": "new"}
    return _facts(folder, tasks, shown, hosts, monitoring, relier_secret_values=values)


@pytest.mark.parametrize(
    ("hosts", "previous", "old"),
    [
        ({"a": _host(worker__secret_key="first")}, "", ["first"]),
        ({"a": _host(worker__secret_key="second", worker__secret_keys_previous="first")}, "", ["second", "first"]),
        (
            {"a": _host(resurrector__secret_key=NEW, worker__secret_key="first", app__secret_key=NEW)},
            "given, older",
            ["given", "older", "first"],
        ),
        (
            {
                "a": _host(worker__secret_key=NEW, worker__secret_keys_previous="first"),
                "b": _host(worker__secret_key="first", worker__secret_keys_previous=f"{NEW},zeroth"),
            },
            "",
            ["first", "zeroth"],
        ),
    ],
    ids=["one", "again before the end", "cut off between two files", "cut off between two hosts"],
)
def test_every_key_that_anybody_signed_with_stays_valid(
    tmp_path: Path, hosts: dict[str, Any], previous: str, old: list[str]
) -> None:
    assert sorted(_compared(tmp_path, "rotation_old_keys", hosts, previous)) == sorted(old)


@pytest.mark.parametrize(
    ("password", "monitoring", "stale"),
    [("new", "b", []), ("old", "b", ["probe"]), ("old", "", [])],
    ids=["new", "old", "left behind by a host that is in the group no more"],
)
def test_an_exporter_with_the_old_password_has_not_taken_part(
    tmp_path: Path, password: str, monitoring: str, stale: list[str]
) -> None:
    passwords = {"redis://redis-1:6379": password, "redis://probe@redis-1:6379": password}
    hosts = {"a": _host(worker__sentinel="new"), "b": _host(exporter__passwords=json.dumps(passwords))}
    assert _compared(tmp_path, "rotation_all_stale", hosts, monitoring=monitoring) == stale


@pytest.mark.parametrize(
    ("password", "second", "third"),
    [("old", "old", []), ("new", "old", []), ("old", "new", []), ("old", "older", ["sentinel"])],
)
def test_a_server_that_takes_two_passwords_is_given_no_third(
    tmp_path: Path, password: str, second: str, third: list[str]
) -> None:
    hosts = {"a": _host(sentinel__sentinel=password, sentinel__sentinel_second=second)}
    assert _compared(tmp_path, "rotation_third", hosts) == third


@pytest.mark.parametrize("name", ["replica", "sentinel"])
def test_a_password_with_quotes_and_backslashes_is_told_as_redis_reads_it(tmp_path: Path, name: str) -> None:
    wanted = "Tell the node how it logs in at a master" if name == "replica" else "Tell the Sentinel how it logs in"
    rows = [
        row for row in yaml.safe_load((TASKS / "rotation_servers.yml").read_text()) if row["name"].startswith(wanted)
    ]
    (task,) = rows
    told = [
        {"ansible.builtin.set_fact": {"told": task["ansible.builtin.command"]["stdin"]}, "vars": task.get("vars", {})}
    ]
    values = {name: 'a"b\\c'}
    said = _facts(tmp_path, told, "told", {"a": {}}, relier_secret_values=values, relier_sentinel_master_name="m")
    assert said.splitlines()[0].endswith(r'"a\"b\\c"')
