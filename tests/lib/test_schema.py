"""Schema migrations: code of today runs payloads of yesterday."""

from __future__ import annotations

import json

import pytest

from relier import SchemaMigrationError, SchemaRegistry

pytest_plugins = ("tests.lib.crew",)
INCLUDE = "tests.lib.feature_schema"


@pytest.fixture
def registry(monkeypatch):
    """An empty registry at version 3."""
    monkeypatch.setattr(SchemaRegistry, "_migrations", {})
    monkeypatch.setattr(SchemaRegistry, "CURRENT_VERSION", 3)
    return SchemaRegistry


def test_a_payload_climbs_every_step_in_order(registry):
    @registry.register_migration("a.task", 2)
    def second(args, kwargs):
        return (*args, "second"), kwargs

    @registry.register_migration("a.task", 1)
    def first(args, kwargs):
        return (*args, "first"), kwargs | {"new": 1}

    assert registry.migrate("a.task", 1, [0], {}) == ((0, "first", "second"), {"new": 1})
    assert registry.migrate("a.task", 2, [0], {}) == ((0, "second"), {})
    assert registry.migrate("a.task", 3, [0], {}) == ([0], {})
    assert registry.migrate("another.task", 1, [0], {}) == ([0], {})


def test_a_migration_that_raises_is_named(registry):
    @registry.register_migration("a.task", 1)
    def broken(args, kwargs):
        raise KeyError("gone")

    with pytest.raises(SchemaMigrationError, match=r"a\.task: the migration from version 1 raised KeyError: 'gone'"):
        registry.migrate("a.task", 1, [], {})


def test_a_payload_of_tomorrow_is_refused(registry):
    with pytest.raises(SchemaMigrationError, match="deploy the newer code first"):
        registry.migrate("a.task", 4, [], {})


def test_two_migrations_from_one_version_are_refused(registry):
    registry.register_migration("a.task", 1)(lambda args, kwargs: (args, kwargs))
    with pytest.raises(ValueError, match="already has a migration from version 1"):
        registry.register_migration("a.task", 1)(lambda args, kwargs: (args, kwargs))


def test_validate_finds_the_gaps(registry):
    registry.register_migration("a.task", 1)(lambda args, kwargs: (args, kwargs))
    registry.register_migration("whole.task", 2)(lambda args, kwargs: (args, kwargs))
    assert registry.validate() == ["a.task has no migration from version 2 to 3."]


def test_a_push_carries_the_current_version(db, ledger, features, monkeypatch):
    monkeypatch.setattr(SchemaRegistry, "CURRENT_VERSION", 9)
    receipt = features.add.push(1, 2)
    assert json.loads(db.hget(f"rl:phoenix:{receipt.id}", "envelope"))["v"] == 9


def push_old(features, name, *args):
    """A push of version 1, as a program sends it that knows the old code only."""
    from relier import dispatch

    task = features.app.tasks[features.add.name]
    envelope = dispatch.build(task, args, {}).envelope
    from relier.envelope import sign

    push = dispatch.Push(f"old-{name}", name, "default", envelope, sign(f"old-{name}", name, envelope))
    dispatch.send(push, None, admit=False)
    return features.app.AsyncResult(push.task_id)


def test_a_worker_lifts_an_old_payload(members, features):
    members.start(include=INCLUDE)
    assert push_old(features, "schema.greeted", "Ada Lovelace").get(timeout=20) == "Dear Ada Lovelace"
    assert push_old(features, "schema.unchanged", 4).get(timeout=20) == 4


def test_a_broken_migration_quarantines_and_the_mended_one_runs_after_release(members, features, run):
    from relier import DeadLetterQueue

    members.start(name="broken", include=INCLUDE, env={"FEATURE_BROKEN": "1"})
    receipt = push_old(features, "schema.greeted", "Ada Lovelace")
    entry = members.quarantined(receipt.id)
    assert entry["reason"] == "SchemaMigrationError"
    assert "KeyError: 'name'" in entry["error"]
    members.stop()
    members.start(name="mended", include=INCLUDE)
    assert run(DeadLetterQueue().release(receipt.id))
    assert members.outcome(receipt.id)["result"] == "Dear Ada Lovelace"


def test_old_code_quarantines_a_payload_of_tomorrow(members, features, monkeypatch):
    members.start()
    monkeypatch.setattr(SchemaRegistry, "CURRENT_VERSION", 2)
    entry = members.quarantined(features.add.push(1, 2).id)
    assert entry["reason"] == "SchemaMigrationError"
    assert "deploy the newer code first" in entry["error"]
