"""What the Docker adapter reads from a real engine: containers made as planned, and with one option changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.infra.conformance.adapters.base import local
from tests.infra.conformance.adapters.docker import Docker
from tests.infra.conformance.selftest.standin import Flags, StandIn
from tests.infra.conformance.selftest.test_rules import RULES

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(local(["docker", "info"]).code != 0, reason="no Docker engine answers here"),
]
PROJECT = f"conformance-facts-{os.getpid()}"
REDIS = "relier-redis-master"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with StandIn(Path("infra/topology/stacks/prod.yaml"), PROJECT, tmp_path_factory.mktemp("standin")) as standin:
        yield standin


def broken(made: StandIn, number: int, change: Callable[[Flags], Flags]) -> dict[str, list[str]]:
    """Rules with their sentences for a container that is made so, and never started."""
    workload, name = made.plan[REDIS], f"{PROJECT}-{REDIS}-{number}"
    made.create(workload, change(made.flags(workload)), name)
    adapter = Docker(made.plan, PROJECT)
    instance = adapter.instance(name, workload)
    facts = adapter.facts(instance)
    told = {rule: list(check(workload, instance, facts)) for rule, check in RULES.items() if rule != "health"}
    return {rule: sentences for rule, sentences in told.items() if sentences}


def changed(rule: str, *options: str) -> Callable[[Flags], Flags]:
    return lambda flags: flags | {rule: list(options)}


def added(rule: str, *options: str) -> Callable[[Flags], Flags]:
    return lambda flags: flags | {rule: [*flags[rule], *options]}


def off_the_network(flags: Flags) -> Flags:
    """Where it has no address of its own either."""
    hosts = [part for part in flags["addresses"] if part == "--add-host" or ":" in part]
    return flags | {"networks": [], "addresses": hosts}


CHANGES = [
    ("user", changed("user", "--user", "0"), "it runs as 0, the plan says 999:999"),
    ("user", changed("user"), ", the plan says 999:999"),
    ("memory", changed("memory", "--memory", "1g"), "memory is 1gb, the plan says 4gb"),
    ("memory", changed("memory"), "memory is not limited"),
    ("env", added("env", "-e", "REDIS_ACL=false"), "REDIS_ACL is false, the plan says true"),
    ("mounts", changed("files"), "nothing is mounted at /etc/relier/redis.conf"),
    ("mounts", changed("tmpfs"), "/tmp is no memory file system"),
    ("mounts", changed("volumes", f"-v{PROJECT}_other:/data"), "/data is the volume other"),
    ("mounts", added("files", "-v/:/host:ro"), "/ is mounted at /host, the plan does not have it"),
    ("read_only_root", changed("read_only_root"), "its root file system is writable, the plan says read-only"),
    ("restart", changed("restart"), "its restart policy is no, the plan says unless-stopped"),
    ("grace", changed("grace"), "it is killed 10s after a stop, the plan says 60s"),
    ("privileges", changed("privileges", "--cap-drop", "ALL"), "may gain privileges"),
    ("privileges", added("privileges", "--cap-add", "SYS_PTRACE"), "has the capability"),
    ("networks", off_the_network, "it is on bridge, the plan says data"),
    ("addresses", changed("addresses"), "it knows relier-redis-master as nothing"),
    ("addresses", added("addresses", "--add-host", "stranger:10.0.0.1"), "it knows stranger as 10.0.0.1"),
    ("published", changed("published", "-p", "127.0.0.1:0:6379"), "port 6379 is published on 127.0.0.1"),
    ("checks", changed("checks", "--no-healthcheck"), "its health check is missing"),
    ("checks", added("checks", "--health-interval=99s"), "has every 99s, the plan says "),
]


def test_a_container_made_as_planned_breaks_no_rule(made: StandIn) -> None:
    assert broken(made, 0, lambda flags: flags) == {}


@pytest.mark.parametrize(("number", "case"), list(enumerate(CHANGES, 1)), ids=[case[2] for case in CHANGES])
def test_one_changed_option_breaks_its_rule_alone(
    made: StandIn, number: int, case: tuple[str, Callable[[Flags], Flags], str]
) -> None:
    rule, change, sentence = case
    told = broken(made, number, change)
    assert list(told) == [rule]
    assert any(sentence in said for said in told[rule]), told
