"""Live Redis and Sentinels against the topology. What must be set stands in `scripts/redis`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.topology import Topology, environment
from infra.topology.emit import overlay
from infra.topology.units import number, size

REPO = Path(__file__).resolve().parents[3]
UNITS = {"": 1, "b": 1, "k": 1000, "kb": 1024, "m": 1000**2, "mb": 1024**2, "g": 1000**3, "gb": 1024**3}
SIZES = {"maxmemory", "repl-backlog-size", "auto-aof-rewrite-min-size"}
#: Where a node listens is the installation's to say on hosts of one's own.
PLACE = {"bind", "port", "dir"}
Settings = dict[str, str]


def in_bytes(text: str) -> str:
    """`2gb` as CONFIG GET says it."""
    match = re.fullmatch(r"(\d+)([kmg]?b?)", text.lower())
    return str(int(match[1]) * UNITS[match[2]]) if match else text


def directives(text: str, into: Settings) -> None:
    """The lines of a redis.conf over those read before; `save` and buffer limits add up."""
    for line in text.splitlines():
        name, _, value = line.strip().partition(" ")
        if not name or name.startswith("#"):
            continue
        if name == "save":
            into[name] = "" if value == '""' else f"{into.get(name, '')} {value}".strip()
        elif name == "client-output-buffer-limit":
            into[f"{name} {value.split()[0]}"] = " ".join(map(in_bytes, value.split()[1:]))
        else:
            into[name] = in_bytes(value) if name in SIZES else value.strip('"')


def expected(topology: Topology, stack: str) -> Settings:
    """What every data node must have: the baseline, then the tier's overlay."""
    wanted: Settings = {}
    directives((REPO / "scripts/redis/redis.conf").read_text(encoding="utf-8"), wanted)
    wanted["save"] = wanted.get("save", "")
    directives(overlay(topology, stack), wanted)
    return wanted if topology.containers else {name: v for name, v in wanted.items() if name not in PLACE}


def live(config: Mapping[str, str]) -> Settings:
    """CONFIG GET *, with buffer limits by class under the name that redis.conf uses for it."""
    found = dict(config)
    words = found.get("client-output-buffer-limit", "").split()
    for start in range(0, len(words), 4):
        kind = words[start].replace("slave", "replica")
        found[f"client-output-buffer-limit {kind}"] = " ".join(words[start + 1 : start + 4])
    return found


def setting(node: str, name: str, wanted: str, config: Mapping[str, str]) -> Iterator[str]:
    found = live(config)
    if name not in found:
        yield f"{node}: Redis has no setting {name}, the plan says {wanted}."
    elif _normal(name, found[name]) != _normal(name, wanted):
        yield f"{node}: {name} is {_shown(name, found[name])}, the plan says {_shown(name, wanted)}."


def _normal(name: str, value: str) -> Any:
    return sorted(value.split()) if name == "bind" else value


def _shown(name: str, value: str) -> str:
    return size(int(value)) if name in SIZES and value.isdigit() else value or "empty"


def announced(node: str, topology: Topology, config: Mapping[str, str]) -> Iterator[str]:
    """The first master too, or Sentinels call it by an address that nobody else uses."""
    wanted = {"replica-announce-ip": node.rpartition(":")[0], "replica-announce-port": node.rpartition(":")[2]}
    for name, value in wanted.items():
        if topology.sentinel and config.get(name) != value:
            yield f"{node}: {name} is {config.get(name) or 'empty'}, the plan says {value}."


def roles(topology: Topology, infos: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """One master, the rest linked to it, and it counts all of them."""
    masters = [node for node, info in infos.items() if info.get("role") == "master"]
    wanted = len(topology.redis.nodes) - 1
    if len(masters) != 1:
        yield f"redis: {', '.join(masters) or 'nobody'} leads, the plan says exactly one master."
        return
    for node, info in infos.items():
        yield from _follows(node, masters[0], info) if node != masters[0] else ()
    if (found := int(infos[masters[0]].get("connected_slaves", 0))) != wanted:
        yield f"{masters[0]}: it has {found} replicas, the plan says {wanted}."


def _follows(node: str, master: str, info: Mapping[str, Any]) -> Iterator[str]:
    leader = f"{info.get('master_host')}:{info.get('master_port')}"
    if leader != master:
        yield f"{node}: it follows {leader}, but the master is {master}."
    if info.get("master_link_status") != "up":
        yield f"{node}: its link to {leader} is {info.get('master_link_status', 'unknown')}, it must be up."


def writing(node: str, info: Mapping[str, Any]) -> Iterator[str]:
    """Persistence that is set and does not work is worse than none."""
    for name, what in (("aof_last_write_status", "append-only file"), ("rdb_last_bgsave_status", "last snapshot")):
        if info.get(name, "ok") != "ok":
            yield f"{node}: the {what} could not be written ({name} is {info[name]}); look at its disk."
    if str(info.get("aof_enabled")) != "1":
        yield f"{node}: it keeps no append-only file now, the plan says it does."


def watch(name: str, topology: Topology, seen: Mapping[str, Any]) -> Iterator[str]:
    """One Sentinel: its quorum, its patience, whom it knows."""
    part = topology.sentinel
    assert part is not None
    master = seen["master"]
    wanted = {
        "quorum": str(part.votes),
        "down-after-milliseconds": number(part.down_after * 1000),
        "failover-timeout": number(part.failover_timeout * 1000),
        "parallel-syncs": "1",
        "num-other-sentinels": str(len(part.nodes) - 1),
        "num-slaves": str(len(topology.redis.nodes) - 1),
        "flags": "master",
    }
    for key, value in wanted.items():
        if str(master.get(key)) != value:
            yield f"{name}: {key} of {part.master_name} is {master.get(key)}, the plan says {value}."


def names(name: str, topology: Topology, seen: Mapping[str, Any]) -> Iterator[str]:
    """Names as the plan writes them: addresses change when a container or pod comes back."""
    wanted = {
        "data node": set(environment.redis_nodes(topology).split(",")),
        "Sentinel": set(environment.sentinel_nodes(topology).split(",")) - {name},
    }
    found = {
        "data node": {f"{row['ip']}:{row['port']}" for row in (seen["master"], *seen["replicas"])},
        "Sentinel": {f"{row['ip']}:{row['port']}" for row in seen["sentinels"]},
    }
    for kind, places in wanted.items():
        for place in sorted(found[kind] - places):
            yield f"{name}: it knows a {kind} {place}, the plan has {', '.join(sorted(places))}."
        for place in sorted(places - found[kind]):
            yield f"{name}: it does not know the {kind} {place} of the plan."


def health(name: str, seen: Mapping[str, Any]) -> Iterator[str]:
    for row in (*seen["replicas"], *seen["sentinels"]):
        flags = set(str(row["flags"]).split(",")) - {"slave", "sentinel", "replica"}
        if flags:
            yield f"{name}: it holds {row['ip']}:{row['port']} for {', '.join(sorted(flags))}."
    if not str(seen["quorum"]).startswith("OK"):
        yield f"{name}: it could not fail over: {seen['quorum']}."
