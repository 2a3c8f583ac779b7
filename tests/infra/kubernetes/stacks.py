"""The Kubernetes stacks as a cluster would get them: recorded without CLI, engine or provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from infra.pulumi.program import main
from infra.pulumi.settings import merged
from infra.topology import Plan, load, plan_of, topology_of
from infra.topology.workload import Workload
from tests.infra.pulumi.recorder import Recorded, record, reveal

PASSWORDS = {
    "k8s": {"redis_password": "hunter2-redis", "sentinel_password": "hunter2-sentinel"},
    "k8s-managed": {"redis_password": "hunter2-managed", "redis_url": "rediss://r.example.org:6379/0"},
}
STACKS = tuple(PASSWORDS)
MAKERS = ("Deployment", "StatefulSet", "CronJob")


@dataclass(frozen=True)
class Made:
    """A recorded stack beside its plan."""

    plan: Plan
    recorded: list[Recorded]

    @cached_property
    def objects(self) -> dict[tuple[str, str], Recorded]:
        """Every Kubernetes object by kind and name."""
        found = [entry for entry in self.recorded if entry.type.startswith("kubernetes:")]
        return {(kind_of(entry), entry.inputs["metadata"]["name"]): entry for entry in found}

    def of_kind(self, kind: str) -> dict[str, Recorded]:
        return {name: entry for (found, name), entry in self.objects.items() if found == kind}

    def spec(self, kind: str, name: str) -> dict[str, Any]:
        """What an object wants, in plain data."""
        spec: dict[str, Any] = reveal(self.objects[kind, name].inputs["spec"])
        return spec

    def pod(self, name: str) -> dict[str, Any]:
        """The specification of a workload's pods."""
        spec = next(self.spec(kind, name) for kind in MAKERS if (kind, name) in self.objects)
        pod: dict[str, Any] = spec.get("jobTemplate", {"spec": spec})["spec"]["template"]["spec"]
        return pod

    def labels(self) -> dict[str, dict[str, str]]:
        """What the pods of each workload carry."""
        makers = [(kind, name) for kind, name in self.objects if kind in MAKERS]
        specs = {name: self.spec(kind, name) for kind, name in makers}
        jobs = {name: spec.get("jobTemplate", {"spec": spec})["spec"] for name, spec in specs.items()}
        return {name: job["template"]["metadata"]["labels"] for name, job in jobs.items()}

    def chosen(self, selector: Mapping[str, Any]) -> set[str]:
        """The workloads whose pods a selector finds."""
        wanted = selector["matchLabels"].items()
        return {name for name, labels in self.labels().items() if wanted <= labels.items()}

    def container(self, name: str) -> dict[str, Any]:
        """A workload's process."""
        container: dict[str, Any] = self.pod(name)["containers"][0]
        return container


def kind_of(entry: Recorded) -> str:
    return entry.type.rpartition(":")[2]


@cache
def _stack(stack: str) -> Made:
    return Made(plan_of(load.read(stack)), record(main, stack=stack, secrets=PASSWORDS[stack]))


def made(stack: str = "k8s", only: tuple[str, ...] = (), more: Mapping[str, str] | None = None, **config: Any) -> Made:
    """A stack with its passwords, only some of them or more, and more configuration."""
    if not config:
        return _stack(stack)
    data = merged(load.parse(load.find(stack)), config.get("overrides", {}))
    given = {key: value for key, value in PASSWORDS[stack].items() if not only or key in only} | dict(more or {})
    return Made(plan_of(topology_of(data)), record(main, stack=stack, config=config, secrets=given))


def each_workload() -> list[tuple[str, Workload]]:
    """Every workload of every stack."""
    return [(stack, workload) for stack in STACKS for workload in plan_of(load.read(stack)).workloads]


def refused(stack: str = "k8s", secrets: Mapping[str, str] | None = None, **config: Any) -> tuple[list[str], int]:
    """The sentences that a configuration is refused with, and how many resources there were by then."""
    import pulumi

    begun: list[str] = []

    def program() -> None:
        try:
            main()
        except pulumi.RunError as error:
            begun.extend(["refused", *str(error).splitlines()])

    seen = record(program, stack=stack, config=config, secrets=PASSWORDS[stack] if secrets is None else secrets)
    return begun[1:], len(seen)
