"""The master dies, or freezes, under load."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from harness.load import Load, Verdict, verdict
from tests.infra.conformance.adapters.base import Instance, Unable
from tests.infra.conformance.deployment import Deployment, all_hold, eventually

AFTER = 6.0
GONE, FROZEN = 20.0, 20.0
LEAST = 200
BACK = 120.0


@pytest.fixture
def before(deployment: Deployment, redis_of_ours: None) -> Verdict:
    """The counters of a deployment that has worked before."""
    return verdict(deployment.adapter.command(deployment.producer(), []), [])


@pytest.fixture
def load(deployment: Deployment, before: Verdict, request: pytest.FixtureRequest) -> Iterator[Load]:
    """Pushes from inside the deployment, stopped whatever happens."""
    prefix = deployment.adapter.command(deployment.producer(), [])
    made = Load(prefix, rate=request.config.getoption("--rate"), seconds=0.01)
    try:
        yield made.start()
    finally:
        made.stop()


def incarnations(deployment: Deployment) -> dict[str, str]:
    """Each application process, by when it was started."""
    deployment.forget()
    return {instance.name: deployment.facts(instance).incarnation for instance in deployment.app}


def disturbed(
    deployment: Deployment, load: Load, harm: Callable[[Instance], None], mend: Callable[[Instance], None], away: float
) -> str:
    """Do the harm to whoever leads, and undo it after a while. Without Sentinel nobody else can lead meanwhile."""
    place = deployment.master()
    victim = deployment.at(place)
    eventually(lambda: len(load.acknowledged) >= LEAST, BACK, f"{LEAST} pushes are acknowledged before the harm")
    since, acknowledged = time.time(), len(load.acknowledged)
    harm(victim)
    try:
        if deployment.topology.sentinel:
            resumed = lambda: len(load.acknowledged) > acknowledged + LEAST  # noqa: E731
            eventually(resumed, BACK, f"{place}: pushes go on without it")
            time.sleep(max(0.0, away - (time.time() - since)))
    finally:
        mend(victim)
    eventually(lambda: len(load.acknowledged) > acknowledged + LEAST, BACK, f"{place}: pushes go on after it")
    time.sleep(AFTER)
    print(f"\n{place}: pushes resumed {load.gap(since):.1f} s after it was gone.")
    return place


def judged(deployment: Deployment, before: Verdict, after: Verdict, exits: dict[str, str]) -> Iterator[str]:
    """Nothing lost, nothing twice, nobody of the application ended."""
    print(f"{after.acknowledged} acknowledged, {after.committed} committed, {len(after.lost)} lost.")
    if after.acknowledged < LEAST:
        yield f"only {after.acknowledged} pushes were acknowledged, which proves nothing; at least {LEAST} are needed."
    if after.lost:
        yield f"{len(after.lost)} of {after.acknowledged} acknowledged tasks have no result, like {after.lost[0]}."
    if twice := (after.successes - after.results) - (before.successes - before.results):
        yield f"{abs(twice)} tasks were committed {'twice' if twice > 0 else 'without a count'}."
    now = incarnations(deployment)
    for name, started in exits.items():
        if now.get(name) != started:
            yield f"{name}: it did not wait for Redis but ended ({started} before, {now.get(name, 'gone')} now)."


def settled(deployment: Deployment) -> None:
    """One master, every other node its replica, every Sentinel content."""
    from tests.infra.conformance import redis_rules

    def whole() -> bool:
        deployment.forget()
        trouble = list(redis_rules.roles(deployment.topology, deployment.infos))
        for name, seen in deployment.survey["sentinels"].items():
            trouble += [*redis_rules.watch(name, deployment.topology, seen), *redis_rules.health(name, seen)]
        if trouble:
            raise RuntimeError(trouble[0])
        return True

    eventually(whole, BACK, "one master with all its replicas", every=2)


@pytest.mark.timeout(600)
def test_a_killed_master_loses_nothing_that_was_acknowledged(
    deployment: Deployment, before: Verdict, load: Load
) -> None:
    adapter, exits = deployment.adapter, incarnations(deployment)
    place = disturbed(deployment, load, adapter.kill, adapter.start, GONE)
    load.stop()
    settled(deployment)
    after = load.verdict()
    all_hold(judged(deployment, before, after, exits))
    if deployment.topology.sentinel and adapter.stays_down and deployment.master() == place:
        all_hold([f"{place}: it leads again though it was away for {GONE:g} s; a replica must have been promoted."])


@pytest.mark.timeout(600)
def test_a_frozen_master_that_wakes_loses_nothing_and_follows(
    deployment: Deployment, before: Verdict, load: Load
) -> None:
    if not deployment.topology.sentinel:
        pytest.skip("the plan has no Sentinel, so nobody takes over from a master that sleeps")
    adapter, exits = deployment.adapter, incarnations(deployment)
    try:
        place = disturbed(deployment, load, adapter.freeze, adapter.thaw, FROZEN)
    except Unable as reason:
        pytest.skip(str(reason))
    load.stop()
    settled(deployment)
    after = load.verdict()
    all_hold(judged(deployment, before, after, exits))
    if deployment.master() == place:
        all_hold([f"{place}: it leads again after its sleep; a replica must have been promoted."])
