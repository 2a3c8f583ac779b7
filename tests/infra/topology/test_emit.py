"""What the model writes for others is the same, byte for byte, until the stack changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.topology import emit, load
from infra.topology.__main__ import main
from infra.topology.environment import OWNED, TUNABLE
from infra.topology.plan import plan_of
from relier.settings import Settings
from tests.infra.topology.stacks import TIERS, stack, topology

ROOT = Path(__file__).parents[3]
# To accept a change: python -m infra.topology emit STACK --to tests/infra/topology/golden
GOLDEN = Path(__file__).parent / "golden"


def emitted(tier: str) -> list[tuple[str, str]]:
    return list(emit.files(load.read(tier), tier).items())


EVERYTHING = [(tier, path, text) for tier in TIERS for path, text in emitted(tier) if path != emit.SCHEMA]
IDS = [f"{tier}:{path}" for tier, path, _ in EVERYTHING]


@pytest.mark.parametrize(("tier", "path", "text"), EVERYTHING, ids=IDS)
def test_an_emitted_file_is_what_it_was(tier: str, path: str, text: str) -> None:
    assert text == (GOLDEN / path).read_text()


@pytest.mark.parametrize(("tier", "path", "text"), EVERYTHING, ids=IDS)
def test_where_the_project_holds_an_emitted_file_nobody_has_edited_it(tier: str, path: str, text: str) -> None:
    if (ROOT / path).exists():
        assert text == (ROOT / path).read_text(), f"run: python -m infra.topology emit {tier} --to ."


def test_the_schema_beside_the_stacks_is_that_of_the_model() -> None:
    assert (ROOT / emit.SCHEMA).read_text() == emit.schema(), "run: python -m infra.topology emit dev --to ."


def test_bytes_do_not_depend_on_the_order_of_hashes() -> None:
    code = (
        "from infra.topology import emit, load\n"
        f"print([emit.files(load.read(s), s) for s in {TIERS!r}])\n"
        "print(load.read('prod').model_dump_json())"
    )
    outputs = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        outputs.add(done.stdout)
    assert len(outputs) == 1


def test_a_second_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["emit", "prod", "--to", str(tmp_path), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)["written"]
    assert sorted(written) == sorted(path for path, _ in emitted("prod"))
    before = {path: (tmp_path / path).stat().st_mtime_ns for path in written}
    assert main(["emit", "prod", "--to", str(tmp_path)]) == 0
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(f"unchanged {path}" for path in written)
    assert before == {path: (tmp_path / path).stat().st_mtime_ns for path in written}


def test_an_emitted_file_that_was_edited_is_written_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["emit", "bare", "--to", str(tmp_path)])
    (tmp_path / emit.GROUP_VARS).write_text("relier_name: mine\n")
    main(["emit", "bare", "--to", str(tmp_path)])
    assert f"wrote {emit.GROUP_VARS}" in capsys.readouterr().out.splitlines()[-4:]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scripts").write_text("a file, not a folder")
    assert main(["emit", "dev", "--to", str(tmp_path)]) == 1
    assert "cannot be written (Not a directory); name another folder with --to." in capsys.readouterr().err.replace(
        "File exists", "Not a directory"
    )


def example(stacked: str = "prod") -> dict[str, str]:
    """The variables of `.env.example`, those that are commented out included."""
    lines = emit.files(load.read(stacked), stacked)[emit.ENV_EXAMPLE].splitlines()
    pairs = (line.removeprefix("# ").partition("=") for line in lines if line.removeprefix("# ")[:1].isupper())
    return {name: value for name, equals, value in pairs if equals and name.isupper()}


def test_the_example_asks_for_every_secret_and_holds_none() -> None:
    empty = {name for name, value in example().items() if not value}
    assert empty == {"REDIS_PASSWORD", "SENTINEL_PASSWORD", "GRAFANA_ADMIN_PASSWORD"}


def test_the_example_tells_what_compose_takes_from_it() -> None:
    text = emit.files(load.read("prod"), "prod")[emit.ENV_EXAMPLE]
    taken, _, rest = text.partition("Settings that Compose takes")[2].partition("told besides")
    assert {line[2:].partition("=")[0] for line in taken.splitlines() if line[:9] == "# RELIER_"} == TUNABLE
    assert "# RELIER_GRACEFUL_SHUTDOWN_TIMEOUT=30\n" in rest
    assert set(OWNED) > TUNABLE


def test_every_value_of_the_example_parses_as_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {name: value for name, value in example().items() if name.startswith("RELIER_")}
    assert len(found) > 15
    for name, value in found.items():
        assert name.removeprefix("RELIER_").lower() in Settings.model_fields
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    assert settings.durability == "replicated"
    assert settings.redis_sentinel_nodes[2] == ("relier-sentinel-3", 26379)


def variables() -> dict[str, Any]:
    """Ansible's variables, as Ansible's own YAML reads them."""
    data: dict[str, Any] = yaml.safe_load(emit.files(load.read("bare"), "bare")[emit.GROUP_VARS])
    return data


def test_ansible_reads_every_variable_of_the_environment_as_text() -> None:
    found = variables()
    environments = [found["relier_environment"], found["relier_redis_settings"]]
    environments += [
        unit["environment"] for kind in ("pools", "resurrectors", "jobs") for unit in found[f"relier_{kind}"]
    ]
    assert all(isinstance(value, str) for environment in environments for value in environment.values())
    assert found["relier_redis_settings"]["appendonly"] == "yes"


def test_ansible_has_the_units_of_the_plan() -> None:
    found, plan = variables(), plan_of(load.read("bare"))
    for unit in found["relier_pools"] + found["relier_resurrectors"] + found["relier_jobs"]:
        workload = plan[unit["name"]]
        assert unit["argv"] == list(workload.argv)
        assert unit["memory_bytes"] == workload.memory
        assert unit["stop_seconds"] == workload.grace
        assert unit["secrets"] == [mount.name for mount in workload.secrets]
        if workload.kind in ("worker", "resurrector"):
            assert found["relier_environment"] | unit["environment"] == dict(workload.env)
    assert len(found["relier_pools"]) == 3
    assert len(found["relier_resurrectors"]) == 1


def test_ansible_learns_where_secrets_are_and_never_what_they_are() -> None:
    names = {"redis", "sentinel", "admin", "replica", "backup", "probe", "secret_key", "secret_keys_previous"}
    assert set(variables()["relier_secrets"]) == names
    assert all(value.startswith(("vault:", "file:")) for value in variables()["relier_secrets"].values())


def overlay(tier: str, **changes: Any) -> dict[str, str]:
    """The directives of an overlay; `save` by its last line."""
    changed = topology(tier, **changes)
    (text,) = (text for path, text in emit.files(changed, "x").items() if path.startswith("scripts/redis/overlays/"))
    lines = (line.partition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, _, value in lines}


def test_an_overlay_limits_memory_and_clients_and_stops_a_cut_off_master() -> None:
    assert overlay("prod") == {
        "bind": "* -::*",
        "maxmemory": "2gb",
        "maxclients": "10000",
        "min-replicas-to-write": "1",
        "min-replicas-max-lag": "10",
    }


def test_redis_without_users_says_that_its_network_protects_it() -> None:
    assert overlay("dev")["protected-mode"] == "no"
    assert "protected-mode" not in overlay("prod")


def test_an_overlay_of_a_host_leaves_the_address_to_the_role() -> None:
    assert "bind" not in overlay("bare")
    assert not [tier for tier in TIERS if "dir" in overlay(tier)]  # one writer: the entrypoint


def test_an_overlay_holds_what_differs_from_the_baseline() -> None:
    changed = overlay(
        "prod",
        **{
            "redis.port": 6380,
            "redis.persistence": {
                "appendfsync": "always",
                "rewrite_percentage": 200,
                "rewrite_min_size": "512mb",
                "snapshots": [[900, 1]],
            },
            "redis.min_replicas_max_lag": "2.5s",
        },
    )
    assert (
        changed.items()
        >= {
            "port": "6380",
            "appendfsync": "always",
            "auto-aof-rewrite-percentage": "200",
            "auto-aof-rewrite-min-size": "512mb",
            "save": "900 1",
            "min-replicas-max-lag": "3",
        }.items()
    )


def test_the_baseline_of_the_model_is_that_of_redis_conf() -> None:
    lines = (ROOT / "scripts/redis/redis.conf").read_text().splitlines()
    part = emit.BASELINE
    for line in (
        "appendonly yes",
        f"appendfsync {part.appendfsync}",
        f"auto-aof-rewrite-percentage {part.rewrite_percentage}",
        "auto-aof-rewrite-min-size 64mb",
        "maxmemory-policy noeviction",
        *(f"save {seconds} {changes}" for seconds, changes in part.snapshots),
    ):
        assert line in lines
    assert [line for line in lines if line.startswith("save ")] == [f"save {s} {c}" for s, c in part.snapshots]


def objects(node: Any) -> list[dict[str, Any]]:
    """Every object type in a schema."""
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    own = [node] if isinstance(node, dict) and node.get("type") == "object" and "properties" in node else []
    return [*own, *(found for value in inner for found in objects(value))]


def test_the_schema_knows_every_key_of_every_stack_and_no_other() -> None:
    schema = json.loads(emit.schema())
    assert all(found["additionalProperties"] is False for found in objects(schema))
    assert len(objects(schema)) >= 14
    for tier in TIERS:
        assert set(stack(tier)) <= set(schema["properties"])
    either = [found["required"] for found in schema["$defs"]["Redis"]["anyOf"]]
    assert either == [["managed"], ["nodes", "memory", "maxmemory"]]


def test_the_schema_has_words_for_what_is_no_plain_type() -> None:
    redis = json.loads(emit.schema())["$defs"]["Redis"]["properties"]
    assert redis["maxmemory"]["anyOf"][0]["pattern"].endswith("(b|kb|mb|gb|tb)$")
    assert redis["maxmemory"]["examples"]
