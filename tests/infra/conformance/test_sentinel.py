"""Sentinels: what each knows, and that they agree."""

from __future__ import annotations

from tests.infra.conformance import acl, redis_rules
from tests.infra.conformance.deployment import Deployment, all_hold


def test_it_has_the_planned_quorum_and_patience_and_counts_everybody(
    deployment: Deployment, sentinel_node: str
) -> None:
    seen = deployment.survey["sentinels"][sentinel_node]
    all_hold(redis_rules.watch(sentinel_node, deployment.topology, seen))


def test_it_knows_the_others_by_their_names(deployment: Deployment, sentinel_node: str) -> None:
    seen = deployment.survey["sentinels"][sentinel_node]
    all_hold(redis_rules.names(sentinel_node, deployment.topology, seen))


def test_it_holds_nobody_for_dead_and_could_fail_over(deployment: Deployment, sentinel_node: str) -> None:
    all_hold(redis_rules.health(sentinel_node, deployment.survey["sentinels"][sentinel_node]))


def test_it_names_the_master_that_leads(deployment: Deployment, sentinel_node: str) -> None:
    said = deployment.survey["sentinels"][sentinel_node]["master"]
    place, leads = (
        f"{said.get('ip')}:{said.get('port')}",
        [n for n, i in deployment.infos.items() if i.get("role") == "master"],
    )
    all_hold([f"{sentinel_node}: it says that {place} leads, but {', '.join(leads)} does."] if [place] != leads else [])


def test_strangers_are_refused_by_the_sentinel(deployment: Deployment, sentinel_node: str) -> None:
    all_hold(acl.let_in(sentinel_node, deployment.survey["sentinels"][sentinel_node]["refusals"]))
