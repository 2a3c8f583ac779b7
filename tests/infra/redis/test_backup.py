"""Backups over the wire, restores that give back every key, and the rehearsal of both."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from harness.process import Process, clean_env, process_state, wait_until
from harness.redis import RedisServer
from tests.infra.redis.nodes import PASSWORDS, REDIS_PROGRAMS, SCRIPTS, Kit, Node, path_with, script

DAY = 86_400


def seed(client: redis.Redis) -> dict[str, str]:
    """Keys of every class that Relier has; returns all of them, dumped."""
    with client.pipeline() as pipe:
        for n in range(300):
            pipe.hset(f"rl:phoenix:{n}", mapping={"state": "queued", "name": "a"})
            pipe.zadd("rl:queued:default", {str(n): n})
        pipe.zadd("rl:delayed", {"1": 1})
        pipe.hset("rl:dlq", "x", "{}")
        pipe.lpush("default", "message")
        pipe.sadd("_kombu.binding.default", "b")
        pipe.set("rl:hb:1", "1", ex=DAY)
        pipe.execute()
    return contents(client)


def contents(client: redis.Redis) -> dict[str, str]:
    def text(key: str) -> str:
        kind = client.type(key)
        if kind == "hash":
            return str(sorted(client.hgetall(key).items()))
        if kind == "zset":
            return str(client.zrange(key, 0, -1, withscores=True))
        return str(
            {"list": lambda: client.lrange(key, 0, -1), "set": lambda: client.smembers(key)}.get(
                kind, lambda: client.get(key)
            )()
        )

    return {key: text(key) for key in client.scan_iter(count=1000)}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Kit(tmp_path_factory.mktemp("single"), nodes=1, sentinels=0) as kit:
        node = kit.nodes[0].start().wait_ready()
        with node.client("app") as client:
            seed(client)
        yield node


@pytest.fixture
def env(node: Node, tmp_path: Path) -> dict[str, str]:
    """What a backup sidecar of the single node has."""
    (tmp_path / "backups").mkdir()
    kept = {name: value for name, value in node.env.items() if name.startswith(("REDIS_", "SENTINEL_"))}
    own = {
        "BACKUP_DIR": str(tmp_path / "backups"),
        "BACKUP_WAIT": "0",
        "REDIS_NODES": node.address,
        "REDIS_SENTINELS": "",
    }
    return kept | own


def newest(env: dict[str, str]) -> Path:
    return max(Path(env["BACKUP_DIR"]).glob("relier-*.rdb"))


def test_a_backup_is_whole_and_has_its_checksum_and_age_beside_it(node: Node, env: dict[str, str]) -> None:
    began = int(time.time())
    ended = script("backup", env=env)
    assert ended.returncode == 0, ended.stderr
    file = newest(env)
    assert f"from {node.address} (the only node)" in ended.stderr
    assert (
        file.with_name(file.name + ".sha256").read_text()
        == f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
    )
    metrics = (file.parent / "relier_backup.prom").read_text()
    stamp = re.search(r"^relier_backup_last_success_timestamp_seconds (\d+)$", metrics, re.M)
    assert stamp and began <= int(stamp[1]) <= time.time()
    assert re.search(r"^relier_backup_keys 306$", metrics, re.M)
    assert {path.stat().st_mode & 0o077 for path in file.parent.glob("relier-*.rdb*")} == {0}
    assert not list(file.parent.glob(".new-*"))
    assert node.denied() == []


def test_no_password_is_on_a_command_line_of_a_backup(env: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "commands"
    ended = script("backup", env=env | {"PATH": path_with(tmp_path / "bin", *REDIS_PROGRAMS, log=log)})
    assert ended.returncode == 0, ended.stderr
    assert "--rdb" in log.read_text()
    assert not [name for name, secret in PASSWORDS.items() if secret in log.read_text() + ended.stderr]


def test_backups_go_by_age_and_strangers_stay(env: dict[str, str]) -> None:
    folder, ages = (
        Path(env["BACKUP_DIR"]),
        {"relier-old.rdb": 8, "relier-old.rdb.sha256": 8, "relier-young.rdb": 6, "notes.rdb": 30, ".new-1.rdb": 8},
    )
    for name, days in ages.items():
        (folder / name).write_text("x")
        os.utime(folder / name, (time.time() - days * DAY,) * 2)
    assert script("backup", env=env).returncode == 0
    assert {name for name in ages if (folder / name).exists()} == {"relier-young.rdb", "notes.rdb"}


def test_a_node_that_is_away_costs_no_earlier_backup(env: dict[str, str]) -> None:
    assert script("backup", env=env).returncode == 0
    before = sorted(Path(env["BACKUP_DIR"]).iterdir())
    ended = script("backup", env=env | {"REDIS_NODES": "127.0.0.1:1"})
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "127.0.0.1:1 (the only node) sent no snapshot" in ended.stderr
    assert sorted(Path(env["BACKUP_DIR"]).iterdir()) == before


def test_a_torn_transfer_gets_no_name(env: dict[str, str], tmp_path: Path) -> None:
    """A `redis-cli` that loses the end of the file, and says that all is well."""
    path = Path(path_with(tmp_path / "bin", *REDIS_PROGRAMS))
    cut = 'for last; do :; done\nhead -c 1000 "$last" >"$last.cut" && mv "$last.cut" "$last"\n'
    for cli in path.glob("*-cli"):
        cli.write_text(cli.read_text().replace("exec ", "", 1) + cut)
    ended = script("backup", env=env | {"PATH": str(path)})
    assert ended.returncode == 1
    assert "is not a whole snapshot" in ended.stderr
    assert not list(Path(env["BACKUP_DIR"]).glob("relier-*.rdb"))


def test_a_check_that_is_killed_asks_for_memory(env: dict[str, str], tmp_path: Path) -> None:
    """As the kernel ends it where the container is too small for its largest key. The snapshot itself may be whole."""
    path = Path(path_with(tmp_path / "bin", *REDIS_PROGRAMS))
    for check in path.glob("*-check-rdb"):
        check.write_text("#!/bin/sh\nkill -KILL $$\n")
    ended = script("backup", env=env | {"PATH": str(path), "BACKUP_WAIT": "30"})
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "-check-rdb was ended by signal 9 while it checked what" in ended.stderr
    assert "most likely for want of memory; give the backup more memory (backup.memory)" in ended.stderr
    assert "is not a whole snapshot" not in ended.stderr
    assert not list(Path(env["BACKUP_DIR"]).glob("*.rdb"))


def test_an_offsite_copy_without_a_client_is_one_sentence(env: dict[str, str], tmp_path: Path) -> None:
    extra = {"OFFSITE_BUCKET": "s3://bucket/prefix", "PATH": path_with(tmp_path / "bin", *REDIS_PROGRAMS)}
    ended = script("backup", env=env | extra)
    assert ended.returncode == 3
    assert "neither aws nor rclone is on PATH; install one, or unset it" in ended.stderr
    assert newest(env).exists()
    assert offsite_age(env) == 0


def offsite_age(env: dict[str, str]) -> int:
    """The stamp of the newest backup that was copied elsewhere, as monitoring sees it."""
    found = re.search(r"^relier_backup_offsite_timestamp_seconds (\d+)$", metrics(env), re.M)
    assert found
    return int(found[1])


def metrics(env: dict[str, str]) -> str:
    return (Path(env["BACKUP_DIR"]) / "relier_backup.prom").read_text()


def test_a_sidecar_whose_copies_fail_does_not_fill_the_disk(env: dict[str, str], tmp_path: Path) -> None:
    """Each try is a whole snapshot more: it waits for the next one's time, and not for a minute."""
    extra = {"OFFSITE_BUCKET": "s3://bucket", "PATH": path_with(tmp_path / "bin", *REDIS_PROGRAMS)}
    argv = [str(SCRIPTS / "backup"), "--every", "3600"]
    with Process(argv, env=clean_env() | env | extra, name="backup", log=tmp_path / "sidecar.log") as sidecar:
        wait_until(lambda: [*Path(env["BACKUP_DIR"]).glob("relier-*.rdb")], 20, "a backup")
        pause = wait_until(lambda: [pid for pid in sidecar.children() if name_of(pid) == "sleep"], 20, "the pause")
        assert Path(f"/proc/{pause[0]}/cmdline").read_text().split("\0")[-2] == "3600"
        assert sidecar.terminate(3) == 0


