"""What cannot be is refused in a sentence, and then nothing at all has been created."""

from __future__ import annotations

from typing import Any

import pytest

from tests.infra.kubernetes.stacks import PASSWORDS, refused

KEDA = {"most": 8, "prometheus": "http://prometheus:9090"}
BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "an unknown option": (
        "k8s",
        {"kubernetes": {"name_space": "x"}},
        "relier:kubernetes.name_space is unknown; known here: namespace",
    ),
    "a namespace in capitals": (
        "k8s",
        {"kubernetes": {"namespace": "Relier"}},
        "relier:kubernetes.namespace does not fit",
    ),
    "a namespace of others": (
        "k8s",
        {"kubernetes": {"namespace": "kube-system"}},
        "relier:kubernetes.namespace is kube-system, which belongs to others; write one of its own such as relier, or",
    ),
    "the namespace of everybody": (
        "k8s",
        {"kubernetes": {"namespace": "default"}},
        "relier:kubernetes.namespace is default",
    ),
    "a producer who is nobody": (
        "k8s",
        {"kubernetes": {"producers": [{}]}},
        "relier:kubernetes.producers[0] names nobody; write a namespace, labels, or both.",
    ),
    "a watcher who is nobody": (
        "k8s",
        {"kubernetes": {"monitoring": [{}]}},
        "relier:kubernetes.monitoring[0] names nobody;",
    ),
    "producers of a Redis that is not ours": (
        "k8s-managed",
        {"kubernetes": {"producers": [{"namespace": "shop"}]}},
        "relier:kubernetes.producers is given, but a managed Redis has walls of its own; remove it.",
    ),
    "a monitor of nothing": (
        "k8s-managed",
        {"kubernetes": {"service_monitor": True}},
        "relier:kubernetes.service_monitor is given, but nothing exports; name telemetry.redis_exporter.",
    ),
    "a monitor that the walls shut out": (
        "k8s",
        {"kubernetes": {"service_monitor": True}},
        "relier:kubernetes.service_monitor is true, but the network policies let nobody in who reads the figures; "
        "write relier:kubernetes.monitoring: [{namespace: monitoring}], or network_policies: false.",
    ),
    "no CPU at all": ("k8s", {"kubernetes": {"cpu_request": 0}}, "relier:kubernetes.cpu_request does not fit"),
    "a scaler of no pool": (
        "k8s",
        {"kubernetes": {"autoscale": {"workers": KEDA}}},
        "relier:kubernetes.autoscale.workers is no pool; write one of worker, worker-recovery.",
    ),
    "a scaler without an end": (
        "k8s",
        {"kubernetes": {"autoscale": {"worker": {"prometheus": "http://p:9090"}}}},
        "relier:kubernetes.autoscale.worker.most does not fit",
    ),
    "a scaler to nothing": (
        "k8s",
        {"kubernetes": {"autoscale": {"worker": {**KEDA, "least": 0}}}},
        "relier:kubernetes.autoscale.worker.least does not fit",
    ),
    "a scaler upside down": (
        "k8s",
        {"kubernetes": {"autoscale": {"worker": {**KEDA, "least": 9}}}},
        "relier:kubernetes.autoscale.worker.most is 8, below least (9); write 9 or more.",
    ),
    "KEDA with nobody to ask": (
        "k8s",
        {"kubernetes": {"autoscale": {"worker": {"most": 8}}}},
        "relier:kubernetes.autoscale.worker.prometheus is missing, and KEDA asks it for the load; write http://prometheus",
    ),
    "an HPA with an address it ignores": (
        "k8s",
        {"kubernetes": {"autoscale": {"worker": {**KEDA, "by": "hpa"}}}},
        "relier:kubernetes.autoscale.worker.prometheus is given, but an HPA asks the cluster's metrics adapter;",
    ),
    "an unknown scaler": (
        "k8s",
        {"kubernetes": {"autoscale": {"worker": {**KEDA, "by": "vpa"}}}},
        "relier:kubernetes.autoscale.worker.by does not fit",
    ),
    "more workers than connections": (
        "k8s",
        {"kubernetes": {"autoscale": {"worker": {**KEDA, "most": 400}}}},
        "relier:kubernetes.autoscale.worker.most is 400, so 12168 connections may be wanted of redis.maxclients 10000;",
    ),
    "a scaler that sees nothing": (
        "k8s",
        {
            "kubernetes": {"autoscale": {"worker": KEDA}},
            "overrides": {"telemetry": {"enabled": False, "endpoint": None}},
        },
        "relier:kubernetes.autoscale.worker needs telemetry.enabled, for the load is a figure of the resurrector;",
    ),
    "a backup that cron cannot say": (
        "k8s",
        {"overrides": {"backup": {"every": "50m"}}},
        "backup.every is 50m, which a CronJob cannot say; write a part of an hour or of a day (15m, 30m, 1h, 6h), 1d",
    ),
    "a rehearsal that cron cannot say": (
        "k8s",
        {"overrides": {"drill": {"every": "3d"}}},
        "drill.every is 3d, which a CronJob cannot say;",
    ),
    "pods with names of their own": (
        "k8s",
        {"overrides": {"redis": {"nodes": ["one", "two", "three"]}}},
        "redis.nodes is one, two, three, but pods are numbered from 0; write one-0, one-1, one-2.",
    ),
    "a floating image": (
        "k8s",
        {"overrides": {"app": {"image": "relier:latest"}}},
        "app.image is relier:latest, which floats",
    ),
    "a secret where no pod reads": (
        "k8s",
        {"overrides": {"secrets": {"redis": "env:REDIS_PASSWORD"}}},
        "secrets.redis is env:REDIS_PASSWORD, which tier k8s cannot read; write k8s:secret/key.",
    ),
    "a port on the host": (
        "k8s",
        {"overrides": {"redis": {"publish": ["127.0.0.1:6379"]}}},
        "redis.publish is 127.0.0.1:6379, but tier k8s publishes nothing by itself; remove it.",
    ),
    "two resurrectors": (
        "k8s",
        {"overrides": {"resurrector": {"replicas": 2}}},
        "resurrector.replicas is 2, but exactly one",
    ),
    "nodes beside a managed service": (
        "k8s-managed",
        {"overrides": {"redis": {"nodes": ["r-0"], "memory": "1gb", "maxmemory": "512mb"}}},
        "redis.nodes is r-0, which the managed service decides; remove it, or redis.managed.",
    ),
    "a password in the address": (
        "k8s-managed",
        {"overrides": {"redis": {"managed": {"url": "rediss://app:hunter2@r.example.org:6379"}}}},
        "redis.managed.url is rediss://…@r.example.org:6379, no address without a login;",
    ),
    "an address in the clear": (
        "k8s-managed",
        {"overrides": {"redis": {"managed": {"url": "redis://r.example.org:6379"}}}},
        "redis.managed.url is redis://r.example.org:6379, so passwords and payloads travel in the clear;",
    ),
    "backups that a service does not give": (
        "k8s-managed",
        {"overrides": {"backup": {}}},
        "backup is given, but a managed Redis answers no SYNC to copy it with;",
    ),
}


