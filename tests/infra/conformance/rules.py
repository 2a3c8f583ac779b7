"""One workload as it runs against the workload as it was planned. Each rule yields a sentence for whatever differs.

A fact that is None is one that the backend does not have; there the rule has nothing to say.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from infra.topology.shape import said
from infra.topology.units import size, span
from infra.topology.workload import Probe, Workload
from tests.infra.conformance.adapters.base import Facts, Instance, Mount

Rule = Callable[[Workload, Instance, Facts], Iterator[str]]
LOOPBACK = ("127.", "localhost", "[::1]", "::1")
OURS = re.compile(
    r"RELIER_\w+|REDIS_(NODES?|PORT|SENTINELS|MASTER_NAME|ACL|MIN_REPLICAS\w*)|SENTINEL_\w+|BACKUP_\w+|OFFSITE_\w+"
)
#: What an instance may be told besides: where its password files lie, and its own name.
OWN = re.compile(r"\w+_FILE|REDIS_NODE|SENTINEL_NODE|RELIER_\w+_(SERVICE_HOST|SERVICE_PORT\w*|PORT\w*)")


def image(planned: Workload, instance: Instance, facts: Facts) -> Iterator[str]:
    if planned.image and facts.image != planned.image:
        yield f"{instance}: the image is {facts.image}, the plan says {planned.image}."


def user(planned: Workload, instance: Instance, facts: Facts) -> Iterator[str]:
    if facts.user is not None and facts.user != planned.user:
        yield f"{instance}: it runs as {facts.user}, the plan says {planned.user}."


def memory(planned: Workload, instance: Instance, facts: Facts) -> Iterator[str]:
    if facts.memory != planned.memory:
        limit = size(facts.memory) if facts.memory else "not limited"
        yield f"{instance}: memory is {limit}, the plan says {size(planned.memory)}."


def argv(planned: Workload, instance: Instance, facts: Facts) -> Iterator[str]:
    """An image may put an init before, and an installation its own path before the program's name."""
    wanted, found = planned.argv, facts.argv[-len(planned.argv) :] if planned.argv else ()
    bare = (PurePosixPath(found[0]).name, *found[1:]) if found else ()
    if wanted not in (found, bare) and wanted != facts.argv:
        yield f"{instance}: it was started as “{' '.join(facts.argv)}”, the plan says “{' '.join(wanted)}”."


def env(planned: Workload, instance: Instance, facts: Facts) -> Iterator[str]:
    for name, value in planned.env.items():
        if name not in facts.env:
            yield f"{instance}: {name} is not set, the plan says {value}."
        elif facts.env[name] != value:
            yield f"{instance}: {name} is {facts.env[name]}, the plan says {value}."
    for name in sorted(set(facts.env) - set(planned.env)):
        if OURS.fullmatch(name) and not OWN.fullmatch(name):
            yield f"{instance}: {name} is set, the plan does not have it."


def mounts(planned: Workload, instance: Instance, facts: Facts) -> Iterator[str]:
    if facts.mounts is None:
        return
    for path in (*(s.path for s in planned.secrets), *(f.path for f in planned.files)):
        yield from _read_only(instance, path, facts.mounts)
    for volume in planned.volumes:
        yield from _volume(instance, volume.path, volume.volume, volume.read_only, facts.mounts)
    for path in planned.tmpfs:
        if not any(mount.kind == "tmpfs" for mount in _over(path, facts.mounts)) and planned.read_only:
            yield f"{instance}: {path} is no memory file system, the plan says that it is one."
    known = {*(p.path for part in (planned.secrets, planned.files, planned.volumes) for p in part), *planned.tmpfs}
    for mount in facts.mounts:
        if not any(_within(path, mount.path) for path in known):
            yield f"{instance}: {mount.source or mount.kind} is mounted at {mount.path}, the plan does not have it."


def _within(path: str, folder: str) -> bool:
    return PurePosixPath(path).is_relative_to(folder)


def _over(path: str, found: tuple[Mount, ...]) -> list[Mount]:
    """What is mounted there, or at a folder above."""
    return [mount for mount in found if _within(path, mount.path)]


def _read_only(instance: Instance, path: str, found: tuple[Mount, ...]) -> Iterator[str]:
    at = _over(path, found)
    if not at:
        yield f"{instance}: nothing is mounted at {path}, the plan says a read-only file."
    elif not all(mount.read_only for mount in at):
        yield f"{instance}: {path} is mounted so that it can be written, the plan says read-only."


