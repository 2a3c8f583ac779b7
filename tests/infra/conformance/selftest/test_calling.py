"""How the suite is called: nothing without a stack, one sentence for a mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.process import REPO, clean_env
from tests.infra.conformance import cases


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=REPO, env=clean_env(), capture_output=True, text=True, timeout=120, check=False)


def collected(*options: str) -> set[str]:
    """The files of which tests would run."""
    done = run("pytest", "tests/infra/conformance", "--collect-only", "-q", "-p", "no:cacheprovider", *options)
    return {line.partition("::")[0].rpartition("/")[2] for line in done.stdout.splitlines() if "::" in line}


SUITE = {f"test_{name}.py" for name in ("workloads", "redis", "sentinel", "fleet", "secrets", "telemetry")}


def test_without_a_stack_only_the_tests_of_the_suite_are_there() -> None:
    assert collected() == {
        "test_calling.py",
        "test_rules.py",
        "test_redis_rules.py",
        "test_keyspace.py",
        "test_docker_facts.py",
        "test_live.py",
    }


def test_harm_is_done_only_when_it_is_asked_for() -> None:
    harmful = {f"test_destructive_{what}.py" for what in ("worker", "master", "restore")}
    assert collected("--stack", "prod") == SUITE
    assert collected("--stack", "prod", "--destructive") == SUITE | harmful


@pytest.mark.parametrize("stack", sorted((REPO / "infra/topology/stacks").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_stack_has_cases(stack: Path) -> None:
    """A managed Redis has no nodes of ours; workloads, workers and queues are everywhere."""
    found = {name: cases.of(name, stack) for name in ("workload", "worker", "queue", "data_node", "redis_setting")}
    assert found["workload"] and found["worker"] and "re-queue" in found["queue"]
    assert bool(found["data_node"]) == bool(found["redis_setting"]) == ("managed" not in stack.stem)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "say which tier: make conformance TIER=dev, prod, k8s or bare"),
        (("nope",), "nope is neither a stack nor a file"),
        (("prod", "--backend", "carrier-pigeon"), "invalid choice"),
        (("prod", "--hosts", "pigeon://loft"), "--hosts pigeon://loft: write docker://PROJECT, kubectl://NAMESPACE or"),
        (("k8s", "--overrides", "mine.yml"), "--overrides mine.yml is no file; name a YAML or JSON file."),
    ],
)
def test_a_mistake_is_answered_with_a_sentence(words: tuple[str, ...], sentence: str) -> None:
    done = run("tests.infra.conformance", *words)
    assert done.returncode != 0
    assert sentence in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_what_a_deployment_was_stood_up_with_is_what_it_is_held_to(tmp_path: Path) -> None:
    """As `pulumi config get overrides` prints it."""
    over = tmp_path / "over.json"
    over.write_text('{"workers": {"worker-low": {"queues": ["low_priority"], "memory": "1gb"}}}')
    done = run("tests.infra.conformance", "k8s", "--overrides", str(over), "--collect-only", "--backend", "kubectl")
    assert "test_it_consumes_the_planned_queues_and_no_others[worker-low]" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("address", ["docker://nothing-of-this-name", "kubectl://nothing-of-this-name"])
def test_a_host_address_names_backend_and_deployment(address: str) -> None:
    from tests.infra.conformance import conftest

    options = {"--hosts": address, "--backend": "local", "--project": None, "--namespace": None, "--inventory": None}
    backend, named = conftest._place(SimpleNamespace(getoption=options.__getitem__))  # type: ignore[arg-type]
    assert backend == address.partition(":")[0]
    assert {name for name, value in named.items() if value == "nothing-of-this-name"} == {conftest.NAMED_BY[backend]}
