"""Values of secrets: from Pulumi's encrypted configuration, else from where the topology says that they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pulumi
from pulumi.runtime.config import get_config, is_config_secret

from infra.topology import Plan, Refused, Topology
from infra.topology.environment import reference_of
from infra.topology.model import Secrets
from infra.topology.rules import Finding
from infra.topology.rules.managed import ADDRESS

KEPT = {"secret_key": "secret_key", "secret_keys_previous": "secret_keys_previous", "offsite": "offsite_credentials"}
#: What a managed Redis has beyond a password, by reference too.
MANAGED = {"redis_url": "redis_url", "redis_ca": "redis_ca"}
#: The topology's name of a secret, and the key of `pulumi config set --secret`.
KEYS = {name: KEPT.get(name, f"{name}_password") for name in Secrets.model_fields} | MANAGED
#: A password is one line; these may be more.
LONG = ("secret_keys_previous", "offsite", "redis_ca")
Lookup = Callable[[str], str | None]


def bared(key: Callable[[str], str]) -> Iterator[Finding]:
    """Keys that stand in clear in the stack's file."""
    for name in map(key, KEYS.values()):
        if get_config(name) is not None and not is_config_secret(name):
            short = name.partition(":")[2]
            how = f"pulumi config set --secret {short}"
            yield Finding(name, "in clear", f"{name} stands in clear in the stack's file; replace it by `{how}`.")


def collect(topology: Topology, plan: Plan, config: Lookup) -> Mapping[str, pulumi.Output[str]]:
    """Every secret of a plan, wrapped; or one sentence for each that has no good value."""
    findings = list(_unused(topology, config))
    wanted = dict.fromkeys(plan.secrets.values())
    values = {reference: _value(_owner(topology, reference), reference, config) for reference in wanted}
    for reference, value in values.items():
        owner = _owner(topology, reference)
        fault = _fault(owner, value) if value is not None else _missing(topology, owner, reference)
        findings += [Finding(f"secrets.{owner}", "not shown", fault)] if fault else []
    if findings:
        raise Refused(dict.fromkeys(findings))
    known = {reference: pulumi.Output.secret(value) for reference, value in values.items() if value is not None}
    return {name: known[reference] for name, reference in plan.secrets.items() if reference in known}


def _owner(topology: Topology, reference: str) -> str:
    """Several users may share a password: it goes by the name that the topology declares it under."""
    return next(name for name in KEYS if reference_of(topology, name) == reference)


def _unused(topology: Topology, config: Lookup) -> Iterator[Finding]:
    """A password that nobody would take must not look as if it were in force."""
    for name, key in KEYS.items():
        if config(key) is not None and reference_of(topology, name) is None:
            how = f"add secrets.{name} to relier:overrides, such as env:{key.upper()}, or remove the key"
            yield Finding(key, "unused", f"relier:{key} is set, and the topology has no secrets.{name}; {how}.")


def _value(owner: str, reference: str, config: Lookup) -> str | None:
    """From its key, else from where the reference points."""
    value = config(KEYS[owner])
    return _referred(reference) if value is None else value.rstrip("\n")


def _referred(reference: str) -> str | None:
    kind, _, place = reference.partition(":")
    if kind == "env":
        return os.environ.get(place)
    if kind == "file" and Path(place).is_file():
        return Path(place).read_text(encoding="utf-8").rstrip("\n")
    return None


def _fault(name: str, value: str) -> str | None:
    """What is wrong with a value, without showing it."""
    where = f"secrets.{name} ({KEYS[name]})"
    if not value.strip():
        return f"{where} is empty; run `pulumi config set --secret {KEYS[name]}`."
    if name == "redis_url" and not ADDRESS.fullmatch(value):
        return f"{where} is no address without a login; write rediss://host:6379/0, and the password as redis_password."
    if name not in LONG and not value.isprintable():
        return f"{where} has a line break or another control character; write one line of printable text."
    return None


def _missing(topology: Topology, name: str, reference: str) -> str | None:
    """Kubernetes may hold a Secret already that the program only names."""
    kind, _, place = reference.partition(":")
    if topology.tier == "k8s" and kind == "k8s":
        return None
    more = {"env": f", or set {place} in the environment", "file": f", or write {place}"}.get(kind, "")
    return f"secrets.{name} has no value; run `pulumi config set --secret {KEYS[name]}`{more}."
