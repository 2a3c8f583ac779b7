"""`rl config`: shows no secret, judges the settings and the live Redis, and edits `.env` whole or not at all."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from harness.process import rl as rl_process
from harness.process import wait_until
from harness.redis import RedisServer, SentinelCluster, free_port
from tests.lib.in_process import rl


@pytest.fixture(autouse=True)
def _empty_folder(settings: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings()


def found(*, level: str | None = None, code: int | None = None) -> list[dict[str, str]]:
    done = rl("config", "validate", "--json")
    data = json.loads(done.stdout)
    assert done.exit_code == (0 if data["ok"] else 1)
    assert code in (None, done.exit_code)
    return [finding for finding in data["findings"] if level in (None, finding["level"])]


def messages(**which: Any) -> str:
    return "\n".join(finding["message"] for finding in found(**which))


def register(db: redis.Redis, node: str, queues: list[str]) -> None:
    entry = {"queues": queues, "state": "consuming", "seen": time.time(), "pid": 1, "pool": "solo", "concurrency": 1}
    db.hset("rl:workers", node, json.dumps(entry))


def test_show_names_every_setting_with_its_origin(settings: Callable[..., Any], tmp_path: Path) -> None:
    from relier.settings import Settings

    (tmp_path / ".env").write_text("RELIER_HEARTBEAT_TTL=7\n")
    settings(admission_limit=9)
    rows = {row["name"]: row for row in json.loads(rl("config", "show", "--json").stdout)}
    assert set(rows) == {f"RELIER_{name.upper()}" for name in Settings.model_fields}
    assert (rows["RELIER_HEARTBEAT_TTL"]["value"], rows["RELIER_HEARTBEAT_TTL"]["source"]) == ("7.0", ".env")
    assert (rows["RELIER_ADMISSION_LIMIT"]["value"], rows["RELIER_ADMISSION_LIMIT"]["source"]) == ("9", "environment")
    assert rows["RELIER_MAX_RESURRECTIONS"]["source"] == "default"
    assert "RELIER_HEARTBEAT_TTL" in rl("admin", "config").stdout


@pytest.mark.parametrize(
    "variables",
    [
        {"redis_password": "hush"},
        {"redis_url": "redis://user:hush@redis.example:6379/0"},
        {"redis_url": "redis://:hu:hush@redis.example:6379/0"},
        {"redis_url": "redis://redis.example:6379/0?password=hush"},
        {"redis_sentinel_password": "hush"},
        {"secret_key": "hush", "secret_keys_previous": "hush-1,hush-2"},
        {"otel_exporter_otlp_endpoint": "https://user:hush@otel.example"},
    ],
)
def test_show_prints_no_secret(settings: Callable[..., Any], variables: dict[str, str]) -> None:
    settings(**variables)
    for command in (("config", "show"), ("config", "show", "--json"), ("admin", "config")):
        shown = rl(*command)
        assert shown.exit_code == 0
        assert "hush" not in shown.output
    assert "********" in rl("config", "show").stdout


def test_the_url_is_shown_so_that_it_can_be_checked(settings: Callable[..., Any]) -> None:
    settings(redis_url="redis://user:hush@redis.example:6379/0")
    line = next(line for line in rl("config", "show").stdout.splitlines() if line.startswith("RELIER_REDIS_URL "))
    assert "redis://user:********@redis.example:6379/0" in line


def test_a_fit_deployment_has_no_findings(settings: Callable[..., Any], db: redis.Redis) -> None:
    settings(redis_max_connections=30)
    register(db, "w@host", ["high_priority", "default", "low_priority", "re-queue"])
    db.set("rl:pulse", int(time.time() * 1000))
    assert found() == []
    assert rl("config", "validate").stdout == "Everything is as it must be.\n"


def test_a_misspelt_variable_is_an_error_that_names_the_right_one(settings: Callable[..., Any]) -> None:
    settings(hartbeat_ttl=5)
    sentence = "RELIER_HARTBEAT_TTL in the environment is no setting of Relier; did you mean RELIER_HEARTBEAT_TTL?"
    assert sentence in messages(level="error", code=1)
    assert f"error: {sentence}" in rl("config", "validate").stdout


def test_a_misspelt_variable_in_dotenv_is_found_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("RELIER_REDIS_ULR=redis://x\nOTHER=1\n")
    assert "RELIER_REDIS_ULR in .env is no setting of Relier; did you mean RELIER_REDIS_URL?" in messages(code=1)


def test_what_kubernetes_adds_for_a_service_is_no_finding(settings: Callable[..., Any]) -> None:
    settings(
        redis_service_host="10.0.0.1",
        redis_service_port="6379",
        redis_service_port_redis="6379",
        redis_port="tcp://10.0.0.1:6379",
        redis_port_6379_tcp="tcp://10.0.0.1:6379",
        redis_port_6379_tcp_addr="10.0.0.1",
    )
    assert not [finding for finding in found() if finding["rule"] == "variables"]


def test_an_invalid_value_is_named_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    from relier.settings import get_settings

    monkeypatch.setenv("RELIER_MAX_RESURRECTIONS", "hush")
    get_settings.cache_clear()
    assert "RELIER_MAX_RESURRECTIONS: " in messages(level="error", code=1)
    for command in (("config", "validate"), ("config", "show"), ("worker", "status")):
        done = rl(*command)
        assert done.exit_code == 1
        assert "RELIER_MAX_RESURRECTIONS" in done.output
        assert "hush" not in done.output


def test_too_few_connections_for_the_concurrency_is_a_warning(settings: Callable[..., Any]) -> None:
    settings(redis_max_connections=23, celery_worker_concurrency=8)
    assert "RELIER_REDIS_MAX_CONNECTIONS is 23" in messages(level="warning", code=0)
    settings(redis_max_connections=24, celery_worker_concurrency=8)
    assert "RELIER_REDIS_MAX_CONNECTIONS" not in messages()


def test_a_checkpoint_folder_that_is_not_there_is_an_error(settings: Callable[..., Any], tmp_path: Path) -> None:
    settings(checkpoint_backend="filesystem", checkpoint_dir=tmp_path / "nowhere")
    assert "RELIER_CHECKPOINT_DIR" in messages(level="error", code=1)


def test_timeouts_must_fit_each_other(settings: Callable[..., Any]) -> None:
    settings(soft_timeout=30, hard_timeout=30)
    assert "must be less than RELIER_HARD_TIMEOUT" in messages(level="error", code=1)
    settings(soft_timeout=25, hard_timeout=115)
    assert "should stay 10 s below" in messages(level="warning", code=0)


def test_a_cluster_without_workers_or_resurrector_is_warned_of(db: redis.Redis) -> None:
    warnings = messages(level="warning", code=0)
    assert "No worker consumes" in warnings
    assert "No resurrector has ever scanned" in warnings


def test_a_queue_that_nobody_consumes_is_warned_of(db: redis.Redis) -> None:
    register(db, "w@host", ["high_priority", "default", "low_priority"])
    db.set("rl:pulse", int((time.time() - 600) * 1000))
    db.sadd("rl:queues", "abandoned")
    db.lpush("abandoned", "message")
    warnings = messages(level="warning", code=0)
    assert "No worker consumes re-queue (0 tasks wait)" in warnings
    assert "No worker consumes abandoned (1 tasks wait)" in warnings
    assert "No worker consumes default" not in warnings
    assert "No resurrector has scanned for 600 s" in warnings


def test_an_evicting_redis_is_an_error_and_other_risks_are_warnings() -> None:
    with RedisServer(maxmemory_policy="allkeys-lru", appendonly="no", maxmemory="0") as unfit:
        done = rl_process(unfit.url, "config", "validate")
    assert done.returncode == 1
    assert "maxmemory-policy='noeviction', but got 'allkeys-lru'" in done.stdout
    assert "Refusing to start" not in done.stdout
    assert "error: Redis takes snapshots only" in done.stdout
    assert "warning: Redis has no maxmemory" in done.stdout


def test_a_redis_that_drops_idle_clients_or_suspends_its_syncs_is_named() -> None:
    odd = {"timeout": "300", "no_appendfsync_on_rewrite": "yes", "maxmemory": "800kb"}
    with RedisServer({name.replace("_", "-"): value for name, value in odd.items()}) as unfit:
        done = rl_process(unfit.url, "config", "validate")
    assert "Redis has timeout 300, so it drops workers that wait for a task; set 0." in done.stdout
    assert "error: Redis has no-appendfsync-on-rewrite yes" in done.stdout
    assert done.returncode == 1
    assert "of its maxmemory (819200 bytes), and refuses pushes when it is full" in done.stdout


def test_a_redis_that_is_nearly_out_of_connections_is_warned_of() -> None:
    with RedisServer(maxclients="50") as small:
        clients = [small.client() for _ in range(46)]
        assert all(client.ping() for client in clients)
        done = rl_process(small.url, "config", "validate")
    assert "connections of maxclients 50, and refuses more" in done.stdout


def test_pushes_that_wait_for_a_replica_need_one(settings: Callable[..., Any]) -> None:
    settings(durability="replicated")
    assert "RELIER_DURABILITY is replicated, but Redis has no replica" in messages(level="error", code=1)


def test_unsigned_tasks_beside_a_key_are_warned_of(settings: Callable[..., Any]) -> None:
    settings(secret_key="long-enough-a-key", accept_unsigned=True)
    assert "RELIER_ACCEPT_UNSIGNED is true" in messages(level="warning", code=0)
    settings(secret_key="long-enough-a-key", accept_unsigned=False)
    assert "RELIER_ACCEPT_UNSIGNED" not in messages()


def test_telemetry_without_its_package_is_an_error(
    settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings(otel_enabled=True)
    assert "OpenTelemetry" not in messages()
    monkeypatch.setattr("relier.cli.validate.find_spec", lambda name: None)
    assert "RELIER_OTEL_ENABLED is true, but OpenTelemetry is not installed here" in messages(level="error", code=1)


def test_a_redis_that_is_away_is_one_error() -> None:
    done = rl_process(f"redis://127.0.0.1:{free_port()}/0", "config", "validate")
    assert done.returncode == 1
    assert done.stdout.count("error: Relier cannot reach Redis") == 1
    assert "Traceback" not in done.stdout + done.stderr


@pytest.fixture
def sentinels() -> Iterator[SentinelCluster]:
    with SentinelCluster(replicas=1, password="pass-word", sentinel_password="watch-word", down_after=1) as cluster:
        yield cluster


def test_a_sentinel_deployment_is_judged_by_replicas_and_quorum(sentinels: SentinelCluster) -> None:
    env = sentinels.env()
    doctor = rl_process(env, "doctor")
    assert doctor.returncode == 0, doctor.stderr
    assert "relier-master via Sentinel 127.0.0.1:" in doctor.stdout
    healthy = rl_process(env, "config", "validate")
    assert healthy.returncode == 0, healthy.stdout
    replica = next(node for node in sentinels.nodes if node is not sentinels.master())
    with sentinels.master().client() as client, replica.client() as other:
        client.config_set("min-replicas-to-write", 0)
        other.config_set("maxmemory-policy", "allkeys-lru")
    for sentinel in sentinels.sentinels[1:]:
        sentinel.kill()
    lost = f"Sentinel 127.0.0.1:{sentinels.sentinels[0].port} could not fail relier-master over: NOQUORUM"
    wait_until(lambda: lost in rl_process(env, "config", "validate").stdout, 20, "the loss of the quorum")
    broken = rl_process(env, "config", "validate")
    assert broken.returncode == 1
    assert "min-replicas-to-write 0" in broken.stdout
    assert f"The replica 127.0.0.1:{replica.port} has maxmemory-policy allkeys-lru, the master" in broken.stdout
    assert broken.stdout.count("does not answer") == 2
    wrong = rl_process(env | {"RELIER_REDIS_SENTINEL_MASTER_NAME": "other"}, "doctor")
    assert wrong.returncode == 1
    assert "RELIER_REDIS_SENTINEL_MASTER_NAME" in wrong.stderr
    assert "word" not in (healthy.stdout + broken.stdout + wrong.stderr).replace("PASSWORD", "")


def test_set_writes_a_setting_that_the_settings_then_read(settings: Callable[..., Any], tmp_path: Path) -> None:
    done = rl("config", "set", "RELIER_HEARTBEAT_TTL", "15")
    assert done.exit_code == 0
    assert str(tmp_path / ".env") in done.stdout
    assert settings().heartbeat_ttl == 15


def test_set_keeps_everything_else_in_the_file(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("# ours\nexport A=1\n\nRELIER_LOG_LEVEL=info # loud\nB='x\ny'\nRELIER_LOG_LEVEL=error\nC=3")
    assert rl("config", "set", "relier_log_level", "DEBUG").exit_code == 0
    assert env.read_text() == "# ours\nexport A=1\n\nRELIER_LOG_LEVEL=DEBUG\nB='x\ny'\nC=3"
    assert rl("config", "set", "RELIER_ADMISSION_LIMIT", "7").exit_code == 0
    assert env.read_text().endswith("C=3\nRELIER_ADMISSION_LIMIT=7\n")


def test_set_edits_the_nearest_dotenv_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("")
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert rl("config", "set", "RELIER_HEARTBEAT_TTL", "15").exit_code == 0
    assert (tmp_path / ".env").read_text() == "RELIER_HEARTBEAT_TTL=15\n"
    assert not (tmp_path / "a" / "b" / ".env").exists()


def test_set_keeps_the_mode_and_the_link(tmp_path: Path) -> None:
    real = tmp_path / "shared.env"
    real.write_text("A=1\n")
    real.chmod(0o640)
    (tmp_path / ".env").symlink_to(real)
    before = real.stat().st_ino
    assert rl("config", "set", "RELIER_HEARTBEAT_TTL", "15").exit_code == 0
    assert (tmp_path / ".env").is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert real.stat().st_ino != before, "a new file took the old one's place"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".env", "shared.env"]


def test_a_new_dotenv_is_for_its_owner_only(tmp_path: Path) -> None:
    assert rl("config", "set", "RELIER_SECRET_KEY", "-", text="from stdin\n").exit_code == 0
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert (tmp_path / ".env").read_text() == "RELIER_SECRET_KEY='from stdin'\n"


@pytest.mark.parametrize(
    "value", ["with space", "it's", 'say "x"', "back\\slash", "a#b", " lead", "$HOME", "`id`", "ü"]
)
def test_any_value_is_read_back_as_it_was_given(settings: Callable[..., Any], value: str) -> None:
    assert rl("config", "set", "RELIER_SECRET_KEY", value).exit_code == 0
    assert settings().secret("secret_key") == value


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("RELIER_HEARTBEAT_TTL", "-5", "RELIER_HEARTBEAT_TTL: Input should be greater than 0."),
        ("RELIER_REDIS_USE_SENTINEL", "true", "RELIER_REDIS_SENTINEL_NODES is empty"),
        ("RELIER_HARTBEAT_TTL", "5", "did you mean RELIER_HEARTBEAT_TTL?"),
        ("PATH", "/bin", "PATH is no setting of Relier"),
        ("RELIER_SECRET_KEY", "${HOME}", "cannot be written into a .env file"),
    ],
)
def test_set_refuses_what_would_not_work_and_leaves_the_file(
    tmp_path: Path, key: str, value: str, sentence: str
) -> None:
    env = tmp_path / ".env"
    env.write_text("A=1\n")
    done = rl("config", "set", "--", key, value)
    assert done.exit_code == 1
    assert sentence in done.stderr
    assert env.read_text() == "A=1\n"
    assert list(tmp_path.iterdir()) == [env]


def test_set_says_when_the_environment_wins(settings: Callable[..., Any]) -> None:
    settings(heartbeat_ttl=4)
    done = rl("config", "set", "RELIER_HEARTBEAT_TTL", "15")
    assert done.exit_code == 0
    assert "wins over .env" in done.stderr
