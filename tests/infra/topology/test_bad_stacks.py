"""Seeded mistakes of the kind people make, each answered on the command line with one sentence that names the place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.topology.__main__ import main
from tests.infra.topology.stacks import GONE, stack

# tier, path to change, what is written there, what the sentence says
TYPOS = [
    ("dev", "teir", "dev", "teir is unknown; did you mean tier?"),
    ("dev", "worker", {}, "worker is unknown; did you mean workers?"),
    ("dev", "sentinal", {}, "sentinal is unknown; did you mean sentinel?"),
    ("dev", "drian", "30s", "drian is unknown; did you mean drain?"),
    ("dev", "secret", {}, "secret is unknown; did you mean secrets?"),
    ("dev", "telemtry", {}, "telemtry is unknown; did you mean telemetry?"),
    ("dev", "zzz", 1, "zzz is unknown; known here: tier, name, hosts,"),
    ("dev", "app.img", "relier:1", "app.img is unknown; did you mean image?"),
    ("dev", "app.includes", ["a"], "app.includes is unknown; did you mean include?"),
    ("dev", "redis.max_memory", "1gb", "redis.max_memory is unknown; did you mean maxmemory?"),
    ("dev", "redis.max-clients", 10000, "redis.max-clients is unknown; did you mean maxclients?"),
    ("dev", "redis.persistance", {}, "redis.persistance is unknown; did you mean persistence?"),
    (
        "dev",
        "redis.persistence.append_only",
        True,
        "redis.persistence.append_only is unknown; did you mean appendonly?",
    ),
    ("dev", "redis.requirepass", "hunter2", "redis.requirepass is unknown;"),
    ("prod", "sentinel.qourum", 2, "sentinel.qourum is unknown; did you mean quorum?"),
    ("prod", "sentinel.down-after", "5s", "sentinel.down-after is unknown; did you mean down_after?"),
    (
        "dev",
        "workers.worker-high.concurency",
        8,
        "workers.worker-high.concurency is unknown; did you mean concurrency?",
    ),
    ("dev", "workers.worker-high.queue", ["default"], "workers.worker-high.queue is unknown; did you mean queues?"),
    (
        "dev",
        "workers.worker-high.conections",
        30,
        "workers.worker-high.conections is unknown; did you mean connections?",
    ),
    ("dev", "workers.worker-high.Memory", "1gb", "workers.worker-high.Memory is unknown; did you mean memory?"),
    ("dev", "resurrector.replica", 1, "resurrector.replica is unknown; did you mean replicas?"),
    ("prod", "backup.evry", "1h", "backup.evry is unknown; did you mean every?"),
    ("prod", "sentinel", {"node": ["s-1", "s-2", "s-3"]}, "sentinel.node is unknown; did you mean nodes?"),
    (
        "dev",
        "workers.worker-high",
        {"queue": ["high_priority"]},
        "workers.worker-high.queue is unknown; did you mean queues?",
    ),
    ("dev", "checkpoints.path", "/x", "checkpoints.path is unknown;"),
    ("dev", "timeouts.hard_timeout", "30s", "timeouts.hard_timeout is unknown; did you mean hard?"),
    ("prod", "secrets.reddis", "env:X", "secrets.reddis is unknown; did you mean redis?"),
    ("dev", "admission.limits", 1, "admission.limits is unknown; did you mean limit?"),
]
WRONG_TYPES = [
    ("dev", "tier", "staging", 'tier is "staging"; write one of dev, prod, k8s, bare.'),
    ("dev", "tier", "prd", 'tier is "prd"; write one of dev, prod, k8s, bare (did you mean prod?).'),
    ("dev", "tier", None, "tier is null; write one of dev, prod, k8s, bare."),
    ("dev", "hosts", "two", 'hosts is "two"; write a whole number such as 1.'),
    ("dev", "hosts", 0, "hosts is 0; write a number above 0."),
    ("dev", "hosts", True, "hosts is true; write a whole number such as 1."),
    ("dev", "app", "relier:1.0.0", 'app is "relier:1.0.0"; write keys with values.'),
    ("dev", "app", ["relier"], 'app is ["relier"]; write keys with values.'),
    ("dev", "app.image", 1.0, "app.image is 1.0; write text in quotes such as relier:1.0.0."),
    ("dev", "app.image", "", 'app.image is ""; write text without spaces such as relier:1.0.0.'),
    ("dev", "app.image", "relier 1.0", 'app.image is "relier 1.0"; write text without spaces such as relier:1.0.0.'),
    ("dev", "app.bind_source", "yes", 'app.bind_source is "yes"; write true or false.'),
    ("dev", "app.bind_source", 1, "app.bind_source is 1; write true or false."),
    ("dev", "app.include", "shop.tasks", 'app.include is "shop.tasks"; write a list such as ["shop.tasks"].'),
    ("dev", "app.include", ["shop/tasks"], 'app.include[0] is "shop/tasks"; write a module such as shop.tasks.'),
    (
        "dev",
        "app.log_level",
        "info",
        'app.log_level is "info"; write one of DEBUG, INFO, WARNING, ERROR, CRITICAL (did you',
    ),
    ("dev", "redis.nodes", "redis", 'redis.nodes is "redis"; write a list such as ["redis"].'),
    ("dev", "redis.nodes", [], "redis.nodes is []; write at least one entry"),
    (
        "dev",
        "redis.nodes",
        ["Redis_1"],
        'redis.nodes[0] is "Redis_1"; write 2 to 40 small letters, digits and dashes such as redis.',
    ),
    ("dev", "redis.nodes", [1], "redis.nodes[0] is 1; write text in quotes such as redis."),
    ("dev", "redis.memory", "2 gigs", 'redis.memory is "2 gigs"; write a size above zero such as 512mb or 2gb.'),
    ("dev", "redis.memory", "512Mi", 'redis.memory is "512Mi"; write a size above zero such as 512mb or 2gb.'),
    ("dev", "redis.maxmemory", 0, "redis.maxmemory is 0; write a size above zero such as 512mb or 2gb."),
    ("dev", "redis.maxmemory", -1, "redis.maxmemory is -1; write a size above zero"),
    ("dev", "redis.maxmemory", True, "redis.maxmemory is true; write a size above zero"),
    ("dev", "redis.maxmemory", ["1gb"], 'redis.maxmemory is ["1gb"]; write a size above zero'),
    ("dev", "redis.maxmemory", GONE, "redis.maxmemory is missing; add it, such as 1gb."),
    (
        "dev",
        "redis.maxmemory_policy",
        "allkeys-lru",
        'redis.maxmemory_policy is "allkeys-lru"; write one of noeviction.',
    ),
    ("dev", "redis.port", 70000, "redis.port is 70000; write 65535 or less."),
    ("dev", "redis.port", "6379", 'redis.port is "6379"; write a whole number such as 6379.'),
    ("dev", "redis.maxclients", 10.5, "redis.maxclients is 10.5; write a whole number such as 10000."),
    ("dev", "redis.min_replicas_to_write", -1, "redis.min_replicas_to_write is -1; write 0 or more."),
    (
        "dev",
        "redis.publish",
        ["6379"],
        'redis.publish[0] is "6379"; write an address and a port such as 127.0.0.1:6379.',
    ),
    (
        "dev",
        "redis.publish",
        "127.0.0.1:6379",
        'redis.publish is "127.0.0.1:6379"; write a list such as ["127.0.0.1:6379"].',
    ),
    (
        "dev",
        "redis.persistence.appendfsync",
        False,
        "redis.persistence.appendfsync is false; write one of everysec, always, no",
    ),
    (
        "dev",
        "redis.persistence.snapshots",
        [[60]],
        "redis.persistence.snapshots[0][1] is missing; add it, such as 3600.",
    ),
    ("dev", "redis.persistence.snapshots", [[0, 1]], "redis.persistence.snapshots[0][0] is 0; write a number above 0."),
    ("prod", "sentinel", "yes", 'sentinel is "yes"; write keys with values.'),
    ("prod", "sentinel", {}, 'sentinel.nodes is missing; add it, such as ["s-1", "s-2", "s-3"].'),
    ("prod", "sentinel.quorum", "2", 'sentinel.quorum is "2"; write a whole number such as 2.'),
    (
        "prod",
        "sentinel.down_after",
        "soon",
        'sentinel.down_after is "soon"; write a duration such as 60s, 5m, 1h or 7d.',
    ),
    (
        "prod",
        "sentinel.down_after",
        0,
        "sentinel.down_after is 0; write a duration such as 60s, 5m, 1h or 7d, above zero.",
    ),
    ("dev", "workers", [], "workers is []; write keys with values such as"),
    ("dev", "workers", {}, "workers is {}; write at least one entry such as"),
    ("dev", "workers", GONE, "workers is missing; add it, such as"),
    (
        "dev",
        "workers.Worker_High",
        {"queues": ["default"]},
        "workers.Worker_High is no good name; write 2 to 40 small letters",
    ),
    ("dev", "workers.worker-high", None, "workers.worker-high is null; write keys with values such as"),
    ("dev", "workers.worker-high.queues", GONE, 'workers.worker-high.queues is missing; add it, such as ["default"].'),
    ("dev", "workers.worker-high.queues", "default", 'workers.worker-high.queues is "default"; write a list such as'),
    (
        "dev",
        "workers.worker-high.queues",
        ["hi_priority"],
        'workers.worker-high.queues[0] is "hi_priority"; write one of high_priority, default, low_priority, re-queue '
        "(did you mean high_priority?).",
    ),
    ("dev", "workers.worker-high.queues", ["urgent"], 'workers.worker-high.queues[0] is "urgent"; write one of'),
    (
        "dev",
        "workers.worker-high.concurrency",
        "8",
        'workers.worker-high.concurrency is "8"; write a whole number such as 8.',
    ),
    ("dev", "workers.worker-high.concurrency", 0, "workers.worker-high.concurrency is 0; write a number above 0."),
    ("dev", "workers.worker-high.concurrency", 2.5, "workers.worker-high.concurrency is 2.5; write a whole number"),
    (
        "dev",
        "workers.worker-high.pool",
        "gevent",
        'workers.worker-high.pool is "gevent"; write one of prefork, threads, solo.',
    ),
    ("dev", "workers.worker-high.grace", "-5s", 'workers.worker-high.grace is "-5s"; write a duration'),
    ("dev", "workers.worker-high.pre_stop", -5, "workers.worker-high.pre_stop is -5; write a duration such as 60s"),
    ("dev", "workers.worker-high.cpus", "two", 'workers.worker-high.cpus is "two"; write a number such as 2.'),
    ("dev", "workers.worker-high.cpus", 0, "workers.worker-high.cpus is 0; write a number above 0."),
    ("dev", "resurrector", 1, "resurrector is 1; write keys with values."),
    (
        "dev",
        "resurrector.strategy",
        "Recreate",
        'resurrector.strategy is "Recreate"; write one of recreate, rolling (did you',
    ),
    (
        "dev",
        "durability",
        "replicate",
        'durability is "replicate"; write one of local, replicated, fsynced (did you mean',
    ),
    ("dev", "drain", {"seconds": 30}, 'drain is {"seconds": 30}; write a duration such as 60s, 5m, 1h or 7d.'),
    ("dev", "admission.limit", 10**20, "admission.limit is 100000000000000000000; write"),
    (
        "dev",
        "checkpoints.dir",
        "checkpoints",
        'checkpoints.dir is "checkpoints"; write an absolute path such as /var/lib',
    ),
    ("dev", "checkpoints.access", "ReadWriteMany", 'checkpoints.access is "ReadWriteMany"; write one of rwo, rwx.'),
    ("prod", "backup.keep", "a week", 'backup.keep is "a week"; write a duration'),
    ("prod", "backup.offsite", {}, "backup.offsite.bucket is missing; add it, such as s3://relier-backups/prod."),
    ("dev", "telemetry.enabled", "on", 'telemetry.enabled is "on"; write true or false.'),
    (
        "dev",
        "telemetry.publish_grafana",
        3000,
        "telemetry.publish_grafana is 3000; write text in quotes such as 127.0.0.1:3000.",
    ),
    ("dev", "telemetry.publish_grafana", "3000:3000", "write an address and a port such as 127.0.0.1:3000."),
    (
        "prod",
        "secrets.redis",
        "hunter2",
        "secrets.redis is not a reference; write env:NAME, file:/path, vault:name or k8s:",
    ),
    ("prod", "secrets.redis", 4711, "secrets.redis is not a reference; write env:NAME"),
    ("prod", "secrets.secret_key", "${SECRET}", "secrets.secret_key is not a reference; write env:NAME"),
    ("prod", "secrets", "env:REDIS_PASSWORD", "secrets is not a list of references by name; write keys with values."),
    ("dev", "env", ["A=b"], "env is not a list of variables by name; write keys with values"),
    ("dev", "env.RELIER_MAX_RESURRECTIONS", 5, "env.RELIER_MAX_RESURRECTIONS is not text; write text in quotes"),
    ("dev", "env.relier_max", "5", "env.relier_max is no good name; write a variable's name in capitals"),
    ("dev", "public", ["redis"], 'public[0] is "redis"; write one of prometheus, grafana.'),
    ("dev", "require_digests", "no", 'require_digests is "no"; write true or false.'),
    ("dev", "name", "My Relier", 'name is "My Relier"; write 2 to 40 small letters, digits and dashes such as relier.'),
]
TEXTS = {
    "an empty file": ("", "the stack is empty; write keys with values, starting with tier: dev."),
    "a list": ("- tier: dev\n", "the stack is a list; write keys with values"),
    "a word": ("dev\n", "the stack is a str; write keys with values"),
    "a bad indent": ("tier: dev\n  app: x\n", "line 2, column 6"),
    "a tab": ("tier: dev\napp:\n\timage: x\n", "line 3, column 1"),
    "an open bracket": ("tier: [dev\n", "mend the YAML there."),
    "a key twice": ("tier: dev\ntier: prod\n", "line 2, column 1: the key tier stands twice in one place; keep one."),
    "an unknown anchor": ("tier: *dev\n", "line 1, column 7"),
    "two documents": ("tier: dev\n---\ntier: prod\n", "line 2, column 1"),
    "a python object": ("tier: !!python/object/apply:os.system [ls]\n", "line 1, column 7"),
    "a control character": ("tier: \x01dev\n", "it is not YAML"),
    "a deep nest": ("[" * 3000, "it is nested too deeply"),
    "an anchor to itself": ("tier: dev\napp: &a\n  image: *a\n", "the stack refers to itself;"),
}


def check(path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What `check` says, line by line; it must refuse and say nothing on standard output."""
    assert main(["check", str(path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return said.err.splitlines()


@pytest.mark.parametrize(("tier", "path", "value", "says"), TYPOS + WRONG_TYPES, ids=lambda part: str(part)[:40])
def test_a_mistake_is_answered_with_one_sentence_that_names_the_field(
    tier: str, path: str, value: Any, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(yaml.safe_dump(stack(tier, **{path: value})))
    lines = check(bad, capsys)
    assert len(lines) == 1, lines
    assert says in lines[0]
    assert lines[0].endswith((".", "?"))
    assert "hunter2" not in lines[0]
    assert len(lines[0]) < 300


@pytest.mark.parametrize(("text", "says"), TEXTS.values(), ids=TEXTS)
def test_what_is_no_stack_is_answered_with_one_sentence(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(text)
    lines = check(bad, capsys)
    assert len(lines) == 1, lines
    assert says in lines[0]


def test_there_are_sixty_mistakes_and_more() -> None:
    assert len(TYPOS) + len(WRONG_TYPES) + len(TEXTS) >= 60


def test_no_mistake_makes_a_rule_speak_of_what_was_never_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(yaml.safe_dump(stack("prod", sentinal=stack("prod")["sentinel"], sentinel=GONE)))
    assert check(bad, capsys) == ["sentinal is unknown; did you mean sentinel?"]


def test_a_typo_hides_no_broken_rule_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        yaml.safe_dump(stack("prod", **{"drian": "1s", "redis.maxmemory": "3gb", "resurrector.replicas": 3}))
    )
    lines = check(bad, capsys)
    places = {line.split(" is ")[0] for line in lines}
    assert places == {"drian", "redis.maxmemory", "resurrector.replicas"}


def test_a_misspelt_key_is_judged_as_what_it_was_meant_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.yaml"
    changes = {"redis.maxmemory": GONE, "redis.maxmemroy": "3gb", "redis.publish": ["0.0.0.0:6379"]}
    bad.write_text(yaml.safe_dump(stack("prod", **changes)))
    assert [line.split(" is ")[0] for line in check(bad, capsys)] == [
        "redis.maxmemroy",
        "redis.maxmemory",
        "redis.publish",
    ]


def test_a_value_of_a_wrong_type_is_not_judged_by_its_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(yaml.safe_dump(stack("prod", **{"redis.acl": "yes", "resurrector.replicas": 2})))
    assert [line.split(" is ")[0] for line in check(bad, capsys)] == ["redis.acl", "resurrector.replicas"]
