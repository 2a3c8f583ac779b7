"""The rules for Redis, Sentinels, users and keys, held and broken."""

from __future__ import annotations

from typing import Any

import pytest

from infra.topology import environment, read
from tests.infra.conformance import acl, redis_rules
from tests.infra.conformance.keyspace import Key, missing
from tests.infra.conformance.test_secrets import visible

TOPOLOGY = read("prod")
NODES = environment.redis_nodes(TOPOLOGY).split(",")
SENTINELS = environment.sentinel_nodes(TOPOLOGY).split(",")
WANTED = redis_rules.expected(TOPOLOGY, "prod")


def config() -> dict[str, str]:
    """CONFIG GET * of a node that is as planned, in Redis' own words."""
    limits = {"normal": "0 0 0", "slave": "268435456 67108864 60", "pubsub": "33554432 8388608 60"}
    plain = {name: value for name, value in WANTED.items() if not name.startswith("client-output-buffer-limit")}
    return plain | {"client-output-buffer-limit": " ".join(f"{kind} {limit}" for kind, limit in limits.items())}


@pytest.mark.parametrize("name", WANTED)
def test_a_setting_that_is_as_planned_is_held_and_another_is_named(name: str) -> None:
    assert list(redis_rules.setting("node:1", name, WANTED[name], config())) == []
    odd = config() | {name: "other"} if " " not in name else config() | {name.split()[0]: "normal 1 2 3"}
    found = list(redis_rules.setting("node:1", name, WANTED[name], odd))
    if name != "client-output-buffer-limit normal" and " " in name:
        assert "Redis has no setting" in found[0]
    else:
        assert found[0].startswith(f"node:1: {name} is ")


def test_the_settings_that_the_promise_needs_are_among_them() -> None:
    assert WANTED["maxmemory"] == str(2 * 1024**3)
    assert WANTED["maxmemory-policy"] == "noeviction"
    assert WANTED["save"] == "3600 1 300 100 60 10000"
    assert (WANTED["appendonly"], WANTED["min-replicas-to-write"]) == ("yes", "1")


def infos() -> dict[str, dict[str, Any]]:
    host, _, port = NODES[0].rpartition(":")
    replica = {"role": "slave", "master_host": host, "master_port": int(port), "master_link_status": "up"}
    return {node: dict(replica) for node in NODES} | {NODES[0]: {"role": "master", "connected_slaves": 2}}


def changed(node: str, **values: Any) -> dict[str, dict[str, Any]]:
    return infos() | {node: infos()[node] | values}


@pytest.mark.parametrize(
    ("seen", "sentence"),
    [
        (changed(NODES[1], role="master"), f"{NODES[0]}, {NODES[1]} leads, the plan says exactly one master"),
        (changed(NODES[0], role="slave"), "nobody leads"),
        (changed(NODES[1], master_link_status="down"), f"{NODES[1]}: its link to {NODES[0]} is down"),
        (changed(NODES[2], master_host="10.0.0.9"), f"it follows 10.0.0.9:6379, but the master is {NODES[0]}"),
        (changed(NODES[0], connected_slaves=1), "it has 1 replicas, the plan says 2"),
    ],
)
def test_roles_are_held_and_broken(seen: dict[str, dict[str, Any]], sentence: str) -> None:
    assert list(redis_rules.roles(TOPOLOGY, infos())) == []
    assert any(sentence in found for found in redis_rules.roles(TOPOLOGY, seen))


def row(place: str, flags: str) -> dict[str, str]:
    host, _, port = place.rpartition(":")
    return {"ip": host, "port": port, "flags": flags}


def sentinel(**master: str) -> dict[str, Any]:
    counted = {"quorum": "2", "down-after-milliseconds": "5000", "failover-timeout": "15000", "parallel-syncs": "1"}
    counted |= {"num-other-sentinels": "2", "num-slaves": "2"}
    return {
        "master": row(NODES[0], "master") | counted | master,
        "replicas": [row(node, "slave") for node in NODES[1:]],
        "sentinels": [row(node, "sentinel") for node in SENTINELS[1:]],
        "quorum": "OK 3 usable Sentinels.",
    }


