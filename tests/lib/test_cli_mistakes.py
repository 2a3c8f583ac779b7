"""Whatever goes wrong, `rl` answers with one sentence and a non-zero exit, and never with a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.process import clean_env
from harness.process import rl as rl_process
from harness.redis import RedisServer, free_port
from tests.lib.in_process import rl

ASK_REDIS = [
    "tasks list",
    "tasks inflight",
    "tasks top",
    "tasks inspect x",
    "tasks retry x",
    "tasks cancel x",
    "tasks logs x",
    "tasks inflight --worker x",
    "worker status",
    "worker drain x",
    "worker restart x",
    "worker reset x",
    "worker reap x",
    "dlq list",
    "dlq inspect x",
    "dlq release x",
    "dlq retry-all",
    "dlq purge --confirm",
    "slo status",
    "slo report",
    "admission status",
    "admin purge-locks",
    "admin reset-admission",
    "chaos worker-kill",
    "chaos network-partition",
    "chaos load-spike",
    "probe ready --node x",
    "doctor",
]


@pytest.mark.parametrize("command", ASK_REDIS)
def test_without_redis_every_command_says_so(settings: Callable[..., Any], command: str) -> None:
    port = free_port()
    settings(redis_url=f"redis://:hush@127.0.0.1:{port}/0", push_retry_window=0.1)
    done = rl(*command.split())
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Relier cannot reach Redis (127.0.0.1:{port}). ")
    assert done.stderr.count("\n") == 1
    assert "hush" not in done.stderr


def test_the_resurrector_refuses_to_start_without_redis() -> None:
    done = rl_process(f"redis://127.0.0.1:{free_port()}/0", "run-resurrector")
    assert done.returncode == 1
    assert done.stderr.startswith("RuntimeError: Relier cannot reach Redis (127.0.0.1:")
    assert done.stderr.endswith("Refusing to start.\n")


def test_the_resurrector_refuses_an_evicting_redis() -> None:
    with RedisServer(maxmemory_policy="allkeys-lru") as unfit:
        done = rl_process(unfit.url, "run-resurrector")
    assert done.returncode == 1
    assert "maxmemory-policy='noeviction', but got 'allkeys-lru'" in done.stderr


@pytest.mark.parametrize("options", [("--loglevel", "chatty"), ("--interval", "0"), ("--interval", "soon")])
def test_the_resurrector_refuses_options_that_make_no_sense(ledger: Any, options: tuple[str, str]) -> None:
    done = rl("run-resurrector", *options)
    assert done.exit_code == 2
    assert options[0] in done.stderr


@pytest.mark.parametrize(
    "command", ["nonsense", "tasks nonsense", "tasks cancel", "dlq list --limit 0", "slo report -f xml"]
)
def test_wrong_usage_exits_with_2(command: str) -> None:
    done = rl(*command.split())
    assert done.exit_code == 2
    assert "Error" in done.stderr
    assert "Traceback" not in done.output


def test_a_defect_of_rl_itself_is_one_sentence_too(ledger: Any, db: Any) -> None:
    db.set("rl:dlq", "not a hash")
    done = rl("dlq", "list")
    assert done.exit_code == 1
    assert "WRONGTYPE" in done.stderr
    assert done.stderr.count("\n") == 1
    db.delete("rl:dlq")
    db.hset("rl:dlq", "x", "no json")
    done = rl("dlq", "list")
    assert done.exit_code == 1
    assert "rl met an error that it does not know (JSONDecodeError" in done.stderr


def test_a_reader_that_goes_away_is_no_traceback(server: RedisServer, tmp_path: Path) -> None:
    env = clean_env({"RELIER_REDIS_URL": server.url})
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "relier.cli", "config", "show"],
        env=env,
        cwd=tmp_path,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert done.stderr == ""


def test_a_redis_that_refuses_the_password_says_what_to_set(settings: Callable[..., Any]) -> None:
    with RedisServer(password="opensesame") as guarded:
        settings(redis_url=f"redis://127.0.0.1:{guarded.port}/0", redis_password="hush")
        done = rl("worker", "status")
    assert done.exit_code == 1
    assert "set RELIER_REDIS_PASSWORD" in done.stderr
    assert "hush" not in done.stderr


def test_a_user_without_the_right_is_told_so(settings: Callable[..., Any]) -> None:
    with RedisServer() as server:
        with server.client() as client:
            client.acl_setuser("guest", enabled=True, passwords=["+guest"], commands=["+ping", "+info"], keys=["~*"])
        settings(redis_url=f"redis://127.0.0.1:{server.port}/0", redis_username="guest", redis_password="guest")
        done = rl("worker", "status")
    assert done.exit_code == 1
    assert "forbids this to its user" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_manual_names_every_command() -> None:
    page = rl("man").stdout
    for command in ASK_REDIS:
        words = command.split()
        assert f"  rl {' '.join(words[:2] if words[0] != 'doctor' else words)}" in page
    for command in (
        "rl run-resurrector",
        "rl bench",
        "rl config set KEY VALUE",
        "rl cluster scale N",
        "rl chaos slow-task",
    ):
        assert command in page
