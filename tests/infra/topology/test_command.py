"""`python -m infra.topology`: tables, JSON, sentences and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.topology.__main__ import main
from infra.topology.rules import RULES
from tests.infra.topology.stacks import TIERS, stack

ROOT = Path(__file__).parents[3]


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """What a command prints; on standard error when it refuses."""
    assert main(arguments) == code
    out = capsys.readouterr()
    return out.err if code else out.out


def write(folder: Path, name: str, data: Any) -> str:
    path = folder / name
    path.write_text(yaml.safe_dump(data))
    return str(path)


@pytest.mark.parametrize("tier", TIERS)
def test_the_stacks_of_the_kit_keep_every_rule(tier: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "check", tier).startswith(f"{tier} keeps all {len(RULES)} rules.")


def test_check_says_in_json_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(said(capsys, "check", "dev", "--json"))["ok"] is True
    bad = write(tmp_path, "bad.yaml", stack("dev", **{"redis.maxmemory": "2gb", "resurrector.replicas": 2}))
    assert main(["check", bad, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert [entry["path"] for entry in found["findings"]] == ["resurrector.replicas", "redis.maxmemory"]
    assert found["findings"][1]["value"] == "2gb"


def test_check_lists_every_broken_rule_one_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = {
        "redis.maxmemory": "3gb",
        "resurrector.replicas": 2,
        "workers.worker-high.connections": 1,
        "workers.worker-default.grace": "5s",
        "sentinel.nodes": ["s-1", "s-2"],
        "redis.publish": ["0.0.0.0:6379"],
        "app.image": "relier",
    }
    lines = said(capsys, "check", write(tmp_path, "bad.yaml", stack("prod", **changes)), code=1).splitlines()
    assert {line.split(" is ")[0] for line in lines} >= set(changes)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("prdo", "prdo is neither a stack nor a file; did you mean prod?"),
        (
            "nowhere.yaml",
            "nowhere.yaml is neither a stack nor a file; "
            "write one of bare, bare-single, dev, k8s, k8s-managed, prod, or a path.",
        ),
        (".", ". is a folder; name a stack (bare, bare-single, dev, k8s, k8s-managed, prod) or a YAML file."),
    ],
)
def test_a_stack_that_is_not_there_is_one_sentence(name: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "check", name, code=1) == f"{says}\n"


def test_a_file_that_is_no_text_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"tier: \xff\xfe")
    assert said(capsys, "plan", str(path), code=1) == f"{path}, byte 6: not UTF-8; save it as UTF-8 text.\n"


def test_plan_shows_a_row_a_workload_and_the_sums(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "plan", "dev")
    rows = [line.split()[0] for line in text.splitlines()[2:11]]
    assert rows[:5] == ["redis", "worker-high", "worker-default", "worker-recovery", "resurrector"]
    assert "213 of 10000 connections" in text
    assert "re-queue ← worker-recovery" in text


def test_plan_in_json_holds_everything_and_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    plan = json.loads(said(capsys, "plan", "prod", "--json"))
    worker = next(workload for workload in plan["workloads"] if workload["name"] == "worker-high")
    assert worker["argv"][0] == "celery"
    secret = {"name": "redis", "reference": "env:REDIS_PASSWORD", "path": "/run/secrets/redis", "keys": []}
    assert worker["secrets"][0] == secret
    assert plan["sums"]["connections"] == 213


def test_diff_says_one_sentence_a_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = {"workers.worker-high.grace": "90s", "workers.worker-high.memory": "3gb", "drill.every": "1d"}
    other = write(tmp_path, "other.yaml", stack("prod", **changes))
    assert said(capsys, "plan", "--diff", "prod", other).splitlines() == [
        f"drill.argv: prod says /etc/relier/drill --every 604800, {other} says /etc/relier/drill --every 86400.",
        f"drill.schedule: prod says 7d, {other} says 1d.",
        f"worker-high.grace: prod says 60s, {other} says 90s.",
        f"worker-high.memory: prod says 2gb, {other} says 3gb.",
    ]


def test_diff_names_what_only_one_side_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write(
        tmp_path, "o.yaml", stack("dev", **{"env.SHOP": "1", "workers.extra.queues": ["default"], "redis.publish": []})
    )
    lines = said(capsys, "plan", "--diff", "dev", other).splitlines()
    assert f"extra: dev has it not, {other} has." in lines
    assert f"resurrector.env.SHOP: dev has it not, {other} has." in lines
    assert f"redis.ports.6379.published: dev says 127.0.0.1:6379, {other} says nothing." in lines


def test_a_stack_does_not_differ_from_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "plan", "--diff", "prod", "prod") == "prod and prod plan the same.\n"
    found = json.loads(said(capsys, "plan", "--diff", "dev", "prod", "--json"))
    assert len(found["differences"]) > 20


@pytest.mark.parametrize("arguments", [["plan", "dev", "prod"], ["plan", "--diff", "dev"]])
def test_plan_wants_two_stacks_to_compare_and_one_to_show(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, *arguments, code=1) == "plan shows one stack; write plan --diff A B to compare two.\n"


def test_emit_lists_prints_and_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert "infra/compose/.env.example" in said(capsys, "emit", "prod")
    assert said(capsys, "emit", "prod", "infra/compose/.env.example").startswith("# Written by")
    assert "prod emits no nonsense; it emits infra/compose/.env.example," in said(
        capsys, "emit", "prod", "nonsense", code=1
    )
    assert "scripts/redis/overlays/dev.conf" in json.loads(said(capsys, "emit", "dev", "--json"))


def test_emit_writes_into_an_inventory_of_hosts_and_into_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("bare", "bare-single"):
        mine = tmp_path / name
        refused = said(capsys, "emit", name, "--into", str(mine), code=1)
        assert refused == f"{mine} is no folder; copy one of infra/ansible/inventory/sample there first.\n"
        mine.mkdir()
        assert said(capsys, "emit", name, "--into", str(mine)) == "wrote group_vars/relier/topology.yml\n"
        (written,) = [path for path in mine.rglob("*") if path.is_file()]
        assert f"emit {name} --into {mine}`" in written.read_text().splitlines()[1]
        assert "relier_redis_nodes:" in written.read_text()
    assert "only tier bare has an inventory" in said(capsys, "emit", "prod", "--into", str(tmp_path), code=1)


def test_schema_needs_no_stack_but_refuses_a_wrong_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(said(capsys, "schema"))["title"] == "Relier topology"
    assert said(capsys, "schema", "prod") == said(capsys, "schema")
    assert "did you mean prod?" in said(capsys, "schema", "prdo", code=1)


def test_a_command_that_is_not_there_is_explained_without_a_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "infra.topology", "chekc", "dev"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "invalid choice: 'chekc'" in done.stderr


def test_it_runs_as_people_run_it_and_says_refusals_on_standard_error() -> None:
    good = subprocess.run(
        [sys.executable, "-m", "infra.topology", "check", "prod"], cwd=ROOT, capture_output=True, check=False
    )
    bad = subprocess.run(
        [sys.executable, "-m", "infra.topology", "check", "x"], cwd=ROOT, capture_output=True, check=False
    )
    assert (good.returncode, good.stderr) == (0, b"")
    assert (bad.returncode, bad.stdout) == (1, b"")
