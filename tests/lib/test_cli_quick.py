"""`rl doctor`, `rl probe` and `rl --version`: right, and light."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from harness.process import clean_env, rl
from harness.redis import RedisServer, free_port
from relier.cli import PROBE_SECONDS, light
from relier.cli.quick import Verdict, answer
from relier.pulse import FRESH_SECONDS, pulse_file
from relier.settings import get_settings

SENTINEL = {
    "REDIS_USE_SENTINEL": "true",
    "REDIS_SENTINEL_NODES": "a.example:26379,10.0.0.2:26380,c:1",
    "REDIS_SENTINEL_MASTER_NAME": "other",
    "REDIS_SENTINEL_PASSWORD": "sentinel-secret",
    "REDIS_PASSWORD": "secret",
}
ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {"REDIS_URL": "rediss://user:p%40ss@redis.example:6380/2"},
    {"REDIS_URL": "unix:///run/redis.sock?db=1"},
    {"REDIS_USERNAME": "relier", "REDIS_PASSWORD": "secret", "REDIS_URL": ""},
    {"REDIS_SOCKET_TIMEOUT": "7", "REDIS_CONNECT_TIMEOUT": "0.5", "REDIS_HEALTH_CHECK_INTERVAL": "9"},
    {"REDIS_SOCKET_TIMEOUT": "1e1", "REDIS_MAX_CONNECTIONS": " 7 "},
    {"REDIS_TLS": "1", "REDIS_TLS_CA_FILE": "/etc/ssl/ca.pem", "RUNTIME_DIR": "/run/relier"},
    {"REDIS_TLS": "yes"},
    SENTINEL,
    SENTINEL | {"REDIS_TLS": "True", "REDIS_SENTINEL_USERNAME": "watcher"},
    SENTINEL | {"REDIS_SENTINEL_NODES": "only-a-name, b:2"},
]


@pytest.fixture
def write(settings: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set variables in an empty folder, where a `.env` is read from."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RELIER_REDIS_URL")

    def apply(variables: dict[str, str]) -> None:
        settings(**{name.lower(): value for name, value in variables.items()})

    apply({})
    return apply


def same_as_settings() -> None:
    from relier.connection import connect
    from relier.settings import Settings

    lightly, fully = light.read(), Settings()
    for name in light.FIELDS:
        value = getattr(fully, name)
        expected = fully.secret(name) if name.endswith("_password") else value
        found = lightly.secret(name) if name.endswith("_password") else getattr(lightly, name)
        assert (found, type(found)) == (expected, type(expected)), name
    assert lightly.endpoint == fully.endpoint
    pools = [connect(each).connection_pool for each in (lightly, fully)]
    kwargs = [{k: v for k, v in p.connection_kwargs.items() if isinstance(v, str | float | int | None)} for p in pools]
    assert "socket_timeout" in kwargs[0]
    assert kwargs[0] == kwargs[1]
    assert pools[0].connection_class is pools[1].connection_class
    managers = [getattr(pool, "sentinel_manager", None) for pool in pools]
    assert [[s.connection_pool.connection_kwargs["host"] for s in m.sentinels] for m in managers if m] in (
        [],
        [[host for host, _ in fully.redis_sentinel_nodes]] * 2,
    )


@pytest.mark.parametrize("variables", ENVIRONMENTS)
def test_the_light_reader_reads_the_environment_as_the_settings_do(
    write: Callable[..., None], variables: dict[str, str]
) -> None:
    write(variables)
    same_as_settings()


@pytest.mark.parametrize("variables", ENVIRONMENTS)
def test_the_light_reader_reads_dotenv_as_the_settings_do(
    write: Callable[..., None], variables: dict[str, str]
) -> None:
    lines = [f"export RELIER_{name}='{value}'  # a comment" for name, value in variables.items()]
    Path(".env").write_text("\n".join([*lines, "relier_log_level=debug", "OTHER=1", "RELIER_BARE"]))
    write({})
    same_as_settings()


def test_the_environment_wins_over_dotenv_for_both_readers(write: Callable[..., None]) -> None:
    Path(".env").write_text("RELIER_REDIS_URL=redis://from-dotenv:1/0\nRELIER_REDIS_PASSWORD=dotenv")
    write({"REDIS_URL": "redis://from-env:2/0"})
    assert light.read().endpoint == "from-env:2"
    same_as_settings()


def test_both_readers_take_a_secret_from_its_file(write: Callable[..., None], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from-the-file\n")
    write({"REDIS_PASSWORD_FILE": str(secret), "REDIS_PASSWORD": "plain"})
    assert light.read().secret("redis_password") == "from-the-file"
    same_as_settings()


def test_an_address_may_be_kept_in_a_file(write: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://from-the-file:6380/2\n")
    write({"REDIS_URL_FILE": str(tmp_path / "url"), "REDIS_URL": "redis://plain:6379/0"})
    assert light.read().redis_url == "redis://from-the-file:6380/2"
    same_as_settings()


def test_plain_values_are_read_without_pydantic(write: Callable[..., None]) -> None:
    write(SENTINEL)
    assert isinstance(light.read(), light.Light)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"REDIS_USE_SENTINEL": "true"}, "RELIER_REDIS_SENTINEL_NODES is empty"),
        ({"REDIS_SOCKET_TIMEOUT": "soon"}, "RELIER_REDIS_SOCKET_TIMEOUT"),
        ({"REDIS_PASSWORD_FILE": "/nowhere/at-all"}, "RELIER_REDIS_PASSWORD_FILE: cannot read /nowhere/at-all"),
    ],
)
def test_doctor_says_which_setting_is_wrong(
    write: Callable[..., None], monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sentence: str
) -> None:
    from relier.settings import get_settings

    for name, value in variables.items():
        monkeypatch.setenv(f"RELIER_{name}", value)
    get_settings.cache_clear()
    verdict = answer(["doctor"])
    assert verdict is not None
    assert not verdict.ok
    assert sentence in verdict.sentence


def test_doctor_says_that_redis_answers(server: RedisServer) -> None:
    done = rl(server.url, "doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Redis answers (127.0.0.1:{server.port}, ")


def test_doctor_fails_in_one_sentence_when_redis_is_away() -> None:
    port = free_port()
    done = rl(f"redis://127.0.0.1:{port}/0", "doctor")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Relier cannot reach Redis (127.0.0.1:{port}).")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("url", ["redis://:hush-hush@127.0.0.1:{port}/0", "redis://:hu/sh-hush@127.0.0.1:{port}/0"])
def test_doctor_never_prints_a_password(url: str) -> None:
    done = rl(url.format(port=free_port()), "doctor")
    assert done.returncode == 1
    assert "hush" not in done.stdout + done.stderr
    assert "/hu" not in done.stdout + done.stderr


def test_doctor_authenticates_with_the_password_of_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("opensesame\n")
    with RedisServer(password="opensesame") as guarded:
        url = f"redis://127.0.0.1:{guarded.port}/0"
        assert rl({"RELIER_REDIS_URL": url, "RELIER_REDIS_PASSWORD_FILE": str(secret)}, "doctor").returncode == 0
        refused = rl(url, "doctor")
    assert refused.returncode == 1
    assert "set RELIER_REDIS_PASSWORD" in refused.stderr


def imported(server: RedisServer, *arguments: str, **variables: str) -> set[str]:
    """The top-level modules that a command imports."""
    code = (
        "import contextlib, sys; sys.argv = ['rl', *sys.argv[1:]]\nfrom relier.cli import main\n"
        "with contextlib.suppress(SystemExit): main()\nprint('MODULES', *{name.split('.')[0] for name in sys.modules})"
    )
    env = clean_env({"RELIER_REDIS_URL": server.url} | variables)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=env, cwd="/", capture_output=True, text=True, check=True
    )
    return set(done.stdout.rpartition("MODULES")[2].split())


def test_a_doctor_does_not_import_celery_or_typer(server: RedisServer) -> None:
    modules = imported(server, "doctor")
    assert "redis" in modules
    assert not modules & {"celery", "kombu", "typer", "rich"}


def test_a_live_probe_imports_neither_redis_nor_celery_nor_pydantic(server: RedisServer, tmp_path: Path) -> None:
    modules = imported(server, "probe", "live", RELIER_RUNTIME_DIR=str(tmp_path / "run"))
    assert not modules & {"redis", "celery", "kombu", "typer", "rich", "pydantic"}


def test_version_is_the_packages(server: RedisServer) -> None:
    from relier import __version__

    assert rl(server.url, "--version").stdout == f"relier {__version__}\n"


@pytest.fixture
def pulses(settings: Callable[..., Any], tmp_path: Path) -> Path:
    """An empty folder for pulse files."""
    settings(runtime_dir=tmp_path / "run")
    folder = Path(f"{tmp_path / 'run'}-{os.getuid()}")
    folder.mkdir()
    return folder


def beat(folder: Path, node: str, *, age: float = 0.0, pid: int | None = None) -> Path:
    path = folder / f"{node}.pulse"
    path.write_text(f"{pid or os.getpid()} 1\n")
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def probe(*arguments: str) -> Verdict:
    verdict = answer(["probe", *arguments])
    assert verdict is not None
    return verdict


def test_the_probe_looks_where_the_worker_writes(pulses: Path) -> None:
    theirs = pulse_file(get_settings(), "a/b@host")
    assert theirs.parent == pulses
    beat(pulses, theirs.stem)
    assert probe("live", "--node", "a/b@host").ok


def test_a_fresh_pulse_is_alive_and_a_stale_one_is_not(pulses: Path) -> None:
    beat(pulses, "w@host")
    assert probe("live").ok
    beat(pulses, "w@host", age=FRESH_SECONDS + 1)
    verdict = probe("live")
    assert not verdict.ok
    assert "w@host has had no pulse for 16 s" in verdict.sentence


def test_no_pulse_at_all_is_not_alive(pulses: Path) -> None:
    assert "No worker has a pulse" in probe("live").sentence
    assert "w@host has no pulse" in probe("live", "--node", "w@host").sentence


def test_several_workers_must_be_told_apart(pulses: Path) -> None:
    beat(pulses, "a@host")
    beat(pulses, "b@host", age=60)
    assert "name one with --node" in probe("live").sentence
    assert probe("live", "--node", "a@host").ok
    assert not probe("live", "--node", "b@host").ok


def test_what_a_killed_worker_left_behind_is_not_taken_for_a_worker(pulses: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    beat(pulses, "old@host", age=60, pid=int(gone.stdout))
    beat(pulses, "new@host")
    assert probe("live").sentence.startswith("new@host is alive")


def registered(db: redis.Redis, node: str, **changes: Any) -> None:
    entry = {"queues": ["default"], "state": "consuming", "seen": time.time(), "pid": 1, "pool": "solo"} | changes
    db.hset("rl:workers", node, json.dumps(entry | {"concurrency": 1, "since": 0}))


@pytest.mark.parametrize(
    ("changes", "ok", "words"),
    [
        ({}, True, "consumes default"),
        ({"state": "draining"}, False, "it is draining"),
        ({"state": "connecting"}, False, "it is connecting"),
        ({"seen": time.time() - 3600}, False, "has not reported"),
    ],
)
def test_a_worker_is_ready_only_while_it_consumes(
    pulses: Path, db: redis.Redis, changes: dict[str, Any], ok: bool, words: str
) -> None:
    beat(pulses, "w@host")
    registered(db, "w@host", **changes)
    verdict = probe("ready")
    assert verdict.ok is ok
    assert words in verdict.sentence


def test_a_worker_that_is_not_registered_is_not_ready(pulses: Path, db: redis.Redis) -> None:
    assert "w@host is not registered" in probe("ready", "--node", "w@host").sentence


def test_the_full_command_line_knows_the_quick_commands_too(server: RedisServer) -> None:
    for arguments in (("doctor", "--help"), ("probe", "--help"), ("probe", "live", "--help")):
        done = rl(server.url, *arguments)
        assert done.returncode == 0
        assert "Usage: rl" in done.stdout


def test_a_probe_ends_by_itself_when_nothing_answers() -> None:
    """Docker leaves a check that timed out running."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        env = clean_env() | {"RELIER_REDIS_URL": url, "RELIER_REDIS_SOCKET_TIMEOUT": "3600"}
        argv = [sys.executable, "-m", "relier.cli", "doctor"]
        ended = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (1, f"No answer within {PROBE_SECONDS} s.\n")