def _volume(instance: Instance, path: str, name: str, read_only: bool, found: tuple[Mount, ...]) -> Iterator[str]:
    at = [mount for mount in found if mount.path.rstrip("/") == path.rstrip("/")]
    if not at or at[0].kind != "volume":
        yield f"{instance}: {path} is {at[0].kind if at else 'not mounted'}, the plan says the volume {name}."
        return
    if at[0].source != name:
        yield f"{instance}: {path} is the volume {at[0].source}, the plan says {name}."
    if at[0].read_only != read_only:
        can, should = ("read-only" if flag else "writable" for flag in (at[0].read_only, read_only))
        yield f"{instance}: the volume {name} is {can}, the plan says {should}."


def read_only_root(planned: Workload, instance: Instance, facts: Facts) -> Iterator[str]:
    if facts.read_only_root is not None and facts.read_only_root != planned.read_only:
        can, should = ("read-only" if flag else "writable" for flag in (facts.read_only_root, planned.read_only))
        yield f"{instance}: its root file system is {can}, the plan says {should}."


def restart(planned: Workload, instance: Instance, facts: Facts) -> Iterator[str]:
    if facts.restart is not None and facts.restart != planned.restart:
        yield f"{instance}: its restart policy is {facts.restart}, the plan says {planned.restart}."


def grace(planned: Workload, instance: Instance, facts: Facts) -> Iterator[str]:
    if facts.grace is not None and facts.grace not in (planned.grace, planned.grace + planned.pre_stop):
        yield f"{instance}: it is killed {span(facts.grace)} after a stop, the plan says {span(planned.grace)}."


def published(planned: Workload, instance: Instance, facts: Facts) -> Iterator[str]:
    if facts.published is None:
        return
    wanted = {port.port: port.published for port in planned.ports if port.published}
    for port, places in facts.published.items():
        for place in places:
            if not place.startswith(LOOPBACK):
                yield f"{instance}: port {port} is published on {place}, which is not the loopback."
            if place != wanted.get(port):
                yield f"{instance}: port {port} is published on {place}, the plan says {wanted.get(port, 'nowhere')}."
    for port, place in wanted.items():
        if port not in facts.published:
            yield f"{instance}: port {port} is not published, the plan says on {place}."


def networks(planned: Workload, instance: Instance, facts: Facts) -> Iterator[str]:
    if facts.networks is not None and set(facts.networks) != set(planned.networks):
        found, wanted = (", ".join(sorted(names)) or "no network" for names in (facts.networks, planned.networks))
        yield f"{instance}: it is on {found}, the plan says {wanted}."


def addresses(planned: Workload, instance: Instance, facts: Facts) -> Iterator[str]:
    """Places within the subnet: which subnet it is may differ from machine to machine."""
    if facts.hosts is None:
        return
    for name in dict.fromkeys([*planned.hosts, *facts.hosts]):
        found, wanted = facts.hosts.get(name), planned.hosts.get(name)
        if _place(found) != _place(wanted):
            yield f"{instance}: it knows {name} as {found or 'nothing'}, the plan says {wanted or 'nothing'}."
    there = facts.networks is None or set(planned.networks) <= set(facts.networks)  # else `networks` says so
    if planned.address and there and facts.address != facts.hosts.get(planned.name):
        yield f"{instance}: its address is {facts.address}, others know it as {facts.hosts.get(planned.name)}."


def _place(address: str | None) -> str:
    return (address or "").rpartition(".")[2]


def checks(planned: Workload, instance: Instance, facts: Facts) -> Iterator[str]:
    """`health` is the only check of a backend that has one; others have live, ready and start."""
    if facts.checks is None:
        return
    kinds = ("health",) if set(facts.checks) <= {"health"} else ("live", "ready", "start")
    for kind in kinds:
        wanted, found = getattr(planned, kind), facts.checks.get(kind)
        if wanted is None and found is None:
            continue
        if wanted is None or found is None:
            yield f"{instance}: its {kind} check is {_check(found)}, the plan says {_check(wanted)}."
        else:
            yield from _fields(instance, kind, wanted, found)


def _check(probe: Probe | None) -> str:
    return f"“{' '.join(probe.command)}”" if probe else "missing"


def _fields(instance: Instance, kind: str, wanted: Probe, found: Probe) -> Iterator[str]:
    if found.command not in (wanted.command, ("sh", "-c", shlex.join(wanted.command))):
        yield f"{instance}: its {kind} check is {_check(found)}, the plan says {_check(wanted)}."
    for name in ("every", "timeout", "failures", "start_period"):
        is_, says = getattr(found, name), getattr(wanted, name)
        if is_ != says:
            yield f"{instance}: its {kind} check has {name} {said(name, is_)}, the plan says {said(name, says)}."


def health(planned: Workload, instance: Instance, facts: Facts) -> Iterator[str]:
    if planned.health and facts.health not in (None, "healthy"):
        yield f"{instance}: it is {facts.health}, not healthy."


def privileges(planned: Workload, instance: Instance, facts: Facts) -> Iterator[str]:
    for sentence in facts.privileges or ():
        yield f"{instance}: it {sentence}; the plan gives nobody that."
