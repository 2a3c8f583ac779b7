"""Configuration in, resources out: refused as a whole before the first resource, or held to every policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from infra.pulumi import policy, settings
from infra.pulumi.engine import Engine
from infra.pulumi.settings import Deployment
from infra.topology import Refused


def main(engine: Engine | None = None) -> None:
    """Stand up the stack that the configuration describes."""
    try:
        outputs = deploy(settings.load(pulumi.get_stack()), engine or Engine())
    except Refused as refusal:
        # RunError is shown as it is; anything else would come with a traceback.
        raise pulumi.RunError(str(refusal)) from None
    for name, value in outputs.items():
        pulumi.export(name, value)


def deploy(deployment: Deployment, engine: Engine) -> Mapping[str, pulumi.Input[Any]]:
    """Hand over to the tier. Only its own provider is imported."""
    policy.hold()
    if deployment.topology.tier == "k8s":
        from infra.pulumi import kubernetes

        return kubernetes.stand_up(deployment)
    from infra.pulumi import docker

    return docker.deploy(deployment, engine)
