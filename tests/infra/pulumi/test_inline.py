"""The real Pulumi engine, without any provider: configuration, secrets and refusals."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pulumi
import pulumi_docker as docker
import pytest

from infra.pulumi import policy, settings
from infra.pulumi.program import main
from tests.infra.pulumi.docker_stacks import PASSWORDS, NobodyElse
from tests.infra.pulumi.live import Live, missing

LACKING = missing("pulumi")
pytestmark = [pytest.mark.providers, pytest.mark.timeout(300)]


class StandIn(pulumi.ComponentResource):
    """Of the provider's type, with inputs and options, and nobody who makes it: the engine compares it as well."""

    def __init__(self, kind: str, logical: str, /, opts: pulumi.ResourceOptions, **inputs: Any) -> None:
        super().__init__(kind, logical, inputs, opts)
        self.id = pulumi.Output.from_input(f"{logical}-id")
        self.name = pulumi.Output.from_input(inputs["name"])
        self.image_id = pulumi.Output.from_input(f"sha256:{logical}")


@pytest.fixture
def without_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole program, whose containers, networks, volumes and images are stand-ins."""
    for made in (docker.Container, docker.Network, docker.RemoteImage, docker.Volume):
        monkeypatch.setattr(docker, made.__name__, partial(StandIn, made.pulumi_type))


def keeps() -> None:
    """A program whose state holds every secret of a stack."""
    for name, value in settings.load(pulumi.get_stack()).secrets.items():
        pulumi.export(name, value)


def test_secrets_are_encrypted_in_configuration_and_state(tmp_path: Path) -> None:
    """Neither the stack's file nor its state shows a password, and the program still gets it."""
    live = Live(tmp_path, "prod", keeps)
    live.set(secrets=PASSWORDS)
    live.up()
    assert "ciphertext" in live.kept()
    assert not [name for name, password in PASSWORDS.items() if password in live.kept()]
    outputs = live.stack.outputs()
    assert outputs["redis"].secret
    assert outputs["redis"].value == PASSWORDS["redis_password"]


def test_a_second_update_finds_nothing_to_do(tmp_path: Path) -> None:
    """Secrets are encrypted anew each time, and that is no change."""
    live = Live(tmp_path, "prod", keeps)
    live.set(secrets=PASSWORDS)
    live.up()
    assert dict(live.stack.up().summary.resource_changes or {}) == {"same": 1}


@pytest.mark.usefixtures("without_provider")
def test_a_changed_pool_size_touches_exactly_that_pool(tmp_path: Path) -> None:
    """The engine makes what is new, leaves all else as it was, and takes the new away again."""
    live = Live(tmp_path, "prod", lambda: main(NobodyElse()))
    live.set(secrets=PASSWORDS)
    assert {"worker-recovery-1", "worker-recovery-files", "relier-redis-master-1"} <= live.up()["create"]
    more = {"worker-recovery-2", "worker-recovery-2-files"}
    live.set({"overrides": {"workers": {"worker-recovery": {"replicas": 2}}}})
    assert live.up().changed == more
    live.set({"overrides": {}})
    assert live.up().changed == more


@pytest.mark.usefixtures("without_provider")
def test_a_changed_pool_is_the_only_one_that_is_touched(tmp_path: Path) -> None:
    """Its limits are in its own inputs, and in nobody else's."""
    live = Live(tmp_path, "dev", lambda: main(NobodyElse()))
    live.up()
    live.set({"overrides": {"workers": {"worker-recovery": {"memory": "640mb"}}}})
    assert live.up().changed == {"worker-recovery-1"}


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"topolgy": "dev"}, "relier:topolgy is unknown; did you mean topology?"),
        ({"overrides": {"redis": {"port": 0}}}, "redis.port is 0; write 1 or more."),
        ({"redis_password": "in clear"}, "relier:redis_password stands in clear in the stack's file; replace it by"),
    ],
    ids=["a misspelt key", "a bad value", "a password in clear"],
)
def test_a_bad_configuration_fails_with_its_sentence(tmp_path: Path, config: dict[str, object], sentence: str) -> None:
    """The command fails, says why, and nothing is in the state but the stack itself."""
    live = Live(tmp_path, "dev", lambda: main(NobodyElse()))
    live.set(config)
    said = live.refusal()
    assert sentence in said
    assert "Traceback" not in said
    assert "docker:" not in live.kept()


def test_every_reason_is_said_in_one_run(tmp_path: Path) -> None:
    """Two passwords are missing, and both are named."""
    said = Live(tmp_path, "prod", lambda: main(NobodyElse())).refusal()
    assert "pulumi config set --secret redis_password" in said
    assert "pulumi config set --secret sentinel_password" in said


def test_a_broken_policy_fails_a_preview_with_its_sentence(tmp_path: Path) -> None:
    """No plugin of policies is there, and no provider is asked."""

    def program() -> None:
        policy.hold()
        docker.RemoteImage("redis", name="redis:latest")

    said = Live(tmp_path, "policy", program).refusal()
    assert "redis: the image redis:latest has the floating tag latest; name a version or a digest." in said
    assert "Traceback" not in said
