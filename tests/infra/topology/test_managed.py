"""With a Redis that somebody else runs, only the application is ours."""

from __future__ import annotations

from typing import Any

import pytest

from infra.topology import emit
from infra.topology.plan import plan_of
from infra.topology.workload import Plan
from relier.settings import Settings
from tests.infra.topology.cases_managed import STACK
from tests.infra.topology.stacks import planned, sentences, topology


def changed(**changes: Any) -> Plan:
    return plan_of(topology(STACK, **changes))


def test_a_managed_redis_leaves_workers_and_the_resurrector_to_us() -> None:
    assert [workload.name for workload in planned(STACK).workloads] == ["worker", "worker-recovery", "resurrector"]
    assert planned(STACK)["worker"] == changed()["worker"]


def test_an_address_in_a_secret_is_a_file_as_the_password_is() -> None:
    for workload in planned(STACK).workloads:
        assert "RELIER_REDIS_URL" not in workload.env
        assert workload.env["RELIER_REDIS_URL_FILE"] == "/run/secrets/relier/redis_url"
        assert workload.env["RELIER_REDIS_PASSWORD_FILE"] == "/run/secrets/relier/redis"
        kept = {mount.name: mount.reference for mount in workload.secrets}
        assert kept == {"redis": "k8s:relier-redis/password", "redis_url": "k8s:relier-redis/url"}
    assert "redis_url_file" in Settings.model_fields


def test_an_address_that_is_written_down_is_a_plain_variable() -> None:
    worker = changed(**{"redis.managed.url": "rediss://r.example.org:6380/1", "redis.managed.username": "app"})[
        "worker"
    ]
    assert [mount.name for mount in worker.secrets] == ["redis"]
    assert worker.env["RELIER_REDIS_URL"] == "rediss://r.example.org:6380/1"
    assert worker.env["RELIER_REDIS_USERNAME"] == "app"


def test_an_authority_of_its_own_comes_as_a_file_and_is_a_setting() -> None:
    worker = changed(**{"redis.managed.ca": "k8s:relier-redis/ca"})["worker"]
    assert worker.env["RELIER_REDIS_TLS_CA_FILE"] == "/run/secrets/relier/redis_ca"
    assert {mount.name for mount in worker.secrets} == {"redis", "redis_url", "redis_ca"}
    assert "redis_tls_ca_file" in Settings.model_fields


def test_nothing_of_our_own_redis_is_written_for_a_managed_one() -> None:
    assert list(emit.files(topology(STACK), STACK)) == [emit.SCHEMA]


@pytest.mark.parametrize("name", ["RELIER_REDIS_TLS", "RELIER_REDIS_TLS_CA_FILE"])
def test_how_the_connection_is_encrypted_has_one_place(name: str) -> None:
    assert f"env.{name} is decided by the topology; write redis.managed." in sentences(STACK, **{f"env.{name}": "x"})[0]