@pytest.mark.parametrize("key", sorted(set(sentinel()["master"]) - {"ip", "port"}))
def test_what_a_sentinel_counts_is_held_and_broken(key: str) -> None:
    assert list(redis_rules.watch(SENTINELS[0], TOPOLOGY, sentinel())) == []
    (sentence,) = redis_rules.watch(SENTINELS[0], TOPOLOGY, sentinel(**{key: "7"}))
    assert sentence.startswith(f"{SENTINELS[0]}: {key} of relier-master is 7, the plan says ")


def test_a_sentinel_that_knows_an_address_instead_of_a_name_is_found() -> None:
    assert list(redis_rules.names(SENTINELS[0], TOPOLOGY, sentinel())) == []
    found = list(redis_rules.names(SENTINELS[0], TOPOLOGY, sentinel(ip="10.0.0.2")))
    assert any("knows a data node 10.0.0.2:6379" in sentence for sentence in found)
    assert any(f"does not know the data node {NODES[0]}" in sentence for sentence in found)


def test_a_sentinel_that_holds_somebody_for_dead_is_found() -> None:
    assert list(redis_rules.health(SENTINELS[0], sentinel())) == []
    seen = sentinel() | {"replicas": [row(NODES[1], "slave,s_down")], "quorum": "NOQUORUM 1 usable"}
    dead, quorum = redis_rules.health(SENTINELS[0], seen)
    assert f"holds {NODES[1]} for s_down" in dead
    assert "could not fail over: NOQUORUM" in quorum


HASHES = dict.fromkeys(("app", "sentinel", "replica", "backup", "probe"), "0" * 64)
USERS = acl.template(HASHES, (8, 0))


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (USERS | {"intruder": ["on", "nopass", "~*", "+@all"]}, "there is a user intruder (on nopass ~* +@all)"),
        ({name: rules for name, rules in USERS.items() if name != "probe"}, "there is no user probe"),
        (USERS | {"app": [*USERS["app"], "+flushall"]}, "user app has"),
        (USERS | {"app": ["on", f"#{'1' * 64}", *USERS["app"][2:]]}, "user app has another password than the secret"),
        (USERS | {"default": ["on", "nopass"]}, "user default has “on nopass”"),
    ],
)
def test_users_are_held_to_the_template(found: dict[str, list[str]], sentence: str) -> None:
    assert list(acl.differences("node:1", USERS, USERS)) == []
    (said,) = acl.differences("node:1", found, USERS)
    assert sentence in said
    assert "0000" not in said


def test_an_older_redis_has_users_without_what_it_does_not_know() -> None:
    assert "+client|setinfo" in USERS["probe"]
    assert "+client|setinfo" not in acl.template(HASHES, (7, 0))["probe"]


def test_a_stranger_that_is_let_in_is_found() -> None:
    told = {"without a password": "{'error': 'AuthenticationError: Authentication required.'}"}
    assert list(acl.let_in("node:1", told)) == []
    (said,) = acl.let_in("node:1", {"without a password": "True"})
    assert "a client without a password is told “True”" in said


def test_a_secret_is_found_in_any_text_and_never_repeated() -> None:
    secrets = {"redis": 'with"quote'}
    assert list(visible(secrets, 'redis-cli -a with"quote ping')) == ["redis"]
    assert list(visible(secrets, '{"Env": ["X=with\\"quote"]}')) == ["redis"]
    assert list(visible(secrets, "nothing")) == []


def test_lost_and_changed_keys_are_counted_by_class() -> None:
    now = 1000.0
    before = {
        ("rl:phoenix", "a"): Key("a", "hash", 0, "1"),
        ("rl:phoenix", "b"): Key("b", "hash", 0, "2"),
        ("rl:hb", "c"): Key("c", "string", int(now * 1000) - 1, "3"),
    }
    assert list(missing(before, before, now)) == []
    after = {("rl:phoenix", "a"): Key("a", "hash", 0, "9")}
    gone, changed = missing(before, after, now)
    assert gone == "1 of 2 keys of class rl:phoenix are gone; there are 1 now."
    assert changed == "1 of 2 keys of class rl:phoenix hold something else than before."
