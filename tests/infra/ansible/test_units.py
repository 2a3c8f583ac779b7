"""Units and settings as the roles render them, held to the plan: what runs, with what, within which limits."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from yaml import safe_load

from infra.topology import Plan, plan_of, read
from infra.topology.workload import Workload
from tests.infra.ansible.desk import Desk
from tests.infra.ansible.play import KIT

PLAN: Plan = plan_of(read("bare"))
POOLS = PLAN.of_kind("worker")
RENDER = "../../tests/infra/ansible/render.yml"
RELEASE = "/opt/relier/releases/1.0.0-0123abcd/bin/"


class Unit:
    """A unit file: every value of every key, in order."""

    def __init__(self, text: str) -> None:
        self.lines = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]

    def all(self, key: str) -> list[str]:
        return [value for name, _, value in (line.partition("=") for line in self.lines) if name == key]

    def last(self, key: str) -> str:
        return self.all(key)[-1]

    @property
    def environment(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for line in self.all("Environment") for pair in shlex.split(line))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("rendered")
    desk = Desk(folder)
    desk.play(RENDER, out=str(folder / "out")).expect_success()
    yield folder / "out"


def _unit(rendered: Path, host: str, name: str) -> Unit:
    return Unit((rendered / host / name).read_text())


def _settings(rendered: Path, host: str, name: str) -> dict[str, str]:
    lines = (rendered / host / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def _credentials(unit: Unit) -> set[str]:
    return {line.partition(":")[0] for line in unit.all("LoadCredential")}


@pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool.name)
def test_a_pool_runs_what_the_plan_says(rendered: Path, pool: Workload) -> None:
    unit = _unit(rendered, "worker-1", f"relier-{pool.name}.service")
    words = shlex.split(unit.last("ExecStart"))
    argv = [word.replace("%h", "worker-1") for word in pool.argv]
    assert words[:2] == ["/usr/lib/relier/watched", f"{pool.name}@worker-1"]
    assert words[2:] == [RELEASE + argv[0], *argv[1:]]


@pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool.name)
def test_a_pool_has_the_plans_environment_and_nothing_secret_in_it(rendered: Path, pool: Workload) -> None:
    unit = _unit(rendered, "worker-1", f"relier-{pool.name}.service")
    assert _settings(rendered, "worker-1", "relier.env") | unit.environment == dict(pool.env)


@pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool.name)
def test_a_pool_is_limited_drained_and_given_its_secrets_as_planned(rendered: Path, pool: Workload) -> None:
    unit = _unit(rendered, "worker-1", f"relier-{pool.name}.service")
    assert int(unit.last("MemoryMax")) == pool.memory
    assert float(unit.last("TimeoutStopSec")) == pool.grace
    assert _credentials(unit) == {mount.name for mount in pool.secrets}
    assert unit.last("KillMode") == "mixed"
    assert f"rl worker reap {pool.name}@worker-1" in unit.last("ExecStopPost")
    assert unit.last("Restart") == "on-failure"
    assert unit.last("RestartForceExitStatus") == "0"  # who drained as told comes back


def test_the_resurrector_is_the_plans(rendered: Path) -> None:
    (planned,) = PLAN.of_kind("resurrector")
    unit = _unit(rendered, "worker-1", "resurrector.service")
    assert shlex.split(unit.last("ExecStart")) == [RELEASE + planned.argv[0], *planned.argv[1:]]
    assert _settings(rendered, "worker-1", "relier.env") | unit.environment == dict(planned.env)
    assert int(unit.last("MemoryMax")) == planned.memory
    assert float(unit.last("TimeoutStopSec")) == planned.grace
    assert _credentials(unit) == {mount.name for mount in planned.secrets}
    # It says itself that it is ready; nobody in its group may say so for it.
    assert (unit.last("Type"), unit.last("NotifyAccess"), unit.last("TimeoutStartSec")) == ("notify", "main", "600")


def test_a_resurrector_of_an_older_release_is_not_waited_for(tmp_path: Path) -> None:
    Desk(tmp_path).play(RENDER, out=str(tmp_path / "out"), resurrector_says={"rc": 2}).expect_success()
    unit = _unit(tmp_path / "out", "worker-1", "resurrector.service")
    assert unit.last("Type") == "exec" and not unit.all("NotifyAccess")


@pytest.mark.parametrize("kind", ["backup", "drill"])
def test_a_job_is_the_plans(rendered: Path, kind: str) -> None:
    planned = next(workload for workload in PLAN.workloads if workload.kind == kind)
    unit = _unit(rendered, "redis-3", f"{kind}.service")
    assert shlex.split(unit.last("ExecStart"))[0] == planned.argv[0]
    assert unit.environment.items() >= {k: v for k, v in planned.env.items() if k != "TMPDIR"}.items()
    assert int(unit.last("MemoryMax")) == planned.memory
    assert _credentials(unit) == {mount.name for mount in planned.secrets}


@pytest.mark.parametrize("host", PLAN["redis"].nodes)
def test_a_node_of_redis_is_the_plans(rendered: Path, host: str) -> None:
    planned = PLAN["redis"]
    unit, settings = _unit(rendered, host, "redis-server.conf"), _settings(rendered, host, "redis.env")
    assert shlex.split(unit.last("ExecStart")) == list(planned.argv)
    assert int(unit.last("MemoryMax")) == planned.memory
    assert settings.items() >= {name: value for name, value in planned.env.items() if name != "REDIS_BIND"}.items()
    assert settings["REDIS_NODE"] == host
    assert "redis" in _credentials(unit) and _credentials(unit) <= {mount.name for mount in planned.secrets}


def test_what_the_tier_sets_in_redis_is_the_topologys(rendered: Path) -> None:
    redis = read("bare").redis
    lines = (rendered / "redis-2" / "overlay.conf").read_text().splitlines()
    assert f"maxmemory {redis.maxmemory}" in lines
    assert f"maxclients {redis.maxclients}" in lines
    assert f"min-replicas-to-write {redis.min_replicas_to_write}" in lines


@pytest.mark.parametrize("node", PLAN.of_kind("sentinel"), ids=lambda node: node.name)
def test_a_sentinel_is_the_plans(rendered: Path, node: Workload) -> None:
    host = node.nodes[0] if node.nodes else node.name
    unit = _unit(rendered, host, "redis-sentinel.conf")
    assert shlex.split(unit.last("ExecStart")) == list(node.argv)
    assert int(unit.last("MemoryMax")) == node.memory
    assert _settings(rendered, host, "sentinel.env").items() >= dict(node.env).items()


@pytest.mark.parametrize(
    ("every", "when"),
    [
        (600, ["OnCalendar=*:0/10"]),
        (7200, ["OnCalendar=*-*-* 0/2:00:00"]),
        (86400, ["OnCalendar=daily"]),
        (5400, ["OnBootSec=900", "OnUnitActiveSec=5400"]),
        (172800, ["OnBootSec=900", "OnUnitActiveSec=172800"]),
    ],
)
def test_a_job_comes_as_often_as_planned_whether_or_not_a_calendar_has_such_steps(
    tmp_path: Path, every: int, when: list[str]
) -> None:
    variables = safe_load((KIT / "group_vars" / "all" / "topology.yml").read_text())
    jobs = [job | {"every_seconds": every} for job in variables["relier_jobs"]]
    Desk(tmp_path).play(RENDER, "--limit", "redis-3", out=str(tmp_path), relier_jobs=jobs).expect_success()
    for kind in ("backup", "drill"):
        lines = (tmp_path / "redis-3" / f"{kind}.timer").read_text().splitlines()
        assert [line for line in lines if line.startswith("On")] == when
        assert ("Persistent=true" in lines) == (len(when) == 1)


def test_a_job_comes_when_the_operator_says(tmp_path: Path) -> None:
    when = "Mon *-*-* 03:00:00"
    Desk(tmp_path).play(RENDER, "--limit", "redis-3", out=str(tmp_path), calendar=when).expect_success()
    assert f"OnCalendar={when}" in (tmp_path / "redis-3" / "drill.timer").read_text().splitlines()