def test_an_offsite_copy_goes_through_the_standard_client(env: dict[str, str], tmp_path: Path) -> None:
    path, log = Path(path_with(tmp_path / "bin", *REDIS_PROGRAMS)), tmp_path / "aws.log"
    (path / "aws").write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{log}\n')
    (path / "aws").chmod(0o755)
    extra = {"OFFSITE_BUCKET": "s3://bucket/prefix/", "OFFSITE_ENDPOINT": "https://s3.example", "PATH": str(path)}
    assert script("backup", env=env | extra).returncode == 0
    file = newest(env)
    assert log.read_text().splitlines() == [
        f"--endpoint-url https://s3.example s3 cp --only-show-errors {file}{end} s3://bucket/prefix/{file.name}{end}"
        for end in (".sha256", "")
    ]
    assert offsite_age(env) == pytest.approx(time.time(), abs=60)


def test_a_full_disk_is_emptied_of_what_is_too_old(env: dict[str, str]) -> None:
    """Even while no new backup comes about; the newest one stays, however old it is."""
    folder = Path(env["BACKUP_DIR"])
    for name, days in {"relier-1.rdb": 9, "relier-1.rdb.sha256": 9, "relier-2.rdb": 8}.items():
        (folder / name).write_text("x")
        os.utime(folder / name, (time.time() - days * DAY,) * 2)
    assert script("backup", env=env | {"REDIS_NODES": "127.0.0.1:1"}).returncode == 1
    assert [path.name for path in folder.glob("relier-*")] == ["relier-2.rdb"]


