"""What a cluster would refuse late or do in silence is refused here, before the first object."""

from __future__ import annotations

from collections.abc import Iterator

from infra.pulumi.components.k8s_base import values
from infra.pulumi.components.k8s_jobs import cron
from infra.pulumi.components.k8s_options import Autoscale
from infra.pulumi.components.k8s_scope import Scope, seconds
from infra.pulumi.components.k8s_volumes import located
from infra.topology.rules import Finding
from infra.topology.units import span
from infra.topology.workload import Workload

OBJECT = "relier:kubernetes"
SHARED = ("default", "kube-system", "kube-public", "kube-node-lease")


def findings(scope: Scope) -> Iterator[Finding]:
    """Every reason not to begin."""
    yield from half_secrets(scope)
    yield from odd_schedules(scope)
    yield from namespaces(scope)
    yield from open_doors(scope)
    yield from watchers(scope)
    for name, part in scope.options.autoscale.items():
        yield from scaling(scope, name, part)


def half_secrets(scope: Scope) -> Iterator[Finding]:
    """A Secret is made here with all of its keys, or is there already."""
    made = values(scope)
    for name, reference in sorted(scope.plan.secrets.items()):
        secret, key = located(reference)
        if secret in made and key not in made[secret]:
            held = ", ".join(sorted(made[secret]))
            yield Finding(
                f"secrets.{name}",
                "missing",
                f"secrets.{name} ({reference}) has no value, but {secret} is made here with {held}; "
                f"set all of its values with pulumi config set --secret, or none and make {secret} yourself.",
            )


def absent_secrets(scope: Scope) -> Iterator[Finding]:
    """Nobody can have put a Secret into a namespace that is only made here, so the pods would wait for ever."""
    made, absent = values(scope), dict[str, list[str]]()
    for secret, key in sorted({located(reference) for reference in scope.plan.secrets.values()}):
        if scope.options.create_namespace and secret not in made:
            absent.setdefault(secret, []).append(key)
    for secret, keys in absent.items():
        yield Finding(
            secret,
            "missing",
            f"{secret} ({', '.join(keys)}) is a Secret without a value; run `pulumi config set --secret KEY` for each, "
            f"or make namespace and Secret yourself and write {OBJECT}.create_namespace: false.",
        )


def odd_schedules(scope: Scope) -> Iterator[Finding]:
    for workload in scope.plan.of_kind("backup", "drill"):
        every = workload.schedule or 0
        if cron(workload.kind, seconds(every)) is None:
            yield Finding(
                f"{workload.kind}.every",
                span(every),
                f"{workload.kind}.every is {span(every)}, which a CronJob cannot say; "
                "write a part of an hour or of a day (15m, 30m, 1h, 6h), 1d or 7d.",
            )


def namespaces(scope: Scope) -> Iterator[Finding]:
    name = scope.namespace
    if name in SHARED and scope.options.create_namespace:
        yield Finding(
            f"{OBJECT}.namespace",
            name,
            f"{OBJECT}.namespace is {name}, which belongs to others; write one of its own such as relier, "
            "or create_namespace: false.",
        )


def open_doors(scope: Scope) -> Iterator[Finding]:
    """A neighbour without namespace and labels would be everybody in the namespace."""
    for path in ("producers", "monitoring"):
        for number, other in enumerate(getattr(scope.options, path)):
            if not other.namespace and not other.labels:
                place = f"{OBJECT}.{path}[{number}]"
                yield Finding(place, "empty", f"{place} names nobody; write a namespace, labels, or both.")
    if scope.topology.redis.managed and scope.options.producers:
        place = f"{OBJECT}.producers"
        yield Finding(place, "given", f"{place} is given, but a managed Redis has walls of its own; remove it.")


def watchers(scope: Scope) -> Iterator[Finding]:
    """Whoever is to read the figures finds an exporter, and gets in."""
    if scope.plan.of_kind("exporter"):
        yield from shut_out(scope)
        return
    for name in ("service_monitor", "monitoring"):
        if getattr(scope.options, name):
            place = f"{OBJECT}.{name}"
            yield Finding(place, "given", f"{place} is given, but nothing exports; name telemetry.redis_exporter.")


def shut_out(scope: Scope) -> Iterator[Finding]:
    options = scope.options
    if options.service_monitor and options.network_policies and not options.monitoring:
        yield Finding(
            f"{OBJECT}.service_monitor",
            "true",
            f"{OBJECT}.service_monitor is true, but the network policies let nobody in who reads the figures; "
            f"write {OBJECT}.monitoring: [{{namespace: monitoring}}], or network_policies: false.",
        )


def scaling(scope: Scope, name: str, part: Autoscale) -> Iterator[Finding]:
    place = f"{OBJECT}.autoscale.{name}"
    pool = {workload.name: workload for workload in scope.plan.of_kind("worker")}.get(name)
    if pool is None:
        known = ", ".join(workload.name for workload in scope.plan.of_kind("worker"))
        yield Finding(place, name, f"{place} is no pool; write one of {known}.")
        return
    if part.most < part.least:
        text = f"{place}.most is {part.most}, below least ({part.least}); write {part.least} or more."
        yield Finding(f"{place}.most", str(part.most), text)
    if part.by == "keda" and not part.prometheus:
        text = f"{place}.prometheus is missing, and KEDA asks it for the load; write http://prometheus:9090."
        yield Finding(f"{place}.prometheus", "missing", text)
    if part.by == "hpa" and part.prometheus:
        text = (
            f"{place}.prometheus is given, but an HPA asks the cluster's metrics adapter; remove it, or write by: keda."
        )
        yield Finding(f"{place}.prometheus", "given", text)
    if not scope.topology.telemetry.enabled:
        text = f"{place} needs telemetry.enabled, for the load is a figure of the resurrector; write true and endpoint."
        yield Finding(place, "blind", text)
    yield from crowd(scope, pool, part, place)


def crowd(scope: Scope, pool: Workload, part: Autoscale, place: str) -> Iterator[Finding]:
    """At full size, all workers must still find a connection."""
    grown = scope.plan.connections + (part.most - pool.replicas) * pool.connections
    if grown > scope.plan.maxclients:
        yield Finding(
            f"{place}.most",
            str(part.most),
            f"{place}.most is {part.most}, so {grown} connections may be wanted of redis.maxclients "
            f"{scope.plan.maxclients}; write less, or raise redis.maxclients.",
        )
