"""The suite against something small that really runs: green as it is, and a clear sentence for each harm."""

from __future__ import annotations

import inspect
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from harness.process import REPO, clean_env
from tests.infra.conformance import cases, test_fleet, test_redis, test_secrets, test_workloads
from tests.infra.conformance.adapters import adapter
from tests.infra.conformance.adapters.base import local, must
from tests.infra.conformance.deployment import Deployment, eventually
from tests.infra.conformance.selftest.standin import PASSWORD, StandIn

STACK = Path(__file__).parent / "small.yaml"
PROJECT = f"conformance-live-{os.getpid()}"
IMAGE = "relier:1.0.0"
MODULES = (test_workloads, test_redis, test_fleet, test_secrets)
pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        local(["docker", "image", "inspect", IMAGE]).code != 0,
        reason=f"no Docker engine with the image {IMAGE} answers here; make dev builds it",
    ),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """All of it, healthy."""
    with StandIn(STACK, PROJECT, tmp_path_factory.mktemp("standin")) as standin:
        for workload in standin.plan.workloads:
            standin.start(workload)
            eventually(partial(healthy, standin.name(workload.name)), 120, f"{workload.name} is healthy")
        yield standin


def healthy(name: str) -> bool:
    return local(["docker", "inspect", name, "--format", "{{.State.Health.Status}}"]).out.strip() == "healthy"


@pytest.fixture
def deployment(made: StandIn) -> Deployment:
    return Deployment(STACK, adapter("docker"), project=PROJECT)


def broken(deployment: Deployment) -> dict[str, str]:
    """Names and sentences of all read-only tests that fail now."""
    deployment.forget()
    found: dict[str, str] = {}
    for module in MODULES:
        for name, test in vars(module).items():
            if name.startswith("test_") and (sentence := failure(test, deployment)):
                found[name] = sentence
    return found


def failure(test: Callable[..., None], deployment: Deployment) -> str:
    """What it says over all its cases; skips say nothing."""
    wanted = [name for name in inspect.signature(test).parameters if name != "deployment"]
    said = []
    for values in itertools.product(*(cases.of(name, STACK) for name in wanted)):
        try:
            test(deployment, **dict(zip(wanted, values, strict=True)))
        except pytest.skip.Exception:
            continue
        except pytest.fail.Exception as failed:
            said.append(str(failed))
    return "\n".join(said)


def test_all_holds_as_it_is(deployment: Deployment) -> None:
    assert broken(deployment) == {}


def inside(workload: str, *words: str, options: tuple[str, ...] = ()) -> None:
    must(["docker", "exec", *options, f"{PROJECT}-{workload}-1", *words])


def kill_inside(workload: str, mark: str) -> None:
    """End what a harm has started there."""
    find = f'for p in /proc/[0-9]*; do grep -q "{mark}" $p/cmdline && kill -9 "${{p#/proc/}}"; done; true'
    inside(workload, "sh", "-c", find.replace(mark, f"{mark[:-1]}[{mark[-1]}]"))


STRAY = f"conformance-stray-{os.getpid()}"
UPDATE = ("update", "--memory", "{}", "--memory-swap", "{}", f"{PROJECT}-worker-1")
CONTROL = ("celery", "-A", "relier.tasks.app", "control")
Harm = tuple[Callable[[], object], Callable[[], object], set[str], str]


def docker(*words: str) -> Callable[[], object]:
    return lambda: must(["docker", *words])


def memory(limit: str) -> Callable[[], object]:
    return docker(*(word.format(limit) for word in UPDATE))


def control(*words: str) -> Callable[[], object]:
    return lambda: inside("worker", *CONTROL, *words)


def network(what: str) -> Callable[[], object]:
    return docker("network", what, f"{PROJECT}_edge", f"{PROJECT}-relier-redis-1")


def stray() -> None:
    options = ["--name", STRAY, "--network", f"{PROJECT}_data", "--entrypoint", "sleep"]
    must(["docker", "run", "-d", "--rm", *options, "redis:8.0", "600"])


def intruder() -> None:
    inside("relier-redis", "sh", "-c", "echo 'user intruder on nopass ~* +@all' >>/data/users.acl")


def no_intruder() -> None:
    inside("relier-redis", "sh", "-c", "grep -v intruder /data/users.acl >/data/new && mv /data/new /data/users.acl")