@pytest.mark.parametrize(("stack", "config", "says"), BAD.values(), ids=BAD)
def test_a_bad_configuration_is_refused_in_a_sentence_before_any_resource(
    stack: str, config: dict[str, Any], says: str
) -> None:
    sentences, resources = refused(stack, **config)
    assert [sentence for sentence in sentences if says in sentence], sentences
    assert resources == 0
    assert not [sentence for sentence in sentences if "hunter2" in sentence or "Traceback" in sentence]


@pytest.mark.parametrize("door", [{"monitoring": [{"namespace": "monitoring"}]}, {"network_policies": False}], ids=str)
def test_a_monitor_that_gets_in_is_not_refused(door: dict[str, Any]) -> None:
    assert refused("k8s", kubernetes={"service_monitor": True, **door})[0] == []


def test_half_of_a_secret_is_refused_and_none_of_it_is_not() -> None:
    half = {"redis_password": PASSWORDS["k8s"]["redis_password"]}
    sentences, resources = refused("k8s", half)
    assert sentences == [
        "secrets.sentinel (k8s:relier-secrets/sentinel-password) has no value, but relier-secrets is made here with "
        "redis-password; set all of its values with pulumi config set --secret, or none and make relier-secrets "
        "yourself."
    ]
    assert resources == 0


def test_a_secret_that_nobody_can_have_made_is_refused_and_one_that_may_be_there_is_not() -> None:
    sentences, resources = refused("k8s", {})
    assert sentences == [
        "relier-secrets (redis-password, sentinel-password) is a Secret without a value; run `pulumi config set "
        "--secret KEY` for each, or make namespace and Secret yourself and write relier:kubernetes.create_namespace: "
        "false."
    ]
    assert resources == 0
    assert refused("k8s", {}, kubernetes={"create_namespace": False})[0] == []


@pytest.mark.parametrize(
    "address", ["rediss://app:hunter2@r.example.org:6379", "r.example.org:6379", "rediss://r/0?x=hunter2"]
)
def test_an_address_in_the_configuration_holds_no_login_and_is_not_shown(address: str) -> None:
    sentences, resources = refused("k8s-managed", {"redis_password": "hunter2-managed", "redis_url": address})
    assert sentences == [
        "secrets.redis_url (redis_url) is no address without a login; write rediss://host:6379/0, and the password as "
        "redis_password."
    ]
    assert resources == 0


def test_all_reasons_are_given_at_once() -> None:
    bad = {"namespace": "default", "producers": [{}], "autoscale": {"nobody": KEDA}}
    assert len(refused("k8s", kubernetes=bad)[0]) == 3
