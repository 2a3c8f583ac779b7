"""Each rule for a workload, held and broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from infra.topology import plan_of, read
from infra.topology.workload import Workload
from tests.infra.conformance import rules
from tests.infra.conformance.adapters.base import Facts, Mount
from tests.infra.conformance.selftest import planned

PLAN = plan_of(read("prod"))
HEALTH = (rules.restart, rules.grace, rules.checks, rules.health)
ROOM = (rules.mounts, rules.read_only_root, rules.published, rules.networks, rules.addresses, rules.privileges)
EVERY = (rules.image, rules.user, rules.memory, rules.argv, rules.env, *HEALTH, *ROOM)
RULES: dict[str, rules.Rule] = {rule.__name__: rule for rule in EVERY}
WORKER, REDIS, PROMETHEUS = PLAN["worker-high"], PLAN["relier-redis-master"], PLAN["prometheus"]
SOCKET = Mount("/var/run/docker.sock", "bind", "/var/run/docker.sock", True)


def said(workload: Workload, found: Facts) -> dict[str, list[str]]:
    """Rule → sentences, for the rules that have any."""
    told = {name: list(rule(workload, planned.instance(workload), found)) for name, rule in RULES.items()}
    return {name: sentences for name, sentences in told.items() if sentences}


@pytest.mark.parametrize("workload", PLAN.workloads, ids=lambda workload: workload.name)
def test_what_runs_as_planned_breaks_no_rule(workload: Workload) -> None:
    assert said(workload, planned.facts(workload)) == {}


def without(path: str) -> Callable[[Facts], Facts]:
    return lambda facts: replace(facts, mounts=tuple(m for m in facts.mounts or () if m.path != path))


def written(path: str, **change: Any) -> Callable[[Facts], Facts]:
    return lambda facts: replace(
        facts, mounts=tuple(replace(m, **change) if m.path == path else m for m in facts.mounts or ())
    )


def variable(**change: str | None) -> Callable[[Facts], Facts]:
    return lambda facts: replace(facts, env={k: v for k, v in {**facts.env, **change}.items() if v is not None})


def host(name: str, address: str) -> Callable[[Facts], Facts]:
    return lambda facts: replace(facts, hosts={**(facts.hosts or {}), name: address})


def check(**change: Any) -> Callable[[Facts], Facts]:
    return lambda facts: replace(facts, checks={"health": replace((facts.checks or {})["health"], **change)})


DATA, SECRET, CONF = "/data", "/run/secrets/redis", "/etc/relier/redis.conf"
BROKEN: list[tuple[str, Workload, Callable[[Facts], Facts], str, str]] = [
    ("image", WORKER, lambda f: replace(f, image="relier:0.9.0"), "relier:0.9.0", "relier:1.0.0"),
    ("user", WORKER, lambda f: replace(f, user="0:0"), "0:0", "10001:10001"),
    ("memory", WORKER, lambda f: replace(f, memory=1024**3), "1gb", "2gb"),
    ("memory", WORKER, lambda f: replace(f, memory=None), "not limited", "2gb"),
    ("argv", WORKER, lambda f: replace(f, argv=(*f.argv[:-1], "16")), "-c 16", "-c 8"),
    ("env", WORKER, variable(RELIER_HEARTBEAT_TTL="60"), "RELIER_HEARTBEAT_TTL is 60", "10"),
    ("env", WORKER, variable(RELIER_DURABILITY=None), "RELIER_DURABILITY is not set", "replicated"),
    ("env", WORKER, variable(RELIER_ACCEPT_UNSIGNED="true"), "RELIER_ACCEPT_UNSIGNED is set", "does not have it"),
    ("mounts", REDIS, without(DATA), "/data is not mounted", "relier_redis_master_data"),
    ("mounts", REDIS, written(DATA, source="other"), "the volume other", "relier_redis_master_data"),
    ("mounts", REDIS, written(DATA, kind="bind"), "/data is bind", "relier_redis_master_data"),
    ("mounts", REDIS, written(DATA, read_only=True), "is read-only", "writable"),
    ("mounts", REDIS, without(SECRET), "nothing is mounted at /run/secrets/redis", "a read-only file"),
    ("mounts", REDIS, written(SECRET, read_only=False), "can be written", "read-only"),
    ("mounts", REDIS, without(CONF), f"nothing is mounted at {CONF}", "a read-only file"),
    ("mounts", REDIS, without("/tmp"), "/tmp is no memory file system", "it is one"),
    ("mounts", REDIS, lambda f: replace(f, mounts=(*(f.mounts or ()), SOCKET)), "docker.sock", "does not have it"),
    ("read_only_root", WORKER, lambda f: replace(f, read_only_root=False), "writable", "read-only"),
    ("restart", WORKER, lambda f: replace(f, restart="no"), "no", "unless-stopped"),
    ("grace", WORKER, lambda f: replace(f, grace=10.0), "10s", "60s"),
    ("published", PROMETHEUS, lambda f: replace(f, published={9090: ("0.0.0.0:9090",)}), "0.0.0.0:9090", "127.0.0.1"),
    ("published", PROMETHEUS, lambda f: replace(f, published={}), "not published", "127.0.0.1:9090"),
    ("published", REDIS, lambda f: replace(f, published={6379: ("127.0.0.1:6379",)}), "127.0.0.1:6379", "nowhere"),
    ("networks", REDIS, lambda f: replace(f, networks=("data", "edge")), "data, edge", "data"),
    ("addresses", WORKER, lambda f: replace(f, hosts={}), "it knows relier-redis-master as nothing", "10.87.30.10"),
    ("addresses", WORKER, host("relier-sentinel-1", "10.87.30.9"), "relier-sentinel-1 as 10.87.30.9", "10.87.30.60"),
    ("addresses", WORKER, host("stranger", "10.0.0.1"), "stranger as 10.0.0.1", "nothing"),
    ("addresses", REDIS, lambda f: replace(f, address=None), "its address is None", "others know it as 10.87.30.10"),
    ("privileges", WORKER, lambda f: replace(f, privileges=("is privileged",)), "is privileged", "nobody"),
    ("checks", WORKER, lambda f: replace(f, checks={}), "missing", "rl probe ready"),
    ("checks", WORKER, check(command=("true",)), "“true”", "rl probe ready"),
    ("checks", WORKER, check(failures=99), "99", "3"),
    ("health", WORKER, lambda f: replace(f, health="unhealthy"), "unhealthy", "healthy"),
]


@pytest.mark.parametrize(("rule", "workload", "breaks", "is_", "says"), BROKEN, ids=[f"{b[0]}: {b[3]}" for b in BROKEN])
def test_a_broken_fact_breaks_its_rule_alone_in_a_sentence(
    rule: str, workload: Workload, breaks: Callable[[Facts], Facts], is_: str, says: str
) -> None:
    """The sentence names the workload, what is, and what the plan says."""
    told = said(workload, breaks(planned.facts(workload)))
    assert list(told) == [rule]
    assert any(f"{workload.name} (project-{workload.name}-1)" in s and is_ in s and says in s for s in told[rule]), told


def test_every_rule_is_broken_here() -> None:
    assert {broken[0] for broken in BROKEN} == set(RULES)


def test_what_a_backend_does_not_know_breaks_no_rule() -> None:
    unknown = Facts(image=WORKER.image, memory=WORKER.memory, argv=WORKER.argv, env=WORKER.env)
    assert said(WORKER, unknown) == {}
