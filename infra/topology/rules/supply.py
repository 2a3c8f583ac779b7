"""Rules of what comes from outside: images, secrets, published ports, telemetry, variables."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import TypeAdapter, ValidationError

from infra.topology.rules.finding import Finding, missing, rule, without_login, wrong
from relier.settings import Settings

if TYPE_CHECKING:
    from infra.topology.model import Topology

FLOATING = {"latest", "stable", "edge", "main", "master", "nightly", "dev", "rolling"}
LOOPBACK = re.compile(r"127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\]")
LOOKS_SECRET = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|PRIVATE|API_?KEY|ACCESS_?KEY|_KEY$")
READABLE = {"dev": ("env", "file"), "prod": ("env", "file"), "k8s": ("k8s",), "bare": ("file", "vault")}
EXAMPLES = {"env": "env:NAME", "file": "file:/path", "k8s": "k8s:secret/key", "vault": "vault:variable"}
PREFIX = "RELIER_"


def images(topology: Topology) -> dict[str, str]:
    """Every image that the topology names, by path."""
    ours = None if topology.redis.managed else topology.redis.image
    parts: dict[str, str | None] = {"app.image": topology.app.image, "redis.image": ours}
    if topology.sentinel:
        parts["sentinel.image"] = topology.sentinel.image
    if topology.backup:
        parts["backup.image"] = topology.backup.image
    for name in ("collector", "prometheus", "grafana", "redis_exporter"):
        parts[f"telemetry.{name}"] = getattr(topology.telemetry, name)
    return {path: image for path, image in parts.items() if image}


@rule
def images_stand_still(topology: Topology) -> Iterator[Finding]:
    """The same stack must mean the same bytes tomorrow."""
    for path, image in images(topology).items():
        name, _, digest = image.partition("@")
        tag = name.rpartition("/")[2].partition(":")[2]
        if digest and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            yield wrong(path, image, "whose digest is not sha256: and 64 hex digits", f"write {name}@sha256:…")
        elif topology.require_digests and not digest:
            yield wrong(path, image, "but require_digests is true", f"write {image}@sha256:…")
        elif not digest and (not tag or tag in FLOATING):
            base = name.removesuffix(f":{tag}") if tag else name
            yield wrong(path, image, "which floats", f"write a version, such as {base}:1.2, or a digest")


@rule
def the_app_comes_as_its_tier_takes_it(topology: Topology) -> Iterator[Finding]:
    app, tier = topology.app, topology.tier
    if topology.containers and not app.image:
        yield missing("app.image", f"but tier {tier} runs images", "write one such as relier:1.0.0")
    if tier == "bare" and not app.package:
        yield missing("app.package", "but tier bare installs a package", "write one such as relier==1.0.0")
    if tier == "bare" and app.package and not re.search(r"==\d|@[\w./-]+$|\.whl$", app.package):
        yield wrong("app.package", app.package, "which floats", f"write a version, such as {app.package}==1.0.0")
    if app.bind_source and tier != "dev":
        yield wrong("app.bind_source", True, f"but tier {tier} mounts no source", "write false")


@rule
def secrets_are_where_the_tier_can_read_them(topology: Topology) -> Iterator[Finding]:
    allowed = READABLE[topology.tier]
    instead = " or ".join(EXAMPLES[kind] for kind in allowed)
    for name, reference in topology.secrets:
        kind = (reference or "").partition(":")[0]
        if reference and kind not in allowed:
            yield wrong(f"secrets.{name}", reference, f"which tier {topology.tier} cannot read", f"write {instead}")


@rule
def the_secrets_that_are_needed_are_named(topology: Topology) -> Iterator[Finding]:
    example = EXAMPLES[READABLE[topology.tier][0]]
    for name, why in needed_secrets(topology).items():
        if getattr(topology.secrets, name) is None:
            yield missing(f"secrets.{name}", why, f"write a reference such as {example}")


@rule
def a_second_password_has_a_server_that_takes_it(topology: Topology) -> Iterator[Finding]:
    """Nodes take two while pods are rolled. Elsewhere all are restarted at once, or have a playbook that does it."""
    taken = {"redis_second": True, "sentinel_second": topology.sentinel is not None}
    for name, taker in taken.items():
        reference = getattr(topology.secrets, name)
        if reference and topology.tier != "k8s":
            yield wrong(f"secrets.{name}", reference, f"which tier {topology.tier} does not take", "remove it")
        elif reference and (topology.redis.managed or not taker):
            yield wrong(f"secrets.{name}", reference, "which nobody here takes", "remove it")


def needed_secrets(topology: Topology) -> dict[str, str]:
    """Which secrets this topology cannot go without, and why."""
    needed = {}
    if topology.redis.acl:
        needed["redis"] = "but redis.acl is true"
    if topology.sentinel and topology.tier != "dev":
        needed["sentinel"] = f"but Sentinels of tier {topology.tier} ask for a password"
    if topology.telemetry.grafana and not topology.telemetry.anonymous:
        needed["grafana"] = "and Grafana gets no default password"
    if topology.backup and topology.backup.offsite:
        needed["offsite"] = "but backup.offsite needs credentials"
    return needed


@rule
def redis_is_locked_outside_dev(topology: Topology) -> Iterator[Finding]:
    if topology.tier != "dev" and not topology.redis.acl and not topology.redis.managed:
        yield wrong("redis.acl", False, f"but Redis of tier {topology.tier} has users", "write true and secrets.redis")
    if topology.tier != "dev" and topology.telemetry.anonymous:
        yield wrong("telemetry.anonymous", True, f"but tier {topology.tier} is not open to all", "write false")


@rule
def ports_stay_on_the_loopback(topology: Topology) -> Iterator[Finding]:
    """Docker's published ports go around a host's firewall."""
    for path, service, published in publications(topology):
        address, _, port = published.rpartition(":")
        if not topology.on_docker:
            yield wrong(path, published, f"but tier {topology.tier} publishes nothing by itself", "remove it")
        elif not 0 < int(port) <= 65_535:
            yield wrong(path, published, "whose port does not exist", f"write {address}: and 1 to 65535")
        elif not LOOPBACK.fullmatch(address) and service not in topology.public:
            named = f", or name {service} in public" if service in ("prometheus", "grafana") else ""
            yield wrong(path, published, "which is not the loopback", f"write 127.0.0.1:{port}{named}")


def publications(topology: Topology) -> Iterator[tuple[str, str, str]]:
    """Path, service and address of every published port."""
    for published in topology.redis.publish:
        yield "redis.publish", "redis", published
    for published in topology.sentinel.publish if topology.sentinel else ():
        yield "sentinel.publish", "sentinel", published
    for service in ("prometheus", "grafana"):
        if published := getattr(topology.telemetry, f"publish_{service}"):
            yield f"telemetry.publish_{service}", service, published


@rule
def published_ports_are_used_once(topology: Topology) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for path, _, published in publications(topology):
        if published in seen:
            yield wrong(path, published, f"which {seen[published]} publishes already", "write another port")
        seen[published] = path
    for path, nodes, ports in published_nodes(topology):
        if ports > nodes:
            yield wrong(path, f"{ports} ports", f"but there are {nodes} nodes", "write one a node, or fewer")


def published_nodes(topology: Topology) -> Iterator[tuple[str, int, int]]:
    """How many nodes there are and how many ports are published for them."""
    yield "redis.publish", len(topology.redis.nodes), len(topology.redis.publish)
    if topology.sentinel:
        yield "sentinel.publish", len(topology.sentinel.nodes), len(topology.sentinel.publish)


@rule
def telemetry_has_somewhere_to_go(topology: Topology) -> Iterator[Finding]:
    part = topology.telemetry
    if part.enabled and not (part.collector or part.endpoint):
        yield missing("telemetry.endpoint", "but telemetry.enabled is true", "write one, or name telemetry.collector")
    if part.endpoint and not re.fullmatch(r"https?://[\w.-]+:\d{1,5}", part.endpoint):
        yield wrong("telemetry.endpoint", without_login(part.endpoint), "no OTLP address", "write http://host:4317")
    for upper, lower in (
        ("grafana", "prometheus"),
        ("publish_grafana", "grafana"),
        ("publish_prometheus", "prometheus"),
    ):
        if getattr(part, upper) and not getattr(part, lower):
            yield missing(f"telemetry.{lower}", f"but telemetry.{upper} needs it", f"name its image, or remove {upper}")


@rule
def offsite_names_no_credentials(topology: Topology) -> Iterator[Finding]:
    part = topology.backup.offsite if topology.backup else None
    if part and not re.fullmatch(r"s3://[\w.-]+(/[\w./-]*)?", part.bucket):
        yield wrong("backup.offsite.bucket", without_login(part.bucket), "no bucket", "write s3://bucket/prefix")
    if part and part.endpoint and not re.fullmatch(r"https?://[\w.:-]+/?", part.endpoint):
        yield wrong("backup.offsite.endpoint", without_login(part.endpoint), "no address", "write https://host")


@rule
def offsite_has_a_client(topology: Topology) -> Iterator[Finding]:
    part = topology.backup
    if part and part.offsite and topology.containers and not part.image:
        why = "but for backup.offsite the Redis image has no S3 client"
        yield missing("backup.image", why, "write one with aws or rclone, such as relier-backup:1.0.0")


@rule
def variables_are_settings(topology: Topology) -> Iterator[Finding]:
    """What is misspelt would be ignored without a word."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in topology.env:
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            instead = f"write {near[0]}" if near else "see docs/configuration.md for the names"
            yield Finding(f"env.{name}", name, f"env.{name} is no setting of Relier; {instead}.")


