"""Each process as it runs, held to the plan."""

from __future__ import annotations

import pytest

from infra.topology.workload import Workload
from tests.infra.conformance import rules
from tests.infra.conformance.deployment import Deployment, all_hold


def held(deployment: Deployment, workload: Workload, rule: rules.Rule) -> None:
    """A rule for every copy of a workload."""
    found = deployment.instances(workload)
    if not found:
        pytest.skip(
            deployment.absent_for_a_reason(workload) or f"{workload.name} does not run; see its number of copies"
        )
    all_hold(sentence for instance in found for sentence in rule(workload, instance, deployment.facts(instance)))


def test_as_many_copies_run_as_planned(deployment: Deployment, workload: Workload) -> None:
    found = deployment.instances(workload)
    if not found and (reason := deployment.absent_for_a_reason(workload)):
        pytest.skip(reason)
    if len(found) != workload.replicas:
        copies = ", ".join(instance.name for instance in found) or "none"
        all_hold([f"{workload.name}: {len(found)} run ({copies}), the plan says {workload.replicas}."])


def test_nothing_runs_that_is_not_planned(deployment: Deployment) -> None:
    all_hold(f"{stranger}, the plan knows nothing of it." for stranger in deployment.adapter.strangers())


def test_exactly_one_resurrector_runs(deployment: Deployment) -> None:
    """By its processes, wherever they are."""
    copies = {
        (instance.machine or instance.name, process.pid): f"{instance} as process {process.pid}"
        for instance in deployment.app
        for process in deployment.processes(instance)
        if "run-resurrector" in process.argv and not process.argv[0].endswith(("init", "tini"))
    }
    if len(copies) != 1:
        all_hold([f"resurrector: {len(copies)} run ({', '.join(copies.values()) or 'none'}), the plan says one."])


def test_it_runs_the_planned_image(deployment: Deployment, workload: Workload) -> None:
    held(deployment, workload, rules.image)


def test_it_runs_as_the_planned_user(deployment: Deployment, workload: Workload) -> None:
    held(deployment, workload, rules.user)


def test_none_of_its_processes_is_roots(deployment: Deployment, workload: Workload) -> None:
    """The user of a container's description is not yet the user of its processes."""
    inside = deployment.inside(workload)
    if not inside:
        pytest.skip(f"{workload.name} has no shell, or does not run now")
    mine = deployment.adapter.own_processes
    all_hold(
        f"{instance}: process {process.pid} ({process.argv[0]}) runs as root, the plan says {workload.user}."
        for instance in inside
        for process in mine(instance, deployment.processes(instance))
        if process.uid == 0
    )


def test_its_memory_is_limited_as_planned(deployment: Deployment, workload: Workload) -> None:
    held(deployment, workload, rules.memory)


def test_it_was_started_by_the_planned_command(deployment: Deployment, workload: Workload) -> None:
    held(deployment, workload, rules.argv)


def test_it_has_the_planned_variables_and_no_others_of_ours(deployment: Deployment, workload: Workload) -> None:
    held(deployment, workload, rules.env)


def test_its_secrets_files_and_volumes_are_mounted_as_planned(deployment: Deployment, workload: Workload) -> None:
    held(deployment, workload, rules.mounts)


def test_its_files_are_those_of_the_project(deployment: Deployment, workload: Workload) -> None:
    inside = deployment.inside(workload)
    if not inside or not workload.files:
        pytest.skip(f"{workload.name} has no files of the project that could be read")
    all_hold(s for instance in inside for s in deployment.adapter.foreign_files(instance, workload))


def test_its_root_file_system_is_read_only_as_planned(deployment: Deployment, workload: Workload) -> None:
    held(deployment, workload, rules.read_only_root)


def test_it_restarts_as_planned(deployment: Deployment, workload: Workload) -> None:
    held(deployment, workload, rules.restart)


def test_a_stop_leaves_it_the_planned_time(deployment: Deployment, workload: Workload) -> None:
    held(deployment, workload, rules.grace)


def test_its_ports_are_published_as_planned_and_on_the_loopback_only(
    deployment: Deployment, workload: Workload
) -> None:
    held(deployment, workload, rules.published)


def test_it_is_on_the_planned_networks_only(deployment: Deployment, workload: Workload) -> None:
    held(deployment, workload, rules.networks)


def test_it_knows_every_node_by_an_address_that_outlives_it(deployment: Deployment, workload: Workload) -> None:
    held(deployment, workload, rules.addresses)


def test_it_has_no_privileges(deployment: Deployment, workload: Workload) -> None:
    held(deployment, workload, rules.privileges)


def test_its_checks_are_the_planned_ones(deployment: Deployment, workload: Workload) -> None:
    held(deployment, workload, rules.checks)


def test_its_probes_pass(deployment: Deployment, workload: Workload) -> None:
    """Run here and now, inside."""
    inside = deployment.inside(workload)
    probes = {kind: probe for kind in ("live", "ready", "start") if (probe := getattr(workload, kind))}
    if not inside or not probes:
        pytest.skip(f"{workload.name} has no probe that could be run")
    for instance in inside:
        for kind, probe in probes.items():
            answer = deployment.run(instance, *probe.command, timeout=30)
            text = answer.text.splitlines()[-1:] or ["it says nothing"]
            all_hold([f"{instance}: its {kind} probe ends with {answer.code}: {text[0]}"] if answer.code else [])


def test_it_is_healthy(deployment: Deployment, workload: Workload) -> None:
    held(deployment, workload, rules.health)
