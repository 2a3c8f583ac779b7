"""Every key of a Redis by class, with a digest of what it holds that does not depend on how the server stores it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from infra.topology import environment
from tests.infra.conformance.adapters.base import Answer, Instance
from tests.infra.conformance.deployment import Deployment

#: One page of the keys and, before it, the cursor of the next. It runs inside Redis as the application's user: nothing
#: of the application has to be alive for it. All in one go would hold up a full server until the Sentinels miss it.
LUA = """
local page = redis.call('SCAN', ARGV[1], 'COUNT', 500)
local rows = {page[1]}
local now = redis.call('TIME')
local function long(list) local t = {} for i, v in ipairs(list) do t[i] = #v .. ':' .. v end return table.concat(t) end
local function pairs_of(flat)
  local t = {}
  for i = 1, #flat, 2 do t[#t + 1] = #flat[i] .. ':' .. flat[i] .. '=' .. flat[i + 1] end
  table.sort(t)
  return long(t)
end
local read = {
  string = function(k) return redis.call('GET', k) end,
  list = function(k) return long(redis.call('LRANGE', k, 0, -1)) end,
  set = function(k) local m = redis.call('SMEMBERS', k) table.sort(m) return long(m) end,
  zset = function(k) return pairs_of(redis.call('ZRANGE', k, 0, -1, 'WITHSCORES')) end,
  hash = function(k) return pairs_of(redis.call('HGETALL', k)) end,
}
for _, key in ipairs(page[2]) do
  local kind = redis.call('TYPE', key)['ok']
  local ttl = redis.call('PTTL', key)
  local class = string.match(key, '^rl:[^:]+') or string.match(key, '^_kombu') or string.match(key, '^celery%-%l+')
    or 'other'
  local digest = read[kind] and redis.sha1hex(read[kind](key) or '') or kind
  local expires = ttl < 0 and 0 or now[1] * 1000 + ttl
  rows[#rows + 1] = table.concat({class, redis.sha1hex(key), kind, expires, digest}, ' ')
end
return rows
"""
#: Prints every page. {} is what asks; the last line is "end", or what went wrong.
PAGES = """
cursor=0
while page=$({} "$cursor") && cursor=$(printf '%s\n' "$page" | head -n 1) && [ "$cursor" -ge 0 ]; do
  printf '%s\n' "$page"
  [ "$cursor" != 0 ] || exec echo end
done
printf '%s\n' "$page"
"""


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `expires` is Unix time in milliseconds, 0 for never."""

    name: str
    kind: str
    expires: int
    digest: str


Keys = dict[tuple[str, str], Key]


def _cli(deployment: Deployment, instance: Instance, *words: str) -> str:
    """redis-cli as a shell's words, as the application's user, with the password from its file."""
    workload = deployment.plan[instance.workload]
    login = [f'REDISCLI_AUTH="$(cat {mount.path})"' for mount in workload.secrets if mount.name == "redis"]
    user = ["--user", "app"] if deployment.topology.redis.acl else []
    return " ".join([*login, shlex.join(["redis-cli", *user, "-p", str(workload.ports[0].port), *words])])


def cli(deployment: Deployment, instance: Instance, *words: str) -> Answer:
    """redis-cli inside a data node."""
    return deployment.run(instance, "sh", "-c", _cli(deployment, instance, *words), timeout=120)


def leader(deployment: Deployment) -> str:
    """The data node that leads and has all its replicas, asked without the application; else nothing."""
    deployment.forget()
    wanted = len(deployment.topology.redis.nodes) - 1
    for place in environment.redis_nodes(deployment.topology).split(","):
        said = cli(deployment, deployment.at(place), "info", "replication").out
        if "role:master" in said and f"connected_slaves:{wanted}" in said:
            return place
    return ""


def keys_of(deployment: Deployment, place: str) -> Keys:
    """All keys of a node by class and name; names are hashed, as they may hold anything."""
    instance = deployment.at(place)
    script = PAGES.replace("{}", _cli(deployment, instance, "--raw", "eval", LUA, "0"))
    answer = deployment.run(instance, "sh", "-c", script, timeout=300)
    lines = answer.out.splitlines()
    rows = [line.split(" ") for line in lines if line.count(" ") == 4]
    if answer.code or not rows or lines[-1] != "end":
        raise RuntimeError(f"{instance}: its keys cannot be read: {answer.text[-300:]}")
    return {(row[0], row[1]): Key(row[1], row[2], int(row[3]), row[4]) for row in rows}


def missing(before: Keys, after: Keys, now: float) -> Iterator[str]:
    """What is not there any more or holds something else; keys whose time has passed may be gone."""
    counts = Counter(name for name, _ in before), Counter(name for name, _ in after)
    gone: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    for (name, hashed), key in before.items():
        if (name, hashed) not in after:
            gone[name] += key.expires == 0 or key.expires > now * 1000
        elif after[name, hashed].digest != key.digest:
            changed[name] += 1
    for name in sorted(+gone):
        yield f"{gone[name]} of {counts[0][name]} keys of class {name} are gone; there are {counts[1][name]} now."
    for name in sorted(changed):
        yield f"{changed[name]} of {counts[0][name]} keys of class {name} hold something else than before."
