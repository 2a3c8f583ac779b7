"""Secrets are files. They stand on no command line, in no environment, description or log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import pytest

from infra.topology.workload import Workload
from tests.infra.conformance.adapters.base import Instance
from tests.infra.conformance.deployment import Deployment, all_hold

SHORTEST = 6


def visible(secrets: Mapping[str, str], text: str) -> Iterator[str]:
    """Names of the secrets whose value stands in a text, also as JSON would write it."""
    for name, value in secrets.items():
        if value in text or json.dumps(value)[1:-1] in text:
            yield name


def known(deployment: Deployment) -> Mapping[str, str]:
    if not deployment.secrets:
        pytest.skip("the plan has no secret")
    short = [name for name, value in deployment.secrets.items() if len(value) < SHORTEST]
    all_hold(
        f"the secret {name} has fewer than {SHORTEST} characters; nobody could tell whether it is seen."
        for name in short
    )
    return deployment.secrets


def inside(deployment: Deployment, workload: Workload) -> list[Instance]:
    found = deployment.inside(workload)
    if not found:
        pytest.skip(f"{workload.name} has no shell, or does not run now")
    return found


def test_its_secrets_are_files_that_it_reads_and_cannot_change(deployment: Deployment, workload: Workload) -> None:
    if not workload.secrets:
        pytest.skip(f"{workload.name} has no secret")

    def findings() -> Iterator[str]:
        for instance in inside(deployment, workload):
            for mount in workload.secrets:
                read = deployment.run(
                    instance, "sh", "-c", f"test -f {mount.path} && test -s {mount.path} && test -r {mount.path}"
                )
                if read.code:
                    yield f"{instance}: its secret {mount.name} is no file at {mount.path} that it can read."
                if deployment.run(instance, "sh", "-c", f"test -w {mount.path}").code == 0:
                    yield f"{instance}: it can change its secret {mount.name} at {mount.path}; mount it read-only."

    all_hold(findings())


def test_no_secret_stands_on_a_command_line(deployment: Deployment, workload: Workload) -> None:
    secrets = known(deployment)
    all_hold(
        f"{instance}: the secret {name} stands on the command line of process {process.pid} ({process.argv[0]})."
        for instance in inside(deployment, workload)
        for process in deployment.processes(instance)
        for name in visible(secrets, " ".join(process.argv))
    )


def test_no_secret_stands_in_the_environment_of_a_process(deployment: Deployment, workload: Workload) -> None:
    secrets = known(deployment)
    all_hold(
        f"{instance}: the secret {name} stands in the environment of process {process.pid} ({process.argv[0]})."
        for instance in inside(deployment, workload)
        for process in deployment.processes(instance)
        for name in visible(secrets, process.environ)
    )


def test_no_secret_is_shown_to_whoever_may_look_at_it(deployment: Deployment, workload: Workload) -> None:
    secrets = known(deployment)
    all_hold(
        f"{instance}: {deployment.adapter.backend} shows the secret {name} to whoever describes it."
        for instance in deployment.instances(workload)
        for name in visible(secrets, deployment.adapter.described(instance))
    )


def test_no_secret_is_in_its_logs(deployment: Deployment, workload: Workload) -> None:
    secrets = known(deployment)
    all_hold(
        f"{instance}: the secret {name} stands in its log."
        for instance in deployment.instances(workload)
        for name in visible(secrets, deployment.adapter.logs(instance))
    )


def test_networks_without_a_way_out_have_none(deployment: Deployment) -> None:
    found = deployment.adapter.internal_networks()
    all_hold(
        f"the network {network.name} has {'no' if found[network.name] else 'a'} way out, the plan says otherwise."
        for network in deployment.plan.networks
        if network.name in found and found[network.name] != network.internal
    )