def test_a_sidecar_takes_one_after_the_other_and_stops_at_once(env: dict[str, str], tmp_path: Path) -> None:
    argv = [str(SCRIPTS / "backup"), "--every", "2"]
    sidecar = Process(argv, env=clean_env() | env, name="backup", log=tmp_path / "sidecar.log")
    with sidecar:
        wait_until(lambda: len(list(Path(env["BACKUP_DIR"]).glob("relier-*.rdb"))) >= 2, 15, "two backups")
        pause = wait_until(lambda: [pid for pid in sidecar.children() if name_of(pid) == "sleep"], 10, "the pause")
        assert sidecar.terminate(3) == 0
        wait_until(lambda: process_state(pause[0]) in "ZX", 1, "the pause is over at once")


def test_a_rehearsal_beside_a_sidecar_waits_for_the_first_backup(env: dict[str, str], tmp_path: Path) -> None:
    """It would say at each cold start that there is none, and for a week that rehearsals fail."""
    argv = [str(SCRIPTS / "drill"), "--every", "3600"]
    (old := Path(env["BACKUP_DIR"]) / "relier-1.rdb").write_text("what a volume that was kept may hold")
    os.utime(old, (time.time() - DAY,) * 2)
    settings = clean_env() | env | {"DRILL_WAIT": "0.1"}
    with Process(argv, env=settings, name="drill", log=tmp_path / "drill.log") as drill:
        wait_until(lambda: [pid for pid in drill.children() if name_of(pid) == "sleep"], 10, "it waits")
        assert drill.output() == ""
        assert script("backup", env=env).returncode == 0
        drill.wait_for_output(["drill: RPO"], 30)
        assert "FAILED" not in drill.output()


@pytest.mark.parametrize("name", ["backup", "drill"])
def test_a_sidecar_that_is_ended_between_two_pauses_was_not_at_fault(name: str, tmp_path: Path) -> None:
    """A signal that finds nothing to end is no failure: the exit status is what an orchestrator shows."""
    no_pause = tmp_path / "sleep"
    no_pause.write_text("#!/bin/sh\n")
    no_pause.chmod(0o755)
    (tmp_path / "relier-1.rdb").write_text("for the rehearsal to fail with")
    folder = tmp_path if name == "drill" else tmp_path / "absent"
    env = clean_env() | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "BACKUP_DIR": str(folder)}
    ended = []
    for n in range(60):
        log = tmp_path / f"log-{n}"
        with Process([str(SCRIPTS / name), "--every", "2"], env=env, name=name, log=log) as sidecar:
            wait_until(lambda log=log: log.exists() and log.stat().st_size, 10, "the first attempt")
            time.sleep(n / 3000)
            ended.append(sidecar.terminate(5))
    assert set(ended) == {0}, ended


def name_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def test_with_sentinel_a_replica_is_asked_for_each_time(
    kit: Kit, promoted: tuple[Node, Node], env: dict[str, str]
) -> None:
    """After the failover the former replica leads and must be left in peace."""
    master = kit.settle()
    replica = next(node for node in kit.nodes if node.alive and node is not master)
    cluster = env | kit.env | {"BACKUP_WAIT": "15"}
    ended = script("backup", env=cluster)
    assert f"from {replica.address} (a replica)" in ended.stderr
    replica.freeze()
    try:
        ended = script("backup", env=cluster | {"BACKUP_WAIT": "3", "BACKUP_TIMEOUT": "2"})
    finally:
        replica.thaw()
    assert f"from {master.address} (the master, as no replica is healthy)" in ended.stderr
    assert [line for node in (master, replica) for line in node.denied()] == []


def test_a_restore_gives_back_every_key_to_a_server_with_an_append_only_file(node: Node, env: dict[str, str]) -> None:
    assert script("backup", env=env).returncode == 0
    server = RedisServer()
    try:
        ended = script("restore", server.directory, env=env)
        assert ended.returncode == 0, ended.stderr
        server.start()
        with server.client() as restored, node.client("app") as client:
            assert restored.config_get("appendonly") == {"appendonly": "yes"}
            assert contents(restored) == contents(client)
            assert restored.ttl("rl:hb:1") > 0
    finally:
        server.close()


