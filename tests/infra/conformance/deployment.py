"""A running deployment beside its plan: what is asked once and used by many tests."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pytest

from infra.topology import environment, plan_of, read
from infra.topology.workload import Workload
from tests.infra.conformance import snippets
from tests.infra.conformance.adapters.base import PROCESSES, Adapter, Answer, Facts, Instance, Process, local, processes

T = TypeVar("T")


def all_hold(findings: Iterator[str] | Sequence[str]) -> None:
    """Fail with the sentences and nothing else."""
    found = sorted(set(findings))
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def eventually(ask: Callable[[], T], seconds: float, what: str, every: float = 0.5) -> T:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer, trouble = ask(), ""
        except (RuntimeError, OSError, ValueError) as error:
            answer, trouble = None, f" The last attempt: {error}"
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {seconds:g} s.{trouble}", pytrace=False)
        time.sleep(every)


class Deployment:
    """One stack and the adapter of the backend where it runs."""

    def __init__(self, stack: Path, make: Callable[..., Adapter], **options: Any) -> None:
        self.stack, self.topology = stack.stem, read(str(stack))
        self.plan = plan_of(self.topology)
        self.adapter = make(self.plan, **options)
        self.forget()

    def forget(self) -> None:
        """Ask anew from now on: something was changed on purpose."""
        self._instances: dict[str, list[Instance]] = {}
        self._facts: dict[str, Facts] = {}
        self._processes: dict[str, list[Process]] = {}
        for name in ("survey", "fleet", "secrets"):
            self.__dict__.pop(name, None)

    def instances(self, workload: Workload) -> list[Instance]:
        """All of them; also what is only described, like a job between two runs."""
        if workload.name not in self._instances:
            self._instances[workload.name] = self.adapter.instances(workload)
        return self._instances[workload.name]

    def inside(self, workload: Workload) -> list[Instance]:
        """Those that can be entered: they run, and have a shell."""
        return [instance for instance in self.instances(workload) if instance.running and instance.host is not None]

    def of_kind(self, *kinds: Any) -> list[Instance]:
        """`inside`, for every workload of some kinds."""
        return [instance for workload in self.plan.of_kind(*kinds) for instance in self.inside(workload)]

    def facts(self, instance: Instance) -> Facts:
        if instance.name not in self._facts:
            self._facts[instance.name] = self.adapter.facts(instance)
        return self._facts[instance.name]

    def run(self, instance: Instance, *argv: str, timeout: float = 60) -> Answer:
        return local(self.adapter.command(instance, argv), timeout=timeout)

    def processes(self, instance: Instance) -> list[Process]:
        """What `ps` shows inside, or on the instance's machine."""
        if instance.name not in self._processes:
            answer = self.run(instance, "sh", "-c", PROCESSES)
            self._processes[instance.name] = processes(answer.out)
        return self._processes[instance.name]

    def absent_for_a_reason(self, workload: Workload) -> str | None:
        """Compose leaves Grafana off, and says so, where its image is not to be had."""
        if workload.kind == "grafana" and not self.adapter.has_image(str(workload.image)):
            return f"{workload.name} is left off: this machine has no image {workload.image}"
        return None

    @property
    def app(self) -> list[Instance]:
        """Where the application's interpreter, settings and secrets are."""
        return self.of_kind("worker", "resurrector")

    def producer(self, *avoid: str) -> Instance:
        """An instance for our own programs: of the roomiest workload that no drill is about to harm."""
        sizes = {workload.name: workload.memory for workload in self.plan.workloads}
        fit = [instance for instance in self.app if instance.workload not in avoid]
        if not fit:
            pytest.fail("nothing of the application runs, so nobody can ask for it.", pytrace=False)
        return max(fit, key=lambda instance: (sizes[instance.workload], instance.name))

    def program(self, name: str, *args: Any, at: Instance | None = None) -> list[str]:
        """The local command line of one of `snippets`."""
        at = at or self.producer()
        words = [arg if isinstance(arg, str) else json.dumps(arg) for arg in args]
        return self.adapter.command(at, ["python", "-c", snippets.text(name), *words])

    def ask(self, name: str, *args: Any, at: Instance | None = None, timeout: float = 300) -> Any:
        """Run a program to its end; its last line is the answer."""
        at = at or self.producer()
        answer = local(self.program(name, *args, at=at), timeout=timeout)
        if answer.code:
            reason = (answer.text.splitlines() or ["it said nothing"])[-1]
            raise RuntimeError(f"{at}: our program {name} ended with {answer.code} there: {reason}")
        return json.loads(answer.out.splitlines()[-1])

    def begin(self, name: str, *args: Any, at: Instance) -> subprocess.Popen[str]:
        """Start a program that goes on while something else happens."""
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(self.program(name, *args, at=at), text=True, **pipes)

    @cached_property
    def survey(self) -> dict[str, Any]:
        """Every data node and every Sentinel, by `host:port`."""
        part = self.topology.sentinel
        sentinels = environment.sentinel_nodes(self.topology).split(",") if part else []
        name = part.master_name if part else ""
        nodes = environment.redis_nodes(self.topology).split(",")
        found: dict[str, Any] = self.ask("survey", {"nodes": nodes, "sentinels": sentinels, "master": name})
        return found

    @property
    def infos(self) -> dict[str, dict[str, Any]]:
        return {node: seen["info"] for node, seen in self.survey["nodes"].items()}

    def master(self) -> str:
        """Who leads now, asked anew."""
        self.__dict__.pop("survey", None)
        leading = [node for node, info in self.infos.items() if info.get("role") == "master"]
        return leading[0] if len(leading) == 1 else ""

    def at(self, place: str) -> Instance:
        """The instance behind `host:port` of the plan."""
        host = place.rpartition(":")[0]
        known = [
            i
            for i in self.of_kind("redis", "sentinel")
            if i.node and environment.address(self.topology, i.node) == host
        ]
        mine = [i for i in known if i.workload in self._holding(place)]
        if not mine:
            pytest.fail(f"nothing runs that is {place} of the plan.", pytrace=False)
        return mine[0]

    def _holding(self, place: str) -> set[str]:
        """Workloads that use a port: a host may have a data node and a Sentinel under one name."""
        port = int(place.rpartition(":")[2])
        return {w.name for w in self.plan.of_kind("redis", "sentinel") if port in {p.port for p in w.ports}}

    @cached_property
    def fleet(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("fleet")
        return found

    @cached_property
    def secrets(self) -> dict[str, str]:
        """Every secret's value by its name, read where it is used."""
        found: dict[str, str] = {}
        for workload in self.plan.workloads:
            for instance in self.inside(workload):
                for mount in workload.secrets:
                    answer = self.run(instance, "cat", mount.path) if mount.name not in found else None
                    if answer and answer.code == 0 and answer.out.strip():
                        found |= _values(mount.name, answer.out.strip())
        return found


def _values(name: str, text: str) -> dict[str, str]:
    """A secret file holds the value, or JSON with the value under some keys."""
    try:
        held = json.loads(text)
    except ValueError:
        return {name: text}
    return {name: str(next(iter(held.values()), ""))} if isinstance(held, dict) else {name: text}
