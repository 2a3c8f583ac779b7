"""The Docker tiers: one engine, and on it what Compose would make of the same plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_docker as provider
from pydantic import BaseModel, ConfigDict, Field

from infra.pulumi.components.docker_base import Base
from infra.pulumi.components.docker_service import Service
from infra.pulumi.engine import Engine
from infra.pulumi.settings import Deployment, options_of
from infra.topology.load import refuse
from infra.topology.workload import Workload


class Options(BaseModel):
    """`relier:docker` in a stack's file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    protect: bool = Field(default=False, description="Refuse to delete volumes, by `destroy` and by an update.")


def deploy(deployment: Deployment, engine: Engine) -> Mapping[str, pulumi.Input[Any]]:
    """Everything of the plan, each workload after those that it depends on."""
    options = options_of(Options, deployment.options, "docker")
    _fits(deployment)
    engine.refuse_compose(deployment.project, f"make {deployment.topology.tier}-down")
    stack = Stack(deployment, engine, options)
    stack.raise_all()
    return stack.outputs()


def _fits(deployment: Deployment) -> None:
    """An image is what runs here, so every workload must name one."""
    bare = [workload.name for workload in deployment.plan.workloads if not workload.image]
    if bare:
        raise refuse("app.image", f"{bare[0]} has no image; a Docker stack needs app.image.")


class Stack:
    """The services of a deployment while they are made."""

    def __init__(self, deployment: Deployment, engine: Engine, options: Options) -> None:
        self.deployment, self.engine = deployment, engine
        self.labels = {"relier.stack": deployment.stack, "relier.project": deployment.project}
        self.base = Base(
            deployment.project,
            project=deployment.project,
            plan=deployment.plan,
            labels=self.labels,
            protect=options.protect,
        )
        self.made: dict[str, Sequence[provider.Container]] = {}
        self.up: dict[str, pulumi.Output[pulumi.Resource]] = {}

    def raise_all(self) -> None:
        """In the plan's order: nothing there depends on what comes later."""
        for workload in self.deployment.plan.workloads:
            self._raise(workload)

    def _raise(self, workload: Workload) -> None:
        wait = workload.health is not None and not self._is_early(workload)
        public = {"relier.public": "true"} if workload.kind in self.deployment.topology.public else {}
        service = Service(
            workload.name,
            deployment=self.deployment,
            base=self.base,
            workload=workload,
            wait=wait,
            labels={**self.labels, **public},
            after=[thing for need in workload.depends_on for thing in self._there(need.name, need.condition)],
            opts=pulumi.ResourceOptions(parent=self.base),
        )
        self.made[workload.name] = service.containers
        if workload.health is not None and not wait:
            self.up[workload.name] = self._healthy(service.containers)

    def _is_early(self, workload: Workload) -> bool:
        """Somebody needs it started only: a data node is healthy once the Sentinels are, and they come later."""
        needs = (need for other in self.deployment.plan.workloads for need in other.depends_on)
        return any(need.name == workload.name and need.condition == "started" for need in needs)

    def _there(self, name: str, condition: str) -> Sequence[pulumi.Input[pulumi.Resource]]:
        if condition == "healthy" and name in self.up:
            return [self.up[name]]
        return self.made.get(name, ())

    def _healthy(self, containers: Sequence[provider.Container]) -> pulumi.Output[pulumi.Resource]:
        """The last container, once all are healthy on the engine."""

        async def wait(names: Sequence[str]) -> pulumi.Resource:
            """A preview has nothing to wait for."""
            if not pulumi.runtime.is_dry_run():
                await self.engine.healthy(names)
            return containers[-1]

        known = pulumi.Output.all(*(each.id for each in containers), *(each.name for each in containers))
        return known.apply(lambda values: wait(values[len(containers) :]))

    def outputs(self) -> Mapping[str, pulumi.Input[Any]]:
        """What runs, and what to do with it."""
        plan = self.deployment.plan
        published = [(w.name, port.published) for w in plan.workloads for port in w.ports if port.published]
        return {
            "project": self.deployment.project,
            "containers": [each.name for containers in self.made.values() for each in containers],
            "published": {name: f"{_scheme(name)}://{address}" for name, address in published},
            "next": next_steps(self.deployment, dict(published)),
        }


def next_steps(deployment: Deployment, published: Mapping[str, str | None]) -> list[str]:
    """How to see that it works, to push the first task, and to prove the whole."""
    project, tier = deployment.project, deployment.topology.tier
    inside = f"docker exec {project}-{deployment.plan.of_kind('worker')[0].name}-1 rl"
    data = [name for name in published if name.startswith("redis")]
    outside = f"from your code here: RELIER_REDIS_URL=redis://{published[data[0]]}/0" if data else ""
    within = f"from a container in the network {project}_data, with the RELIER_* variables of a worker"
    return [
        f"see what runs: docker ps --filter label=relier.project={project}",
        f"ask a worker whether all is well: {inside} doctor",
        f"watch tasks: {inside} tasks top",
        f"push {outside or within}",
        f"prove it: make conformance TIER={tier}",
    ]


def _scheme(name: str) -> str:
    return "http" if name in ("grafana", "prometheus") else "redis"
