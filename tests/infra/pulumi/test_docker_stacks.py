"""The Docker stacks as recorded without CLI, engine or provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from infra.pulumi.docker import next_steps
from infra.pulumi.settings import ROOT, Deployment
from infra.topology import plan_of, read
from tests.infra.pulumi.docker_stacks import (
    CONTAINER,
    PASSWORDS,
    containers,
    differences,
    holder,
    in_clear,
    named,
    recorded,
    secret_uploads,
    shipped,
)
from tests.infra.pulumi.recorder import Resources, Secret, reveal, secrets_in

STACKS = ("dev", "prod")
each_stack = pytest.mark.parametrize("stack", STACKS)


@each_stack
def test_every_container_is_what_the_plan_says(stack: str) -> None:
    """Workload by workload, one sentence a difference."""
    found = list(differences(plan_of(read(stack)), shipped(stack)))
    assert not found, "\n".join(found)


@each_stack
def test_a_container_is_there_for_a_reason(stack: str) -> None:
    """What runs is in the plan, and what does not run holds the files of one that does."""
    names = {workload.name for workload in plan_of(read(stack)).workloads}
    for each in shipped(stack):
        if each.type == CONTAINER and each.inputs.get("start", True):
            assert each.parent_name in names
        elif each.type == CONTAINER:
            assert each.inputs["mustRun"] is False
            assert each.name.removesuffix("-files") in names, "a shipped pool has one container"


def network(inputs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Closed or not, and where its addresses come from."""
    pool = next(iter(inputs.get("ipamConfigs", ())), {})
    return inputs["internal"], pool.get("subnet"), pool.get("ipRange")


@each_stack
def test_volumes_and_networks_are_named_as_compose_names_them(stack: str) -> None:
    """Project, underscore, name; and a network has a way out where the plan says so."""
    plan = plan_of(read(stack))
    made = {each.inputs["name"]: each.inputs for each in shipped(stack) if "/volume:" in each.type}
    assert set(made) == {f"relier-{stack}_{mount.volume}" for mount in plan.volumes}
    networks = {each.inputs["name"]: network(each.inputs) for each in shipped(stack) if "/network:" in each.type}
    wanted = {f"relier-{stack}_{net.name}": (net.internal, net.subnet, net.free) for net in plan.networks}
    assert networks == wanted


@each_stack
def test_compose_takes_no_container_for_its_own(stack: str) -> None:
    """Whatever labels an image passes on: `docker compose down` of another project must not remove these."""
    for each in (each for each in shipped(stack) if each.type == CONTAINER):
        assert {"label": "com.docker.compose.project", "value": ""} in each.inputs["labels"], each.name


@each_stack
def test_every_image_is_kept_when_the_stack_goes(stack: str) -> None:
    """The engine's images belong to the machine."""
    images = [each.inputs for each in shipped(stack) if "RemoteImage" in each.type]
    assert {image["name"] for image in images} == {w.image for w in plan_of(read(stack)).workloads}
    assert all(image["keepLocally"] is True for image in images)


@each_stack
def test_every_resource_has_a_parent_of_ours(stack: str) -> None:
    """Only the base stands on the stack; whatever a provider makes stands in a component."""
    for each in shipped(stack):
        if each.type == "relier:docker:Base":
            assert each.parent_name == ""
        else:
            assert each.parent_name, f"{each.name} has no parent"
            assert each.custom is not each.type.startswith("relier:")


@each_stack
def test_logical_names_are_unique_in_their_type(stack: str) -> None:
    """Two resources of one name would be an error of Pulumi's at the first update."""
    urns = [each.urn for each in shipped(stack)]
    assert len(set(urns)) == len(urns)


def test_every_secret_is_marked() -> None:
    """Content of every file below /run/secrets."""
    found = secret_uploads(shipped("prod"))
    assert len(found) == sum(len(workload.secrets) for workload in plan_of(read("prod")).workloads)
    assert all(isinstance(content, Secret) for _, _, content in found)


def test_every_secret_is_the_one_that_was_set() -> None:
    """The Sentinels' password is not Redis's."""
    files = {(name, path): reveal(content) for name, path, content in secret_uploads(shipped("prod"))}
    assert files["worker-high-files", "/run/secrets/redis"] == PASSWORDS["redis_password"]
    assert files["worker-high-files", "/run/secrets/sentinel"] == PASSWORDS["sentinel_password"]
    assert files["relier-redis-master-files", "/run/secrets/replica"] == PASSWORDS["redis_password"]
    assert files["grafana-files", "/run/secrets/grafana"] == PASSWORDS["grafana_password"]