SECOND = ("rl", "run-resurrector")
SLEEPS = ("sh", "-c", "sleep 600; exit 7")
HARMS: dict[str, Harm] = {
    "a smaller limit": (
        memory("300m"),
        memory("512m"),
        {"test_its_memory_is_limited_as_planned"},
        "memory is 300mb, the plan says 512mb",
    ),
    "a stranger on the data network": (
        stray,
        docker("rm", "-f", STRAY),
        {"test_nothing_runs_that_is_not_planned"},
        f"the container {STRAY} is on the network {PROJECT}_data, the plan knows nothing of it",
    ),
    "a second resurrector": (
        lambda: inside("worker", *SECOND, options=("-d",)),
        lambda: kill_inside("worker", "run-resurrector"),
        {"test_exactly_one_resurrector_runs"},
        "resurrector: 2 run",
    ),
    "a smaller pool": (
        control("pool_shrink", "1"),
        control("pool_grow", "1"),
        {"test_its_pool_has_the_planned_size"},
        "its pool has 1 processes, the plan says 2",
    ),
    "a queue that nobody consumes": (
        control("cancel_consumer", "low_priority"),
        control("add_consumer", "low_priority"),
        {"test_it_consumes_the_planned_queues_and_no_others", "test_this_queue_is_consumed_by_whom_the_plan_says"},
        "low_priority: nobody consumes it, the plan says worker",
    ),
    "a user of Redis": (
        intruder,
        no_intruder,
        {"test_the_users_are_the_planned_ones_with_the_planned_rules"},
        "there is a user intruder (on nopass ~* +@all), the plan does not have it",
    ),
    "Redis on the edge": (
        network("connect"),
        network("disconnect"),
        {"test_it_is_on_the_planned_networks_only", "test_redis_cannot_be_reached_from_where_nobody_needs_it"},
        "it is on data, edge, the plan says data",
    ),
    "a password in an environment": (
        lambda: inside("worker", *SLEEPS, options=("-d", "-e", f"REDISCLI_AUTH={PASSWORD}")),
        lambda: kill_inside("worker", "sleep"),
        {"test_no_secret_stands_in_the_environment_of_a_process"},
        "the secret redis stands in the environment of process",
    ),
    "a password on a command line": (
        lambda: inside("worker", *SLEEPS, PASSWORD, options=("-d",)),
        lambda: kill_inside("worker", "sleep"),
        {"test_no_secret_stands_on_a_command_line"},
        "the secret redis stands on the command line of process",
    ),
}


#: A look at everything takes half a minute; these three show that the suite sees, tells and is not led astray.
QUICK = ("a smaller limit", "a user of Redis", "a password on a command line")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.soak) for name in HARMS]
)
def test_a_harm_is_told_by_its_own_tests_alone(deployment: Deployment, name: str) -> None:
    harm, mend, tests, sentence = HARMS[name]
    harm()
    try:
        time.sleep(2)
        told = broken(deployment)
    finally:
        mend()
    assert set(told) == tests, told
    assert any(sentence in said for said in told.values()), told
    assert PASSWORD not in str(told)


@pytest.mark.soak  # prod is harmed in the same way by tests/infra/compose
def test_the_destructive_half_is_green_on_it(made: StandIn) -> None:
    """And leaves it as it was."""
    options = ["--stack", str(STACK), "--project", PROJECT, "--destructive", "--rate", "20", "-k", "destructive"]
    command = [sys.executable, "-m", "pytest", "tests/infra/conformance", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=REPO, env=clean_env(), capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_a_setting_that_was_changed_behind_the_plan_is_told(made: StandIn, deployment: Deployment) -> None:
    """Last, as it starts Redis anew: nobody may change settings while it runs."""
    file = made.folder / "overlay.conf"
    planned = file.read_text(encoding="utf-8")
    file.write_text(f"{planned}maxmemory-policy allkeys-lru\n", encoding="utf-8")
    must(["docker", "restart", made.name("relier-redis")], timeout=120)
    eventually(lambda: healthy(made.name("relier-redis")), 120, "Redis is healthy again")
    eventually(lambda: healthy(made.name("worker")), 120, "the worker is healthy again")
    told = broken(deployment)
    assert set(told) == {
        "test_this_setting_is_live_on_every_data_node",
        "test_config_validate_finds_nothing_wrong_inside",
    }, told
    assert "maxmemory-policy is allkeys-lru, the plan says noeviction" in str(told)


def test_every_module_of_the_read_only_half_is_run_here() -> None:
    """But Sentinel's, which needs six containers, and telemetry's, which needs a Prometheus."""
    here = {path.stem for path in Path(test_redis.__file__).parent.glob("test_*.py") if "destructive" not in path.name}
    named: set[str] = {module.__name__.rpartition(".")[2] for module in MODULES if isinstance(module, ModuleType)}
    assert here - named == {"test_sentinel", "test_telemetry"}
