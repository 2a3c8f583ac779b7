"""Who is let in, as whom, and what each user may do. The template of `scripts/redis` is the one source of the rules."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator, Mapping

from tests.infra.conformance.adapters.base import Instance
from tests.infra.conformance.deployment import Deployment
from tests.infra.conformance.redis_rules import REPO

REFUSED = ("NOAUTH", "WRONGPASS", "NOPERM", "Authentication", "invalid username-password", "no permissions")
#: Each user by the secret that holds its password; without that secret the user is off.
SECRET_OF = {"app": "redis"} | {name: name for name in ("sentinel", "replica", "backup", "probe", "admin")}
KEY = "relier:conformance"
#: Harmless even where they are allowed: they name nothing that exists, or are no whole command.
READS, WRITES, ADMIN = (f"GET {KEY}",), (f"DEL {KEY}",), (f"CONFIG SET {KEY} 1", "FLUSHALL NONSENSE", "ACL LIST")
MAY = {
    "app": (*READS, *WRITES, "SCAN 0 COUNT 1", "CONFIG GET maxmemory", "INFO server", f"PUBLISH {KEY} x"),
    "sentinel": ("INFO server", "ROLE"),
    "replica": ("REPLCONF capa eof",),
    "backup": ("INFO server", "REPLCONF capa eof"),
    "probe": ("INFO server", "ROLE"),
    "admin": ("ACL USERS", "CONFIG GET maxmemory", "ROLE"),
}
MAY_NOT = {
    "app": (*ADMIN, f"KEYS {KEY}", "CLIENT LIST", "SHUTDOWN NONSENSE"),
    "sentinel": (*ADMIN, *READS, *WRITES, f"PUBLISH {KEY} x"),
    "replica": (*ADMIN, *READS, *WRITES, "ROLE", "CONFIG GET maxmemory"),
    "backup": (*ADMIN, *READS, *WRITES, "ROLE", "CONFIG GET maxmemory"),
    "probe": (*ADMIN, *READS, *WRITES, "CONFIG GET maxmemory"),
    "admin": (*READS, *WRITES, "FLUSHALL NONSENSE"),
}


def let_in(place: str, told: Mapping[str, str]) -> Iterator[str]:
    """Each stranger must hear that it is one; silence or another error proves nothing."""
    for who, answer in told.items():
        if not any(word in answer for word in REFUSED):
            yield f"{place}: a client {who} is told “{answer}”, the plan refuses it."


def template(hashes: Mapping[str, str], version: tuple[int, ...]) -> dict[str, list[str]]:
    """Each user of the template with its rules, as `entrypoint` must have filled it."""
    words = {name: f"on #{digest}" for name, digest in hashes.items()}
    words["setinfo"] = "+client|setinfo" if version >= (7, 2) else ""
    text = (REPO / "scripts/redis/users.acl.template").read_text(encoding="utf-8")
    return parsed(re.sub(r"\{(\w+)\}", lambda match: words.get(match[1], "off"), text))


def parsed(text: str) -> dict[str, list[str]]:
    """User → rules of an ACL file."""
    rows = (line.split() for line in text.splitlines() if line.startswith("user "))
    return {row[1]: row[2:] for row in rows}


def differences(place: str, found: Mapping[str, list[str]], wanted: Mapping[str, list[str]]) -> Iterator[str]:
    """One sentence a user; never a hash of a password."""
    for name in sorted(set(found) - set(wanted)):
        yield f"{place}: there is a user {name} ({_said(found[name])}), the plan does not have it."
    for name in sorted(set(wanted) - set(found)):
        yield f"{place}: there is no user {name}, the plan has it."
    for name in sorted(set(wanted) & set(found)):
        if _said(found[name]) != _said(wanted[name]):
            yield f"{place}: user {name} has “{_said(found[name])}”, the plan says “{_said(wanted[name])}”."
        elif found[name] != wanted[name]:
            yield f"{place}: user {name} has another password than the secret {SECRET_OF.get(name, name)} holds."


def _said(rules: list[str]) -> str:
    return " ".join("#…" if rule.startswith("#") else rule for rule in rules)


def users(deployment: Deployment, place: str) -> Iterator[str]:
    """The file that the server has read against the template. It is live, unless there is an administrator."""
    instance, seen = deployment.at(place), deployment.survey["nodes"][place]
    answer = deployment.run(instance, "cat", seen["config"].get("aclfile") or "/nonexistent")
    if answer.code:
        yield f"{place}: it has no ACL file that could be read ({answer.text}), the plan has users."
        return
    version = tuple(int(part) for part in str(seen["info"].get("redis_version", "0.0")).split(".")[:2])
    paths = {mount.name: mount.path for mount in deployment.plan[instance.workload].secrets}
    values = {
        user: deployment.run(instance, "cat", paths[name]).out.strip()
        for user, name in SECRET_OF.items()
        if name in paths
    }
    hashes = {user: hashlib.sha256(value.encode()).hexdigest() for user, value in values.items() if value}
    wanted = template(hashes, version)
    yield from differences(place, parsed(answer.out), wanted)
    if "admin" in hashes:
        yield from _live(place, _told(deployment, instance, "admin").get("ACL USERS", "").split(), set(wanted))


def _live(place: str, found: list[str], wanted: set[str]) -> Iterator[str]:
    """Where there is an administrator, users may have been made or removed since the start."""
    for name in sorted(set(found) ^ wanted):
        there = "is now" if name in found else "is now no"
        yield f"{place}: there {there} user {name}, the plan says otherwise; start the node anew, or ACL LOAD."


def rights(deployment: Deployment, place: str) -> Iterator[str]:
    """What each user is told when it tries."""
    instance = deployment.at(place)
    mounted = {mount.name for mount in deployment.plan[instance.workload].secrets}
    for user in (user for user, name in SECRET_OF.items() if name in mounted):
        told = _told(deployment, instance, user)
        for command in MAY[user]:
            if _denied(told.get(command, "nothing")):
                yield f"{place}: user {user} may not {command} ({told.get(command)}), the plan lets it."
        for command in MAY_NOT[user]:
            if not _denied(told.get(command, "nothing")):
                yield f"{place}: user {user} may {command} (it is told “{told.get(command)}”), the plan forbids that."


def _denied(answer: str) -> bool:
    return answer == "nothing" or any(word in answer for word in ("NOPERM", "NOAUTH", "WRONGPASS"))


def _told(deployment: Deployment, instance: Instance, user: str) -> dict[str, str]:
    """One connection for all tries; a PING with a number ends each answer."""
    workload = deployment.plan[instance.workload]
    paths = {mount.name: mount.path for mount in workload.secrets}
    tries = (*MAY[user], *MAY_NOT[user])
    lines = "".join(f"{command}\nPING @@{n}@@\n" for n, command in enumerate(tries))
    script = (
        f"cli=$(command -v redis-cli || command -v valkey-cli); printf %s {shlex.quote(lines)} | "
        f'REDISCLI_AUTH="$(cat {paths[SECRET_OF[user]]})" "$cli" --user {user} -p {workload.ports[0].port} 2>&1'
    )
    parts = re.split(r"@@(\d+)@@", deployment.run(instance, "sh", "-c", script).out)
    return {tries[int(n)]: text.strip() or "(empty)" for text, n in zip(parts[::2], parts[1::2], strict=False)}
