"""Configurations that cannot be meant: each refused in a sentence, before the first resource."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from infra.pulumi.engine import Engine
from infra.pulumi.program import main
from tests.infra.pulumi.docker_stacks import PASSWORDS, NobodyElse
from tests.infra.pulumi.recorder import Monitor, record

SHORT = {"redis_password": "line\nbreak", "sentinel_password": "s", "grafana_password": "g"}
EVERY = "0.0.0.0"  # noqa: S104  what must be refused

# What it is about, the stack, its configuration, its secrets, and what the sentence says.
CASES: list[tuple[str, str, dict[str, Any], dict[str, str], str]] = [
    ("no topology", "staging", {}, {}, "relier:topology is missing; write one of bare"),
    ("a stack's name misspelt", "x", {"topology": "prd"}, {}, "prd is neither a stack nor a file; did you mean prod?"),
    ("a file that is not there", "x", {"topology": "stacks/mine.yaml"}, {}, "stacks/mine.yaml is neither a stack nor"),
    ("a tier of hosts", "x", {"topology": "bare"}, {}, "Ansible"),
    ("a misspelt key", "dev", {"topolgy": "dev"}, {}, "relier:topolgy is unknown; did you mean topology?"),
    ("a misspelt password", "prod", {}, {"redis_pasword": "p"}, "relier:redis_pasword is unknown; did you mean redis_"),
    ("a password in clear", "prod", {"redis_password": "p"}, {}, "stands in clear in the stack's file; replace it by"),
    ("no passwords", "prod", {}, {}, "secrets.redis has no value; run `pulumi config set --secret redis_password`, or"),
    ("one password", "prod", {}, {"redis_password": "p"}, "secrets.sentinel has no value; run `pulumi config set --se"),
    ("an empty password", "prod", {}, {**PASSWORDS, "redis_password": " "}, "secrets.redis (redis_password) is empty"),
    ("a password of two lines", "prod", {}, SHORT, "secrets.redis (redis_password) has a line break or another contro"),
    ("a password nobody takes", "dev", {}, {"redis_password": "p"}, "relier:redis_password is set, and the topology h"),
    ("a probe without a user", "prod", {}, {**PASSWORDS, "probe_password": "p"}, "relier:probe_password is set, and t"),
    ("secret overrides", "dev", {}, {"overrides": '{"hosts": 1}'}, "relier:overrides is secret, and a topology holds"),
    ("overrides as text", "dev", {"overrides": "replicas"}, {}, "relier:overrides is a str; write keys with values"),
    ("overrides as a list", "dev", {"overrides": ["replicas"]}, {}, "relier:overrides is a list; write keys with valu"),
    ("a misspelt override", "dev", {"overrides": {"redis": {"memry": "1gb"}}}, {}, "redis.memry is unknown; did you m"),
    ("an override out of bounds", "dev", {"overrides": {"redis": {"port": 0}}}, {}, "redis.port is 0; write 1 or more"),
    ("a queue that nobody consumes", "dev", {"overrides": {"workers": {"worker-recovery": {"queues": ["default"]}}}},
     {}, "re-queue"),
    ("a floating tag", "dev", {"overrides": {"app": {"image": "relier:latest"}}}, {}, "latest"),
    ("memory for two Redises", "dev", {"overrides": {"redis": {"maxmemory": "1gb"}}}, {}, "maxmemory"),
    ("a port for everybody", "dev", {"overrides": {"redis": {"publish": [f"{EVERY}:6379"]}}}, {}, EVERY),
    ("a password in the topology", "prod", {"overrides": {"secrets": {"redis": "hunter2"}}}, PASSWORDS, "secrets.redi"),
    ("a vault of Ansible's", "prod", {"overrides": {"secrets": {"redis": "vault:redis"}}}, PASSWORDS, "vault"),
    ("an option that is none", "dev", {"docker": {"protekt": True}}, {}, "relier:docker.protekt is unknown; known her"),
    ("an option of another type", "dev", {"docker": {"protect": "yes"}}, {}, "relier:docker.protect does not fit: inp"),
]  # fmt: skip


def refusal(stack: str, config: dict[str, Any], secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What the program says, and that it said it before anything was registered."""
    for name in ("REDIS_PASSWORD", "SENTINEL_PASSWORD", "GRAFANA_ADMIN_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monitors: list[Monitor] = []
    monkeypatch.setattr(Monitor, "__init__", lambda self: (original(self), monitors.append(self))[0])
    with pytest.raises(pulumi.RunError) as refused:
        record(lambda: main(NobodyElse()), stack=stack, config=config, secrets=secrets)
    assert monitors[0].recorded == []
    return str(refused.value)


original = Monitor.__init__


@pytest.mark.parametrize(
    ("stack", "config", "secrets", "sentence"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_a_bad_configuration_is_refused_in_a_sentence(
    stack: str, config: dict[str, Any], secrets: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what is wrong and what to write, ends with a full stop, and shows no secret."""
    said = refusal(stack, config, secrets, monkeypatch)
    assert sentence in said
    assert all(line.endswith((".", "?")) for line in said.splitlines()), said
    assert "Traceback" not in said
    assert not any(value in said for value in secrets.values() if len(value) > 3)


def test_all_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody should have to ask twice."""
    said = refusal("prod", {"topolgy": "prod", "redis_password": "p"}, {"sentinel": "s"}, monkeypatch)
    assert len(said.splitlines()) == 3


def test_names_that_compose_holds_are_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two masters of the same containers would each undo the other, and `destroy` would take Compose's data."""

    class Taken(NobodyElse):
        def ask(self, *arguments: str) -> list[str]:
            return ["relier-dev-redis-1"] if arguments[0] == "ps" else []

    with pytest.raises(pulumi.RunError) as refused:
        record(lambda: main(Taken()))
    assert "Compose holds relier-dev on this engine (1 container); stop it with `make dev-down`" in str(refused.value)


def test_an_engine_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Docker's command line nothing begins."""
    with pytest.raises(pulumi.RunError, match="docker is not on PATH; install Docker"):
        record(lambda: main(Engine(docker="/nowhere/docker")))


def test_an_engine_that_refuses_is_said() -> None:
    """The last line of what Docker said, and what to check."""
    with pytest.raises(pulumi.RunError, match=r"the Docker engine refuses \(.*\); check `docker info`"):
        record(lambda: main(Engine(docker="false")))