def test_no_password_stands_in_clear_anywhere() -> None:
    """Neither variable nor label nor argument."""
    for each in shipped("prod"):
        assert not in_clear(each.inputs, list(PASSWORDS.values())), f"{each.name} shows a password"


def test_the_development_tier_needs_no_password() -> None:
    """Nothing is marked where nothing is secret."""
    assert not secret_uploads(shipped("dev"))


@each_stack
def test_a_health_check_that_changes_replaces_its_container(stack: str) -> None:
    """pulumi-docker reports an edited check as updated and leaves the container as it was."""
    for workload in plan_of(read(stack)).workloads:
        for each in containers(shipped(stack), workload.name):
            assert "healthcheck" in each.request.replaceOnChanges
            assert each.request.deleteBeforeReplace


@each_stack
def test_what_others_wait_for_is_waited_for(stack: str) -> None:
    """A container with a check is awaited by the provider, unless what it waits for itself comes later."""
    plan = plan_of(read(stack))
    early = {need.name for workload in plan.workloads for need in workload.depends_on if need.condition == "started"}
    for workload in plan.workloads:
        for each in containers(shipped(stack), workload.name):
            wanted = workload.health is not None and workload.name not in early
            assert each.inputs.get("wait", False) is wanted, each.name


@each_stack
def test_a_workload_comes_after_what_it_depends_on(stack: str) -> None:
    """Dependencies of the plan are dependencies of the resources."""
    for workload in plan_of(read(stack)).workloads:
        for each in containers(shipped(stack), workload.name):
            before = {urn.rpartition("::")[2] for urn in each.depends_on}
            assert {f"{need.name}-1" for need in workload.depends_on} <= before, each.name


def test_a_pool_is_updated_one_after_another() -> None:
    """The second worker waits for the first, so that an update never takes both."""
    made = recorded("dev", overrides={"workers": {"worker-high": {"replicas": 3}}})
    for place in (2, 3):
        urns = named(made, f"worker-high-{place}").depends_on
        assert any(urn.endswith(f"::worker-high-{place - 1}") for urn in urns)


def larger(pool: str) -> Resources:
    """Production with three containers in a pool."""
    return recorded("prod", overrides={"workers": {pool: {"replicas": 3}}})


def test_the_files_of_a_pool_are_updated_one_after_another() -> None:
    """Each worker has a holder of its own, which comes after the worker before: a new password takes one at a time."""
    made = larger("worker-high")
    holders = ["worker-high-files", "worker-high-2-files", "worker-high-3-files"]
    taken = [holder(named(made, f"worker-high-{place}"), made) for place in (1, 2, 3)]
    assert [each.name for each in taken if each] == holders
    for place in (2, 3):
        before = {urn.rpartition("::")[2] for urn in named(made, holders[place - 1]).depends_on}
        assert f"worker-high-{place - 1}" in before


def test_a_larger_pool_has_its_files_in_every_container() -> None:
    """And nothing that any other container is given depends on how many there are."""
    plan, made = plan_of(read("prod")), larger("worker-high")
    pool = replace(plan["worker-high"], replicas=3)
    others = (each if each.name != pool.name else pool for each in plan.workloads)
    assert not list(differences(replace(plan, workloads=tuple(others)), made))
    before = {each.urn: each.inputs for each in shipped("prod")}
    assert all(each.inputs == before[each.urn] for each in made if each.urn in before)


def test_a_larger_pool_changes_nothing_else() -> None:
    """One more container, and the inputs of all others as they were."""
    before = {each.urn: each.inputs for each in shipped("dev")}
    made = recorded("dev", overrides={"workers": {"worker-recovery": {"replicas": 2}}})
    assert {each.name for each in made if each.urn not in before} == {"worker-recovery-2"}
    assert all(each.inputs == before[each.urn] for each in made if each.urn in before)


def test_a_rotated_password_changes_the_files_that_hold_it() -> None:
    """Redis's own password is nothing to the Sentinels."""
    before = {each.urn: each.inputs for each in shipped("prod")}
    made = recorded("prod", secrets={**PASSWORDS, "redis_password": "another-one"})
    changed = {each.name.removesuffix("-files") for each in made if each.inputs != before[each.urn]}
    plan = plan_of(read("prod"))
    assert changed == {
        workload.name
        for workload in plan.workloads
        if any(mount.reference == "env:REDIS_PASSWORD" for mount in workload.secrets)
    }


