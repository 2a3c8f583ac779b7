"""Policies: each breach is one sentence, and the resource is never registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_docker as docker
import pytest

from infra.pulumi import policy
from tests.infra.pulumi.docker_stacks import CONTAINER, named, recorded
from tests.infra.pulumi.recorder import Recorded, Secret, record

EVERY = "0.0.0.0"  # noqa: S104  what a policy must refuse
GOOD: dict[str, Any] = {
    "image": "redis:8.0",
    "user": "999:999",
    "memory": 64,
    "memory_swap": 64,
    "read_only": True,
    "capabilities": {"drops": ["ALL"]},
    "security_opts": ["no-new-privileges:true"],
}


def secret() -> pulumi.Output[str]:
    """A password."""
    return pulumi.Output.secret("hunter2")


# What it is about, what is wrong with the container, and what the sentence says.
BREACHES: list[tuple[str, Callable[[], dict[str, Any]], str]] = [
    ("latest", lambda: {"image": "redis:latest"}, "the image redis:latest has the floating tag latest; name a version"),
    ("no tag", lambda: {"image": "localhost:5000/redis"}, "the image localhost:5000/redis has no tag; name a version"),
    ("no limit", lambda: {"memory": None}, "memory has no limit; set memory."),
    ("swap on top", lambda: {"memory_swap": 128}, "memory is 64 MiB and memory_swap 128; set both to the same."),
    ("every address", lambda: {"ports": [{"internal": 6379}]}, "port 6379 is published on every address; write 127.0."),
    ("a public address", lambda: {"ports": [{"internal": 1, "external": 80, "ip": EVERY}]}, "port 80 is published"),
    ("root", lambda: {"user": "0:0"}, "runs as root; set user."),
    ("the image's user", lambda: {"user": None}, "runs as root; set user."),
    ("capabilities", lambda: {"capabilities": {"drops": ["NET_RAW"]}}, "keeps capabilities; drop ALL."),
    ("new privileges", lambda: {"security_opts": []}, "may gain privileges; set no-new-privileges:true."),
    ("a root that is written", lambda: {"read_only": False}, "can write its root file system; set read_only."),
    ("privileged", lambda: {"privileged": True}, "is privileged; remove privileged."),
    ("the host's network", lambda: {"network_mode": "host"}, "network_mode is host; remove it."),
    ("the engine's socket", lambda: {"volumes": [{"container_path": "/s", "host_path": "/run/docker.sock"}]}, "mounts"),
    ("a secret in clear", lambda: {"uploads": [{"file": "/run/secrets/redis", "content": "hunter2"}]}, "is not secret"),
    ("an output that is none", lambda: {"uploads": [{"file": "/run/secrets/redis",
                                                     "content": pulumi.Output.from_input("hunter2")}]}, "is not secre"),
    ("a secret variable", lambda: {"envs": [secret().apply(lambda text: f"PASSWORD={text}")]}, "a secret is among its"),
    ("a secret label", lambda: {"labels": [{"label": "pw", "value": secret()}]}, "a secret is among its labels; mount"),
    ("a secret argument", lambda: {"command": ["redis-server", "--requirepass", secret()]}, "a secret is among its co"),
    ("secret arguments", lambda: {"command": secret().apply(lambda text: ["serve", text])}, "a secret is among its co"),
    ("a secret entrypoint", lambda: {"entrypoints": ["serve", secret()]}, "a secret is among its entrypoints; mount i"),
    ("a secret in a check", lambda: {"healthcheck": {"tests": ["CMD", "redis-cli", "-a", secret()]}}, "its healthchec"),
    ("a secret check", lambda: {"healthcheck": docker.ContainerHealthcheckArgs(tests=secret().apply(lambda text: [
        "CMD", text]))}, "a secret is among its healthcheck; mount it as a file."),
]  # fmt: skip


def container(change: Callable[[], dict[str, Any]]) -> list[Recorded]:
    """One container in a program that holds policies."""

    def program() -> None:
        policy.hold()
        docker.Container("cache", **{**GOOD, **change()})

    return record(program)


def refused(change: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> str:
    """The sentence, once it is sure that the container was not registered."""
    registered: list[str] = []
    monkeypatch.setattr(
        "tests.infra.pulumi.recorder.Recorder.new_resource", lambda self, args: registered.append(args.typ)
    )
    with pytest.raises(policy.PolicyBroken) as broken:
        container(change)
    assert CONTAINER not in registered
    return str(broken.value)


def test_a_good_container_passes() -> None:
    """Nothing is changed on the way."""
    made = named(container(dict), "cache")
    assert made.inputs["memory"] == 64


def test_a_secret_file_passes_and_stays_secret() -> None:
    """Also one that is computed from another secret."""

    def upload() -> dict[str, Any]:
        return {"uploads": [{"file": "/run/secrets/redis", "content": secret().apply(str.upper)}]}

    made = named(container(upload), "cache")
    assert made.inputs["uploads"][0]["content"] == Secret("HUNTER2")


def test_what_is_never_started_needs_no_limit() -> None:
    """It holds files; there is no process to limit."""
    assert container(lambda: {"start": False, "memory": None, "memory_swap": None, "user": None})


def test_a_port_that_was_said_to_be_public_may_be() -> None:
    """The topology's `public` becomes this label."""
    label = {"label": "relier.public", "value": "true"}
    assert container(lambda: {"ports": [{"internal": 3000, "ip": EVERY}], "labels": [label]})


@pytest.mark.parametrize(("change", "sentence"), [case[1:] for case in BREACHES], ids=[case[0] for case in BREACHES])
def test_a_breach_is_a_sentence_and_no_resource(
    change: Callable[[], dict[str, Any]], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the resource, what is wrong and what to do; the secret is not in it."""
    said = refused(change, monkeypatch)
    assert said.startswith("cache: ")
    assert sentence in said
    assert said.endswith(".")
    assert "hunter2" not in said


def test_an_image_without_a_version_is_refused_before_it_is_pulled() -> None:
    """The image is a resource of its own."""

    def program() -> None:
        policy.hold()
        docker.RemoteImage("redis", name="redis:latest", keep_locally=True)

    with pytest.raises(policy.PolicyBroken, match="redis:latest has the floating tag latest"):
        record(program)


def test_typed_arguments_are_seen_like_dicts() -> None:
    """A program may write either."""
    ports = [docker.ContainerPortArgs(internal=6379, ip=EVERY)]
    with pytest.raises(policy.PolicyBroken, match=r"port 6379 is published on 0\.0\.0\.0"):
        container(lambda: {"ports": ports})


def test_every_policy_was_broken_here_once() -> None:
    """A rule that nothing can break guards nothing."""
    names = {check.__name__ for types, check in policy.RULES if any("docker:" in pattern for pattern in types)}
    assert names == {
        "limits_present",
        "loopback_ports",
        "no_floating_tag",
        "no_secret_in_sight",
        "no_way_out",
        "restricted",
        "secrets_wrapped",
    }


def test_the_whole_program_is_held_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever forgets to hold policies has none."""
    never = [(("docker:*",), lambda resource: [f"{resource.name}: never."])]
    monkeypatch.setattr("infra.pulumi.policy.core.RULES", never)
    with pytest.raises(policy.PolicyBroken, match="data: never"):
        recorded("dev")
