"""Nodes that `scripts/redis/entrypoint` starts, each with a directory and a loopback port of its own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from harness.process import REPO, Process, clean_env, wait_until
from harness.redis import LOOPBACK, free_port

SCRIPTS = REPO / "scripts" / "redis"
MASTER_NAME = "relier-master"
# Quotes, a backslash and a dollar sign: what breaks a file or a command line that is put together carelessly.
PASSWORDS = {
    "redis": "app-9f3c%/+=",
    "sentinel": 'sent"inel-77\\x$HOME',
    "replica": 'rep"lica-41 \\y{dir}',
    "backup": "backup-'58$(id)",
    "probe": 'probe-"23`id`',
}
USERS = {"app": "redis", "sentinel": "sentinel", "replica": "replica", "backup": "backup", "probe": "probe"}
VARIABLES = {
    "redis": "REDIS_PASSWORD_FILE",
    "sentinel": "SENTINEL_PASSWORD_FILE",
    "replica": "REDIS_REPLICA_PASSWORD_FILE",
    "backup": "REDIS_BACKUP_PASSWORD_FILE",
    "probe": "REDIS_PROBE_PASSWORD_FILE",
}
BASICS = (
    "sh cat cut sed awk grep sort head tail tr date find mkdir mktemp mv rm cp touch sync sha256sum sleep timeout wc "
    "dirname id uname chmod flock setpriv"
)
REDIS_PROGRAMS = tuple(f"{brand}-{part}" for brand in ("redis", "valkey") for part in ("server", "cli", "check-rdb"))
OVERLAY = "repl-diskless-sync-delay 0\nrepl-timeout 5\nmaxmemory 100mb\n"


def script(
    name: str, *args: str | Path, env: Mapping[str, str], timeout: float = 40
) -> subprocess.CompletedProcess[str]:
    """Run one script to its end."""
    variables = clean_env() | dict(env)
    command = [str(SCRIPTS / name), *map(str, args)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=timeout, check=False)


def write_secrets(folder: Path) -> dict[str, str]:
    """The password files, and the variables that name them."""
    folder.mkdir(exist_ok=True)
    for name, password in PASSWORDS.items():
        file = folder / name
        file.touch(mode=0o600)
        file.write_text(password + "\n")
    return {variable: str(folder / name) for name, variable in VARIABLES.items()}


def connect(port: int, user: str | None = None, **options: Any) -> redis.Redis:
    """A client that answers in text and never retries; as a user of the ACL when one is named."""
    login = {"username": user, "password": PASSWORDS[USERS[user]]} if user else {}
    defaults: dict[str, Any] = {"decode_responses": True, "retry": Retry(NoBackoff(), 0), "socket_timeout": 3}
    return redis.Redis(host=LOOPBACK, port=port, **(login | defaults | options))


def scripts_with_tester(folder: Path) -> Path:
    """A copy of the scripts whose ACL has one user more. The kit has no administrator, and a test must read ACL LOG."""
    copy = folder / "scripts"
    shutil.copytree(SCRIPTS, copy)
    with (copy / "users.acl.template").open("a") as template:
        template.write("user tester on >tester ~* &* +@all\n")
    return copy


class Node(Process):
    """`entrypoint redis` or `entrypoint sentinel`."""

    def __init__(
        self, role: str, folder: Path, env: Mapping[str, str], *, port: int, name: str, scripts: Path = SCRIPTS
    ) -> None:
        self.role, self.directory, self.port = role, folder / name, port
        self.directory.mkdir()
        side = "REDIS" if role == "redis" else "SENTINEL"
        own = {f"{side}_NODE": LOOPBACK, f"{side}_PORT": str(port), "REDIS_DIR": str(self.directory)}
        argv = [str(scripts / "entrypoint"), role]
        super().__init__(argv, env=clean_env() | dict(env) | own, name=name, log=folder / f"{name}.log")

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def client(self, user: str | None = None, **options: Any) -> redis.Redis:
        if self.role == "sentinel":
            options |= {"password": PASSWORDS["sentinel"]}
        return connect(self.port, user, **options)

    def admin(self) -> redis.Redis:
        """As the user that only the tests' copy of the ACL has."""
        return connect(self.port, username="tester", password="tester")

    def denied(self) -> list[str]:
        """What ACL LOG holds: who was refused what."""
        with self.admin() as client:
            return [f"{row['username']}: {row['reason']} {row['object']}" for row in client.acl_log()]

    def answers(self, user: str | None = "probe") -> bool:
        with contextlib.suppress(redis.RedisError), self.client(user) as client:
            return bool(client.ping())
        return False

    def info(self) -> dict[str, Any]:
        """INFO replication, or nothing while it does not answer."""
        with contextlib.suppress(redis.RedisError), self.client("probe") as client:
            return dict(client.info("replication"))
        return {}

    def wait_ready(self, timeout: float = 15) -> Self:
        user = "probe" if self.role == "redis" and self.env.get("REDIS_ACL") == "true" else None
        wait_until(lambda: self.answers(user), timeout, f"{self.name} answers")
        return self