def test_what_the_topology_changes_reaches_redis() -> None:
    """The overlay is rendered from the configuration, not read from the repository."""
    made = recorded("dev", overrides={"redis": {"maxmemory": "256mb"}})
    files = {upload["file"]: upload["content"] for upload in named(made, "redis-files").inputs["uploads"]}
    assert "maxmemory 256mb\n" in files["/etc/relier/overlay.conf"]


def test_files_are_uploaded_as_they_are_in_the_repository() -> None:
    """Readable by all, writable by none, and a script stays a script."""
    files = {upload["file"]: upload for upload in named(shipped("prod"), "relier-sentinel-1-files").inputs["uploads"]}
    script = files["/etc/relier/entrypoint"]
    assert script["content"] == (ROOT / "scripts/redis/entrypoint").read_text()
    assert script["permissions"] == "0555"
    assert files["/run/secrets/sentinel"]["permissions"] == "0444"


def test_folders_of_files_are_taken_over_read_only() -> None:
    """The process cannot write what it was given."""
    worker = named(shipped("prod"), "worker-high-1")
    assert {"fromContainer": "worker-high-files-id:ro"} in worker.inputs["volumes"]
    held = holder(worker, shipped("prod"))
    assert held is not None
    assert held.inputs["volumes"] == [{"containerPath": "/run/secrets"}]


@each_stack
def test_nothing_but_the_loopback_is_published(stack: str) -> None:
    """The plan's ports and no other."""
    ports = [port for each in shipped(stack) for port in each.inputs.get("ports", ())]
    assert ports
    assert {port["ip"] for port in ports} == {"127.0.0.1"}


@each_stack
def test_a_label_never_costs_a_volume_its_data(stack: str) -> None:
    """Docker cannot change one, so the provider would replace the volume once the stack is renamed."""
    volumes = [each for each in shipped(stack) if "/volume:" in each.type]
    assert volumes
    assert all(list(each.request.ignoreChanges) == ["labels"] for each in volumes)
    assert not any(each.request.ignoreChanges for each in shipped(stack) if each not in volumes)


def test_a_protected_stack_keeps_its_volumes() -> None:
    """`pulumi destroy` refuses to take data that was said to stay."""
    made = recorded("dev", docker={"protect": True})
    assert all(each.request.protect for each in made if "/volume:" in each.type)
    assert not any(each.request.protect for each in made if each.type == CONTAINER)


def test_an_unprotected_stack_can_be_destroyed() -> None:
    """Nothing is protected unless it was said."""
    assert not any(each.request.protect for each in shipped("prod"))


@each_stack
def test_every_component_registers_its_outputs(stack: str) -> None:
    """Pulumi takes a component for done only then, and shows what it made."""
    made = shipped(stack)
    assert made.components
    silent = [each.name for each in made.components if not made.outputs.get(each.urn)]
    assert not silent


def test_no_output_is_or_holds_a_password() -> None:
    """Neither of the stack nor of a component: `pulumi stack output` prints them."""
    made = shipped("prod")
    for urn, said in made.outputs.items():
        assert not secrets_in(said), f"{urn} has a secret output"
        assert not in_clear(said, list(PASSWORDS.values())), f"{urn} shows a password"


@each_stack
def test_the_stack_says_what_is_there(stack: str) -> None:
    """Project, containers and addresses that are really there, and the next steps."""
    made, plan = shipped(stack), plan_of(read(stack))
    said = made.exports
    running = {each.inputs["name"] for w in plan.workloads for each in containers(made, w.name)}
    assert (said["project"], set(said["containers"])) == (f"relier-{stack}", running)
    ports = {w.name: port.published for w in plan.workloads for port in w.ports if port.published}
    assert {name: address.partition("://")[2] for name, address in said["published"].items()} == ports
    assert said["next"][-1] == f"prove it: make conformance TIER={stack}"


@each_stack
def test_the_outputs_say_what_to_do_next(stack: str) -> None:
    """Commands with the names that are really there."""
    topology = read(stack)
    deployment = Deployment(stack, topology, plan_of(topology), {})
    steps = "\n".join(next_steps(deployment, {"redis": "127.0.0.1:6379"} if stack == "dev" else {}))
    assert f"docker exec relier-{stack}-worker-high-1 rl doctor" in steps
    assert f"make conformance TIER={stack}" in steps
    assert ("RELIER_REDIS_URL=redis://127.0.0.1:6379/0" in steps) is (stack == "dev")
