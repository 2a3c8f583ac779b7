"""Which addresses a node of Redis listens on, whom a host takes for itself, and whose Redis runs on it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from yaml import safe_load

from tests.infra.ansible.desk import Desk
from tests.infra.ansible.play import KIT


def value(tmp_path: Path, role: str, wanted: str, **found: Any) -> Any:
    """A variable of a role after its tasks have `found` that out."""
    out = tmp_path / "value.json"
    run = Desk(tmp_path).play("../../tests/infra/ansible/value.yml", role=role, wanted=wanted, out=str(out), **found)
    run.expect_success()
    return json.loads(out.read_text())


HOST = {"default_ipv4": {"address": "198.51.100.7"}}
OUTSIDE = [
    (["192.0.2.1 STREAM redis-1", "192.0.2.1 DGRAM"], "redis-1"),
    (["127.0.1.1 STREAM redis-1"], "198.51.100.7"),
    (["127.0.1.1 STREAM redis-1", "192.0.2.1 STREAM"], "192.0.2.1"),
    (["::1 STREAM redis-1"], "198.51.100.7"),
    ([], "198.51.100.7"),
]


@pytest.mark.parametrize(("lines", "address"), OUTSIDE, ids=["outside", "debian", "both", "ipv6", "unknown"])
def test_a_node_listens_where_its_own_host_and_the_others_find_it(
    tmp_path: Path, lines: list[str], address: str
) -> None:
    listens = value(tmp_path, "redis", "redis_addresses", redis_address={"stdout_lines": lines}, ansible_facts=HOST)
    assert listens == f"127.0.0.1 -127.0.1.1 -::1 {address}"


def test_a_host_may_take_only_its_own_name_for_itself(tmp_path: Path) -> None:
    lines = ["127.0.1.1       redis-1", "127.0.1.1 redis-2.example redis-2", "192.0.2.3 redis-3"]
    asked = {"results": [{}, {"stdout_lines": lines}]}
    assert value(tmp_path, "preflight", "preflight_astray", preflight_asked=asked) == ["redis-2"]


@pytest.mark.parametrize(
    ("files", "active", "says"),
    [
        ((), False, ""),
        (("dump.rdb",), False, "data is in"),
        (("dump.rdb", ".lock"), False, ""),
        ((), True, "strange.service runs"),
    ],
    ids=["bare", "data", "ours", "server"],
)
def test_a_redis_that_is_somebody_elses_is_seen(
    tmp_path: Path, files: tuple[str, ...], active: bool, says: str
) -> None:
    script = safe_load((KIT / "roles" / "preflight" / "vars" / "main.yml").read_text())["preflight_foreign"]
    data, fake = tmp_path / "data", tmp_path / "bin"
    data.mkdir()
    fake.mkdir()
    for name in files:
        (data / name).write_text("x")
    (fake / "systemctl").write_text(f"#!/bin/sh\nexit {0 if active else 3}\n")
    (fake / "systemctl").chmod(0o755)
    argv = ["sh", "-c", script, "sh", str(data), "strange.service"]
    done = subprocess.run(
        argv, env={"PATH": f"{fake}:{os.environ['PATH']}"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(says) and bool(done.stdout) == bool(says)
