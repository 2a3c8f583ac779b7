"""Settings: `RELIER_*` variables and `.env`, read once, frozen, with secrets that do not show."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from relier.settings import Settings, get_settings

DOCUMENTED = {
    "redis_url": "redis://localhost:6379/0",
    "redis_password": None,
    "redis_max_connections": 20,
    "redis_socket_timeout": 5.0,
    "redis_connect_timeout": 2.0,
    "redis_health_check_interval": 30,
    "redis_use_sentinel": False,
    "redis_sentinel_nodes": (),
    "redis_sentinel_master_name": "relier-master",
    "redis_sentinel_password": None,
    "celery_worker_count": 8,
    "celery_worker_concurrency": 8,
    "heartbeat_ttl": 10,
    "max_resurrections": 5,
    "resurrection_check_interval": 2,
    "resurrection_requeue_delay": 0.05,
    "resurrection_batch_size": 1000,
    "resurrection_max_queue_depth": 10_000,
    "idempotency_default_ttl": 3600,
    "idempotency_inflight_ttl": 120,
    "soft_timeout": 25,
    "hard_timeout": 30,
    "graceful_shutdown_timeout": 30,
    "checkpoint_max_inline_bytes": 262_144,
    "checkpoint_backend": "inline",
    "admission_limit": 5000,
    "admission_window": 10,
    "otel_enabled": False,
    "otel_exporter_otlp_endpoint": "http://localhost:4317",
    "log_level": "INFO",
    "secret_key": None,
    "durability": "local",
}


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """No variables, an empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RELIER_REDIS_URL", raising=False)
    return monkeypatch


def test_every_setting_has_its_documented_default(fresh):
    settings = Settings()
    assert {name: getattr(settings, name) for name in DOCUMENTED} == DOCUMENTED
    assert str(settings.checkpoint_dir) == "/var/lib/relier/checkpoints"


def test_a_variable_changes_a_setting(fresh):
    fresh.setenv("RELIER_HEARTBEAT_TTL", "3.5")
    fresh.setenv("RELIER_LOG_LEVEL", "debug")
    settings = Settings()
    assert (settings.heartbeat_ttl, settings.log_level) == (3.5, "DEBUG")


def test_a_dot_env_file_is_read_and_a_variable_wins_over_it(fresh, tmp_path):
    (tmp_path / ".env").write_text("RELIER_ADMISSION_LIMIT=7\nRELIER_ADMISSION_WINDOW=3\nOTHER=1\n")
    fresh.setenv("RELIER_ADMISSION_WINDOW", "4")
    settings = Settings()
    assert (settings.admission_limit, settings.admission_window) == (7, 4)


def test_an_empty_variable_is_an_unset_one(fresh):
    fresh.setenv("RELIER_REDIS_PASSWORD", "")
    fresh.setenv("RELIER_ADMISSION_LIMIT", "")
    settings = Settings()
    assert (settings.redis_password, settings.admission_limit) == (None, 5000)


def test_settings_are_read_once_and_frozen(settings):
    first = settings(heartbeat_ttl=4)
    assert get_settings() is first
    with pytest.raises(ValidationError):
        first.heartbeat_ttl = 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEARTBEAT_TTL", "0"),
        ("HEARTBEAT_TTL", "soon"),
        ("ADMISSION_LIMIT", "-1"),
        ("ADMISSION_WINDOW", "0"),
        ("CHECKPOINT_BACKEND", "tape"),
        ("DURABILITY", "forever"),
        ("LOG_LEVEL", "LOUD"),
        ("REDIS_SENTINEL_NODES", "host:port"),
        ("REDIS_USE_SENTINEL", "true"),
        ("MAX_RESURRECTIONS", "-1"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(fresh, name, value):
    fresh.setenv(f"RELIER_{name}", value)
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert name.lower() in str(refused.value).lower()


def test_sentinel_nodes_are_pairs(fresh):
    fresh.setenv("RELIER_REDIS_SENTINEL_NODES", "one:26379, two:26380 ,three")
    assert Settings().redis_sentinel_nodes == (("one", 26379), ("two", 26380), ("three", 26379))


SECRETS = ("redis_password", "redis_sentinel_password", "secret_key", "secret_keys_previous")


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_does_not_show(fresh, name):
    fresh.setenv(f"RELIER_{name.upper()}", "hunter2")
    settings = Settings()
    assert settings.secret(name) == "hunter2"
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_can_come_from_a_file(fresh, tmp_path, name):
    (tmp_path / "secret").write_text("from a file\n")
    fresh.setenv(f"RELIER_{name.upper()}_FILE", str(tmp_path / "secret"))
    assert Settings().secret(name) == "from a file"


def test_a_secret_file_that_is_not_there_is_named(fresh):
    fresh.setenv("RELIER_SECRET_KEY_FILE", "/nowhere/key")
    with pytest.raises(ValidationError, match="RELIER_SECRET_KEY_FILE: cannot read /nowhere/key"):
        Settings()


def test_the_endpoint_is_told_without_its_password(fresh):
    fresh.setenv("RELIER_REDIS_URL", "redis://user:hunter2@redis.internal:6380/4")
    assert Settings().endpoint == "redis.internal:6380"
    fresh.setenv("RELIER_REDIS_USE_SENTINEL", "true")
    fresh.setenv("RELIER_REDIS_SENTINEL_NODES", "one:26379,two:26379")
    assert Settings().endpoint == "relier-master via Sentinel one:26379,two:26379"