@rule
def variables_hold_no_secrets(topology: Topology) -> Iterator[Finding]:
    for name, value in topology.env.items():
        foreign = not name.startswith(PREFIX)
        if (foreign and hides(name, value)) or re.search(r"://[^/]*:[^/]*@", value):
            instead = f"write {name.removesuffix('_FILE')}_FILE: /path/of/a/file instead"
            yield Finding(f"env.{name}", "hidden", f"env.{name} may hold a secret's value; {instead}.")


def hides(name: str, value: str) -> bool:
    """Does a variable's name promise a secret, other than by the path of a file?"""
    return bool(LOOKS_SECRET.search(name)) and not (name.endswith("_FILE") and value.startswith("/"))


@rule
def variables_do_not_contradict_the_topology(topology: Topology) -> Iterator[Finding]:
    from infra.topology.environment import OWNED

    for name in topology.env:
        if name in OWNED:
            yield Finding(f"env.{name}", name, f"env.{name} is decided by the topology; write {OWNED[name]} instead.")


@rule
def variables_have_values_that_parse(topology: Topology) -> Iterator[Finding]:
    from infra.topology.environment import OWNED

    for name, value in topology.env.items():
        field = name.removeprefix(PREFIX).lower()
        free = name.startswith(PREFIX) and name not in OWNED and field in Settings.model_fields
        if free and (trouble := trouble_with(field, value)):
            yield wrong(f"env.{name}", repr(value), "which Relier refuses", trouble)


def trouble_with(field: str, value: str) -> str:
    """What a setting says to a value, or nothing when it takes it."""
    info = Settings.model_fields[field]
    kind: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        text = error.errors()[0]["msg"]
        return f"write one that fits ({text[:1].lower()}{text[1:]})"
    return ""


@rule
def public_services_exist(topology: Topology) -> Iterator[Finding]:
    for service in topology.public:
        if not getattr(topology.telemetry, f"publish_{service}"):
            yield wrong(
                "public", service, "which publishes no port", f"remove it, or write telemetry.publish_{service}"
            )
