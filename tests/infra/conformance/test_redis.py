"""Live Redis: settings, roles, and who is let in."""

from __future__ import annotations

import pytest

from infra.topology import environment
from tests.infra.conformance import acl, redis_rules
from tests.infra.conformance.adapters.base import Unable
from tests.infra.conformance.deployment import Deployment, all_hold


def test_this_setting_is_live_on_every_data_node(deployment: Deployment, redis_setting: str) -> None:
    wanted = redis_rules.expected(deployment.topology, deployment.stack)[redis_setting]
    nodes = deployment.survey["nodes"].items()
    all_hold(s for node, seen in nodes for s in redis_rules.setting(node, redis_setting, wanted, seen["config"]))


def test_the_node_announces_its_name(deployment: Deployment, data_node: str) -> None:
    config = deployment.survey["nodes"][data_node]["config"]
    all_hold(redis_rules.announced(data_node, deployment.topology, config))


@pytest.mark.usefixtures("redis_of_ours")
def test_one_master_leads_and_every_replica_is_linked_to_it(deployment: Deployment) -> None:
    all_hold(redis_rules.roles(deployment.topology, deployment.infos))


def test_what_the_node_writes_reaches_its_disk(deployment: Deployment, data_node: str) -> None:
    all_hold(redis_rules.writing(data_node, deployment.infos[data_node]))


def test_strangers_are_refused_by_the_data_node(deployment: Deployment, data_node: str) -> None:
    told = deployment.survey["nodes"][data_node]["refusals"]
    if not told:
        pytest.skip("the plan has no password for Redis")
    all_hold(acl.let_in(data_node, told))


def test_the_users_are_the_planned_ones_with_the_planned_rules(deployment: Deployment, data_node: str) -> None:
    if not deployment.topology.redis.acl:
        pytest.skip("the plan has no users for Redis")
    all_hold(acl.users(deployment, data_node))


def test_every_user_may_do_its_work_and_nothing_else(deployment: Deployment, data_node: str) -> None:
    if not deployment.topology.redis.acl:
        pytest.skip("the plan has no users for Redis")
    all_hold(acl.rights(deployment, data_node))


def test_redis_cannot_be_reached_from_where_nobody_needs_it(deployment: Deployment) -> None:
    if any(port.published for w in deployment.plan.of_kind("redis", "sentinel") for port in w.ports):
        pytest.skip("the plan publishes Redis on this machine")
    for kind in ("redis", "sentinel"):
        targets = deployment.of_kind(kind)
        if not targets:
            continue
        try:
            found = deployment.adapter.outsiders_reach(targets, deployment.plan.of_kind(kind)[0].ports[0].port)
        except Unable as reason:
            pytest.skip(str(reason))
        all_hold(
            f"{place} answers to a process outside the data network, the plan keeps {kind} there." for place in found
        )


@pytest.mark.usefixtures("redis_of_ours")
def test_the_plan_names_every_node_that_serves(deployment: Deployment) -> None:
    serving = {place for place, seen in deployment.survey["nodes"].items() if "error" not in seen["info"]}
    missing = set(environment.redis_nodes(deployment.topology).split(",")) - serving
    all_hold(f"{place}: it does not answer the application: {deployment.infos[place]['error']}" for place in missing)