def test_a_restore_over_data_is_refused_unless_told(env: dict[str, str], tmp_path: Path) -> None:
    assert script("backup", env=env).returncode == 0
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dump.rdb").write_text("precious")
    refused = script("restore", tmp_path / "data", env=env)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "holds data already" in refused.stderr
    assert (tmp_path / "data" / "dump.rdb").read_text() == "precious"
    assert script("restore", "--force", tmp_path / "data", env=env).returncode == 0
    assert [path.read_text() for path in (tmp_path / "data").glob("replaced-*/dump.rdb")] == ["precious"]


def test_a_restore_that_fails_puts_back_what_it_replaced(env: dict[str, str], tmp_path: Path) -> None:
    assert script("backup", env=env).returncode == 0
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dump.rdb").write_text("precious")
    failed = script("restore", "--force", tmp_path / "data", env=env | {"TMPDIR": str(tmp_path / "missing")})
    assert failed.returncode != 0
    assert [path.name for path in (tmp_path / "data").iterdir() if path.name != ".lock"] == ["dump.rdb"]
    assert (tmp_path / "data" / "dump.rdb").read_text() == "precious"


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def test_a_damaged_backup_is_not_restored(env: dict[str, str], tmp_path: Path) -> None:
    assert script("backup", env=env).returncode == 0
    (tmp_path / "data").mkdir()
    damage(newest(env))
    ended = script("restore", tmp_path / "data", env=env)
    assert (ended.returncode, list((tmp_path / "data").iterdir())) == (1, [])
    assert "does not match its checksum" in ended.stderr
    newest(env).with_name(newest(env).name + ".sha256").unlink()
    ended = script("restore", tmp_path / "data", env=env)
    assert (ended.returncode, list((tmp_path / "data").iterdir())) == (1, [])
    assert "is damaged" in ended.stderr


def test_a_restore_that_fails_half_way_leaves_nothing(env: dict[str, str], tmp_path: Path) -> None:
    """Half a restore would look like data to the next one, and to the server."""
    assert script("backup", env=env).returncode == 0
    (tmp_path / "data").mkdir()
    path = Path(path_with(tmp_path / "bin", *REDIS_PROGRAMS))
    for server in path.glob("*-server"):
        server.write_text("#!/bin/sh\nexit 1\n")
    ended = script("restore", tmp_path / "data", env=env | {"PATH": str(path)})
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "does not load" in ended.stderr
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".lock"]


def test_a_drill_counts_the_keys_by_class_and_says_rpo_and_rto(env: dict[str, str], tmp_path: Path) -> None:
    assert script("backup", env=env).returncode == 0
    (tmp_path / "metrics").mkdir()
    ended = script("drill", env=env | {"METRICS_DIR": str(tmp_path / "metrics")})
    assert ended.returncode == 0, ended.stderr
    rows = dict(line.split(maxsplit=1) for line in ended.stdout.splitlines()[1:-1])
    expected = {
        "rl:phoenix": 300,
        "rl:queued": 1,
        "rl:delayed": 1,
        "rl:dlq": 1,
        "_kombu": 1,
        "other": 1,
        "expiring": 1,
        "all": 306,
    }
    assert {name: rows[name].split() for name in expected} == {name: [str(n)] * 2 for name, n in expected.items()}
    assert re.search(r"RPO \d+ s \(limit 7200 s\), RTO \d+ s, 306 keys", ended.stdout)
    assert "relier_drill_success 1" in (tmp_path / "metrics" / "relier_drill.prom").read_text()


def test_a_drill_counts_keys_whose_time_has_passed_since_the_backup(node: Node, env: dict[str, str]) -> None:
    with node.client("app") as client:
        client.set("rl:receipt:1", "x", px=4000)
        assert script("backup", env=env).returncode == 0
        wait_until(lambda: not client.exists("rl:receipt:1"), 20, "the receipt is gone")
    ended = script("drill", env=env)
    assert ended.returncode == 0, ended.stderr
    assert "307 keys" in ended.stdout


@pytest.mark.parametrize("fault", ["none", "old", "damaged"])
def test_a_drill_fails_with_a_sentence(env: dict[str, str], tmp_path: Path, fault: str) -> None:
    if fault != "none":
        assert script("backup", env=env).returncode == 0
    if fault == "old":
        os.utime(newest(env), (time.time() - 8000,) * 2)
    if fault == "damaged":
        damage(newest(env))
    ended = script("drill", env=env | {"METRICS_DIR": str(tmp_path)})
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert {"none": "there is no backup", "old": "s old, more than 7200 s", "damaged": "checksum"}[
        fault
    ] in ended.stderr
    assert "relier_drill_success 0" in (tmp_path / "relier_drill.prom").read_text()
