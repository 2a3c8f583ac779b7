"""What a stack says when it is up: commands that name what is there, and work as they are copied."""

from __future__ import annotations

import ast
import importlib
import shlex
from typing import Any

import pytest

from infra.pulumi.kubernetes import next_steps, outputs, scope_of
from infra.pulumi.render import deployment_of
from tests.infra.kubernetes.stacks import STACKS, made


def steps(stack: str, **options: Any) -> list[list[str]]:
    """The words of each command, as a shell reads them."""
    return [shlex.split(step) for step in next_steps(scope_of(deployment_of(stack, {}, options)))]


def named(stack: str, reference: str) -> bool:
    """Is there such an object?"""
    kind, _, name = reference.partition("/")
    kinds = {"deploy": "Deployment", "svc": "Service", "cronjob": "CronJob"}
    return (kinds[kind], name) in made(stack).objects


@pytest.mark.parametrize("stack", STACKS)
def test_every_command_is_for_the_namespace_and_for_something_that_is_there(stack: str) -> None:
    for words in steps(stack, namespace="shop"):
        assert words[:3] == ["kubectl", "-n", "shop"]
        named_here = [word.removeprefix("--from=") for word in words if word.removeprefix("--from=").count("/") == 1]
        assert len(named_here) == (words[3:] != ["get", "pods"]), words
        assert all(named(stack, reference) for reference in named_here), words


@pytest.mark.parametrize("stack", STACKS)
def test_a_push_is_shown_that_python_and_the_image_understand(stack: str) -> None:
    (push,) = [words for words in steps(stack) if "python" in words]
    assert push[3:7] == ["exec", "deploy/worker", "--", "python"]
    statement, call = ast.parse(push[-1]).body
    assert isinstance(statement, ast.ImportFrom) and statement.module
    task = getattr(importlib.import_module(statement.module), statement.names[0].name)
    assert ast.unparse(call) == f"print({statement.names[0].name}.push(1))"
    assert callable(task.push)


def test_a_port_forward_ends_at_a_port_that_the_service_has() -> None:
    (forward,) = [words[3:] for words in steps("k8s") if "port-forward" in words]
    ports = [port["port"] for port in made().spec("Service", "redis-exporter")["ports"]]
    assert forward == ["port-forward", "svc/redis-exporter", *(f"{port}:{port}" for port in ports)]


def test_a_managed_redis_has_nothing_to_forward_and_nothing_to_back_up() -> None:
    verbs = {words[3] for words in steps("k8s-managed")}
    assert verbs == {"get", "exec"}
    assert {words[3] for words in steps("k8s")} == verbs | {"port-forward", "create"}


def test_secrets_that_somebody_else_must_make_are_named_and_no_others() -> None:
    bare = scope_of(deployment_of("k8s", {}, {}))
    assert outputs(bare)["secrets"] == ["relier-secrets/redis-password", "relier-secrets/sentinel-password"]
    assert outputs(bare)["next"] == next_steps(bare)
