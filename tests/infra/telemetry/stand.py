"""Collector, Prometheus, exporter and two Redis nodes as containers, made from production's plan."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from harness.process import REPO, wait_until
from infra.topology import load
from infra.topology.plan import plan_of
from infra.topology.workload import FileMount, Workload

PLAN = plan_of(load.read("prod"))
MASTER, REPLICA, ABSENT = "relier-redis-master", "relier-redis-replica-1", "relier-redis-replica-2"
PASSWORD = "correct-horse"
SHARED = ("redis_backups", "drill_scratch")
USERS = """\
user default off resetpass ~* &* +@all
user app on >{0} ~* &* +@all -@admin -@dangerous +info +config|get
user replica on >{0} resetkeys resetchannels -@all +ping +replconf +psync
user backup on >{0} resetkeys resetchannels -@all +ping +replconf +sync +psync +info +client|setinfo
user probe on >{0} resetkeys resetchannels -@all +ping +info +role +client|setname +client|setinfo
"""


def docker(*argv: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *argv], capture_output=True, text=True, timeout=120, check=False)
    if check and done.returncode:
        raise RuntimeError(f"docker {argv[0]}: {done.stderr.strip()}")
    return done.stdout + (done.stderr if argv[0] == "logs" else "")


class Stand:
    """Started as a context manager; nothing of it is left afterwards. Published on loopback, on free ports."""

    def __init__(self) -> None:
        self.name = f"telemetry-{uuid.uuid4().hex[:6]}"
        self.directory = Path(tempfile.mkdtemp(prefix="telemetry-"))
        self.directory.chmod(0o755)
        self._containers: list[str] = []

    def __enter__(self) -> Self:
        docker("network", "create", self.name)
        try:
            self._start_redis()
            self._start_watchers()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._containers:
            docker("rm", "--force", "--volumes", *self._containers, check=False)
        docker("volume", "rm", *(self._volume(name) for name in SHARED), check=False)
        docker("network", "rm", self.name, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def run(self, alias: str, image: str, argv: Iterable[str] = (), options: Iterable[str] = ()) -> str:
        name = f"{self.name}-{alias}"
        self._containers.append(name)
        network = ("--network", self.name, "--network-alias", alias)
        docker("run", "--detach", "--name", name, *network, *options, image, *argv)
        return name

    def file(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o644)
        return path

    def _start_redis(self) -> None:
        image, users = PLAN[MASTER].image or "", self.file("users.acl", USERS.format(PASSWORD))
        login = f"masteruser replica\nmasterauth {PASSWORD}\naclfile /users.acl\nappendonly yes\n"
        login += "maxmemory-policy noeviction\nmaxmemory 512mb\n"
        for node, extra in ((MASTER, ""), (REPLICA, f"replicaof {MASTER} 6379\n")):
            conf = self.file(f"{node}.conf", login + extra)
            mounts = ("-v", f"{users}:/users.acl:ro", "-v", f"{conf}:/redis.conf:ro", "-p", "127.0.0.1::6379")
            self.run(node, image, ("redis-server", "/redis.conf"), mounts)

    def _start_watchers(self) -> None:
        self.run_workload(PLAN["otel-collector"], {"TRACES_EXPORTER": "otlp", "TRACES_ENDPOINT": "tempo:4317"})
        self.run_workload(PLAN["otel-collector"], {"TRACES_VERBOSITY": "detailed"}, alias="tempo")
        self.run_workload(PLAN["redis-exporter"])
        self.run_workload(PLAN["prometheus"])
        self._back_up()
        wait_until(self._ready, 60, "Prometheus is ready", interval=0.2)

    def _back_up(self) -> None:
        """One backup of the master and one drill, by the scripts that production runs."""
        alone = {"REDIS_SENTINELS": "", "REDIS_NODES": f"{MASTER}:6379", "OFFSITE_BUCKET": "s3://elsewhere"}
        client = self.file("aws", "#!/bin/sh\n")  # takes whatever it is given
        client.chmod(0o755)
        for name, env in (("backup", alone), ("drill", {})):
            workload = PLAN[name]
            files = (*workload.files, FileMount(str(client), "/usr/local/bin/aws"))
            container = self.run_workload(replace(workload, argv=workload.argv[:1], files=files), env)
            if docker("wait", container).strip() != "0":
                raise RuntimeError(self.logs(name))

    def _volume(self, name: str) -> str:
        return f"{self.name}-{name}"

    def run_workload(self, workload: Workload, env: Mapping[str, str] | None = None, alias: str = "") -> str:
        options = ["--read-only", "--user", workload.user, "--memory", str(workload.memory), "--tmpfs", "/tmp"]
        for name, value in {**workload.env, **(env or {})}.items():
            options += ["--env", f"{name}={value}"]
        for mount in workload.files:
            options += ["-v", f"{self._source(mount.source)}:{mount.path}:ro"]
        for secret in workload.secrets:
            value = json.dumps(dict.fromkeys(secret.keys, PASSWORD)) if secret.keys else PASSWORD
            options += ["-v", f"{self.file(secret.name, value)}:{secret.path}:ro"]
        for volume in workload.volumes:
            mode = ":ro" if volume.read_only else ""
            shared = ["-v", f"{self._volume(volume.volume)}:{volume.path}{mode}"]
            options += shared if volume.volume in SHARED else ["--tmpfs", f"{volume.path}:uid=65534"]
        for port in workload.ports:
            options += ["-p", f"127.0.0.1::{port.port}"]
        return self.run(alias or workload.name, workload.image or "", workload.argv, options)

    def _source(self, source: str) -> Path:
        """The project's own file; Prometheus looks every second here, not every quarter of a minute."""
        path = REPO / source
        if path.name != "prometheus.yml":
            return path
        return self.file(path.name, path.read_text().replace("_interval: 15s", "_interval: 1s"))

    def port(self, alias: str, port: int) -> int:
        return int(docker("port", f"{self.name}-{alias}", str(port)).splitlines()[0].rpartition(":")[2])

    def logs(self, alias: str) -> str:
        return docker("logs", f"{self.name}-{alias}")

    @property
    def env(self) -> dict[str, str]:
        """For workers and producers on this host."""
        return {
            "RELIER_REDIS_URL": f"redis://127.0.0.1:{self.port(MASTER, 6379)}/0",
            "RELIER_REDIS_USERNAME": "app",
            "RELIER_REDIS_PASSWORD": PASSWORD,
            "RELIER_OTEL_ENABLED": "true",
            "RELIER_OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port('otel-collector', 4317)}",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "OTEL_BSP_SCHEDULE_DELAY": "500",
        }

    def _ready(self) -> bool:
        try:
            return bool(self.api("query", query="up"))
        except OSError:
            return False

    def api(self, call: str, **parameters: str) -> Any:
        """Prometheus's answer; `RuntimeError` with what it dislikes."""
        url = f"http://127.0.0.1:{self.port('prometheus', 9090)}/api/v1/{call}"
        try:
            with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(parameters)}", timeout=10) as reply:  # noqa: S310
                answer = json.load(reply)
        except urllib.error.HTTPError as error:
            answer = json.load(error)
        if answer["status"] != "success":
            raise RuntimeError(answer["error"])
        return answer["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series now."""
        found = self.api("query", query=expression)["result"]
        return [(row["metric"], float(row["value"][1])) for row in found]

    def value(self, expression: str) -> float:
        """The one value, 0 when there is none."""
        found = self.query(expression)
        return found[0][1] if found else 0.0