class Kit:
    """A master, two replicas and three Sentinels under the kit's ACL. Use as a context manager."""

    def __init__(self, folder: Path, nodes: int = 3, sentinels: int = 3, **extra: str) -> None:
        ports = [free_port() for _ in range(nodes + sentinels)]
        overlay = folder / "overlay.conf"
        overlay.write_text(OVERLAY)
        self.env = write_secrets(folder / "secrets") | {
            "REDIS_ACL": "true",
            "REDIS_NODES": ",".join(f"{LOOPBACK}:{port}" for port in ports[:nodes]),
            "REDIS_SENTINELS": ",".join(f"{LOOPBACK}:{port}" for port in ports[nodes:]),
            "REDIS_MASTER_NAME": MASTER_NAME,
            "REDIS_OVERLAY": str(overlay),
            "REDIS_MIN_REPLICAS": "1" if nodes > 1 else "0",
            "SENTINEL_QUORUM": str(sentinels // 2 + 1),
            "SENTINEL_DOWN_AFTER_MS": "1000",
            "SENTINEL_FAILOVER_TIMEOUT_MS": "2000",
            **extra,
        }
        scripts = scripts_with_tester(folder)
        self.nodes = [
            Node("redis", folder, self.env, port=port, name=f"redis-{n}", scripts=scripts)
            for n, port in enumerate(ports[:nodes])
        ]
        self.sentinels = [
            Node("sentinel", folder, self.env, port=port, name=f"sentinel-{n}", scripts=scripts)
            for n, port in enumerate(ports[nodes:])
        ]

    @property
    def all(self) -> list[Node]:
        return [*self.nodes, *self.sentinels]

    def start(self, order: Iterable[Node] | None = None) -> Self:
        """Start them in this order and wait until one leads and the others follow it."""
        for node in order or self.all:
            node.start()
        self.settle()
        return self

    def stop(self, hard: bool = False) -> None:
        """As a host goes down: Sentinels with their nodes."""
        for node in [*self.sentinels, *self.nodes]:
            if node.alive:
                node.kill() if hard else node.terminate()

    def master(self) -> Node | None:
        """The only node that leads, once every other living one follows it and the Sentinels say the same."""
        infos = {node: node.info() for node in self.nodes if node.alive}
        leaders = [node for node, info in infos.items() if info.get("role") == "master"]
        if len(leaders) != 1:
            return None
        followers = [info for node, info in infos.items() if node is not leaders[0]]
        linked = all(
            info.get("master_port") == leaders[0].port and info.get("master_link_status") == "up" for info in followers
        )
        return leaders[0] if linked and self.agreed() == {leaders[0].port} else None

    def agreed(self) -> set[int]:
        """The ports that the living Sentinels name."""
        said = set()
        for sentinel in filter(lambda node: node.alive, self.sentinels):
            with contextlib.suppress(redis.RedisError), sentinel.client() as client:
                address = client.sentinel_get_master_addr_by_name(MASTER_NAME)
                said.add(int(address[1]) if address else 0)
        return said

    def acquainted(self) -> bool:
        """Every Sentinel knows the others and all replicas."""
        with contextlib.suppress(redis.RedisError):
            for sentinel in self.sentinels:
                with sentinel.client() as client:
                    seen = client.sentinel_master(MASTER_NAME)
                if (int(seen["num-other-sentinels"]), int(seen["num-slaves"])) != (
                    len(self.sentinels) - 1,
                    len(self.nodes) - 1,
                ):
                    return False
            return True
        return False

    def settle(self, timeout: float = 40) -> Node:
        """Wait for one master that all follow; returns it."""
        master = wait_until(self.master, timeout, "one master, followed by all", interval=0.1)
        assert master is not None
        return master

    def close(self) -> None:
        for node in self.all:
            node.stop(timeout=2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def path_with(folder: Path, *programs: str, log: Path | None = None) -> str:
    """A PATH with these programs only, and what a small image has; every command line is noted in `log`."""
    folder.mkdir()
    for name in (*BASICS.split(), *programs):
        if found := shutil.which(name):
            noted = f"printf '%s\\n' \"{name} $*\" >>{log}\n" if log else ""
            (folder / name).write_text(f'#!/bin/sh\n{noted}exec {found} "$@"\n')
            (folder / name).chmod(0o755)
    return str(folder)
