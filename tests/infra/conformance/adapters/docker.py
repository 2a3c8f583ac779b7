"""Containers of one Docker engine: those that Compose made, and those that Pulumi made under the same names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import testinfra

from infra.topology import Plan
from infra.topology.workload import Probe, Workload
from tests.infra.conformance.adapters.base import (
    Answer,
    Facts,
    Instance,
    Mount,
    Process,
    Unable,
    foreign,
    knock,
    local,
    must,
)

REPO = Path(__file__).resolve().parents[4]
LABEL = "com.docker.compose"
SECOND = 1e9


class Docker:
    """One project: by Compose's labels, or by names like `relier-prod-worker-high-1`."""

    backend = "docker"
    stays_down = True

    def __init__(self, plan: Plan, project: str) -> None:
        self.plan, self.project = plan, project
        self._shells: dict[str, Any] = {}

    def _inspect(self, *names: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(must(["docker", "inspect", *names])) if names else []
        return found

    def _containers(self, everything: bool = False) -> list[dict[str, Any]]:
        """Those of the project that run, or all."""
        listing = must(
            ["docker", "ps", "--no-trunc", *(["--all"] if everything else []), "--format", "{{.ID}}"]
        ).split()
        return [found for found in self._inspect(*listing) if self._workload_of(found)]

    def _workload_of(self, container: Mapping[str, Any]) -> str | None:
        """The workload's name, or None for a container of somebody else."""
        labels = container["Config"].get("Labels") or {}
        if labels.get(f"{LABEL}.project") == self.project and labels.get(f"{LABEL}.oneoff") != "True":
            return str(labels[f"{LABEL}.service"])
        match = re.fullmatch(rf"/{re.escape(self.project)}-(.+?)(-\d+)?", container["Name"])
        return match[1] if match else None

    def instances(self, workload: Workload) -> list[Instance]:
        found = [c for c in self._containers() if self._workload_of(c) == workload.name]
        names = sorted(c["Name"].removeprefix("/") for c in found)
        return [self.instance(name, workload) for name in names]

    def instance(self, name: str, workload: Workload) -> Instance:
        """A container by its name."""
        node = workload.nodes[0] if workload.nodes else None
        return Instance(name, workload.name, node, self._host(name))

    def _host(self, name: str) -> Any:
        """testinfra's host, where there is a shell inside."""
        if name not in self._shells:
            shell = local(["docker", "exec", name, "/bin/sh", "-c", "true"]).code == 0
            self._shells[name] = testinfra.get_host(f"docker://{name}") if shell else None
        return self._shells[name]

    def strangers(self) -> list[str]:
        planned = {workload.name for workload in self.plan.workloads}
        networks = {f"{self.project}_{network.name}" for network in self.plan.networks}
        found = self._inspect(*must(["docker", "ps", "--format", "{{.ID}}"]).split())
        return [sentence for container in found for sentence in self._strange(container, planned, networks)]

    def _strange(self, container: Mapping[str, Any], planned: set[str], networks: set[str]) -> Iterator[str]:
        name, ours = container["Name"].removeprefix("/"), self._workload_of(container)
        if ours is not None and ours not in planned:
            yield f"the container {name} belongs to {self.project}"
        elif ours is None and (shared := networks & set(container["NetworkSettings"]["Networks"])):
            yield f"the container {name} is on the network {', '.join(sorted(shared))}"

    def facts(self, instance: Instance) -> Facts:
        seen = self._inspect(instance.name)[0]
        config, host, state = seen["Config"], seen["HostConfig"], seen["State"]
        return Facts(
            image=config["Image"],
            user=config.get("User") or "0:0",
            memory=host["Memory"] or None,
            argv=(seen["Path"], *seen["Args"]),
            env=dict(entry.split("=", 1) for entry in config.get("Env") or () if "=" in entry),
            mounts=tuple(self._mounts(seen)),
            read_only_root=host["ReadonlyRootfs"],
            restart=host["RestartPolicy"]["Name"] or "no",
            grace=config.get("StopTimeout") or 10.0,
            published=_published(host),
            networks=self._networks(seen),
            address=self._address(seen),
            hosts=dict(entry.split(":", 1) for entry in host.get("ExtraHosts") or ()),
            checks=_checks(config),
            health=(state.get("Health") or {}).get("Status"),
            privileges=tuple(_privileges(host)),
            incarnation=f"{seen['Id'][:12]} since {state['StartedAt']}",
        )

    def _networks(self, seen: Mapping[str, Any]) -> tuple[str, ...]:
        attached = seen["NetworkSettings"]["Networks"]
        return tuple(sorted(name.removeprefix(f"{self.project}_") for name in attached if name != "none"))

    def _address(self, seen: Mapping[str, Any]) -> str | None:
        """Asked for, not given by chance; a container that was never started has it too."""
        attached = seen["NetworkSettings"]["Networks"].get(f"{self.project}_data") or {}
        return (attached.get("IPAMConfig") or {}).get("IPv4Address")

    def _mounts(self, seen: Mapping[str, Any]) -> Iterator[Mount]:
        for mount in seen["Mounts"]:
            source = mount.get("Name", "") if mount["Type"] == "volume" else mount.get("Source", "")
            plain = source.removeprefix(f"{self.project}_")
            yield Mount(mount["Destination"], mount["Type"], plain, not mount["RW"])
        for path in seen["HostConfig"].get("Tmpfs") or {}:
            yield Mount(path, "tmpfs")

    def command(self, instance: Instance, argv: Sequence[str]) -> list[str]:
        return ["docker", "exec", "-i", instance.name, *argv]

    def own_processes(self, instance: Instance, seen: Sequence[Process]) -> list[Process]:
        return list(seen)

    def foreign_files(self, instance: Instance, workload: Workload) -> list[str]:
        return foreign(instance, workload, REPO)

    def described(self, instance: Instance) -> str:
        image = self._inspect(instance.name)[0]["Image"]
        history = local(["docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", image]).out
        return must(["docker", "inspect", instance.name]) + must(["docker", "image", "inspect", image]) + history

    def logs(self, instance: Instance) -> str:
        return local(["docker", "logs", instance.name]).text

    def internal_networks(self) -> Mapping[str, bool]:
        names = [f"{self.project}_{network.name}" for network in self.plan.networks]
        answers = {name: local(["docker", "network", "inspect", name, "--format", "{{.Internal}}"]) for name in names}
        return {
            name.removeprefix(f"{self.project}_"): answer.out.strip() == "true"
            for name, answer in answers.items()
            if answer.code == 0
        }

    def outsiders_reach(self, targets: Sequence[Instance], port: int) -> list[str]:
        """From a container that is on the edge only: by name, and by each address."""
        names = {target.name: target for target in targets}
        places = {target.workload: target for target in targets}
        for seen in self._inspect(*names):
            networks = seen["NetworkSettings"]["Networks"].values()
            places |= {net["IPAddress"]: names[seen["Name"].removeprefix("/")] for net in networks if net["IPAddress"]}
        return [f"{places[place]} at {place}:{port}" for place in self._answering(tuple(places), port)]

    def _answering(self, places: Sequence[str], port: int) -> list[str]:
        image = self.plan.of_kind("redis")[0].image or ""
        network = f"{self.project}_edge"
        outside = ["--network", network, "--user", "65534", "--entrypoint", "bash"]
        run = ["docker", "run", "--rm", *outside, image, "-c", knock(places, port)]
        return must(run, timeout=30 + 3 * len(places)).split()

    def has_image(self, image: str) -> bool:
        return local(["docker", "image", "inspect", image]).code == 0

    def kill(self, instance: Instance) -> None:
        must(["docker", "kill", "-s", "KILL", instance.name])

    def start(self, instance: Instance) -> None:
        must(["docker", "start", instance.name])

    def stop(self, workloads: Sequence[Workload]) -> None:
        if names := self._names(workloads):
            must(["docker", "stop", *names], timeout=120)

    def resume(self, workloads: Sequence[Workload]) -> None:
        if names := self._names(workloads):
            must(["docker", "start", *names])

    def _names(self, workloads: Sequence[Workload]) -> list[str]:
        """Containers, stopped ones too, in the order of the workloads."""
        found = self._containers(everything=True)
        return [c["Name"].removeprefix("/") for w in workloads for c in found if self._workload_of(c) == w.name]

    def freeze(self, instance: Instance) -> None:
        must(["docker", "pause", instance.name])

    def thaw(self, instance: Instance) -> None:
        must(["docker", "unpause", instance.name])

    def backup(self, workload: Workload) -> None:
        must(["docker", "exec", *self._names([workload])[:1], workload.argv[0]], timeout=120)

    def wipe(self, workloads: Sequence[Workload]) -> None:
        for name in self._names(workloads):
            for volume, _ in self._volumes(name):
                must(
                    [
                        *self._aside,
                        "--user",
                        "0",
                        "-v",
                        f"{volume}:/wiped",
                        self._tool,
                        "find",
                        "/wiped",
                        "-mindepth",
                        "1",
                        "-delete",
                    ]
                )

    def restore(self, first: Workload, backup: Workload) -> str:
        data, *_ = (volume for volume, _ in self._volumes(*self._names([first])))
        source, *_ = (volume for volume, _ in self._volumes(*self._names([backup])))
        mounts = (f"{data}:/data", f"{source}:/backups:ro", f"{REPO}/scripts/redis:/etc/relier:ro")
        volumes = [part for mount in mounts for part in ("-v", mount)]
        asked = [*self._aside, "-e", "BACKUP_DIR=/backups", "--user", first.user, *volumes, self._tool]
        answer: Answer = local([*asked, "/etc/relier/restore", "/data"], timeout=300)
        if answer.code:
            raise RuntimeError(f"the restore ended with {answer.code}: {answer.text}")
        return answer.text

    @property
    def _aside(self) -> list[str]:
        return ["docker", "run", "--rm", "--network", "none", "--entrypoint", ""]

    @cached_property
    def _tool(self) -> str:
        image = self.plan.of_kind("redis")[0].image
        if image is None:
            raise Unable("this plan names no image for Redis")
        return image

    def _volumes(self, *names: str) -> list[tuple[str, str]]:
        """Named volumes of some containers with their paths."""
        mounts = (mount for seen in self._inspect(*names) for mount in seen["Mounts"])
        return [(mount["Name"], mount["Destination"]) for mount in mounts if mount["Type"] == "volume"]


def _published(host: Mapping[str, Any]) -> dict[int, tuple[str, ...]]:
    bindings = (host.get("PortBindings") or {}).items()
    return {
        int(port.partition("/")[0]): tuple(
            f"{bound['HostIp'] or 'every address'}:{bound['HostPort']}" for bound in places
        )
        for port, places in bindings
        if places
    }


def _checks(config: Mapping[str, Any]) -> dict[str, Probe]:
    """Docker knows one check. `CMD-SHELL x` is `sh -c x`, as the plan writes it."""
    check = config.get("Healthcheck") or {}
    kind, *command = check.get("Test") or ["NONE"]
    if kind == "NONE":
        return {}
    argv = ("sh", "-c", *command) if kind == "CMD-SHELL" else tuple(command)
    every, timeout = (check.get(name, 30 * SECOND) / SECOND for name in ("Interval", "Timeout"))
    start = check.get("StartPeriod", 0) / SECOND
    return {"health": Probe(argv, every, timeout, check.get("Retries") or 3, start)}


def _privileges(host: Mapping[str, Any]) -> Iterator[str]:
    """What a process could use to leave its container or to become more."""
    if host.get("Privileged"):
        yield "is privileged"
    if "ALL" not in (host.get("CapDrop") or ()):
        yield "keeps the default capabilities"
    for capability in host.get("CapAdd") or ():
        yield f"has the capability {capability}"
    if not any(option.startswith("no-new-privileges") for option in host.get("SecurityOpt") or ()):
        yield "may gain privileges by a set-uid program"
    if host.get("PidMode") == "host" or host.get("NetworkMode") == "host":
        yield "shares a namespace with the machine"
