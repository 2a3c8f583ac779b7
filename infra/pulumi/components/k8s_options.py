"""What a cluster is asked for beyond the topology: names, neighbours, scaling. All of it has a default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Label = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Address = Annotated[str, StringConstraints(pattern=r"^https?://[\w.-]+(:\d{1,5})?(/[\w./-]*)?$")]


class Part(BaseModel):
    """Nothing unknown, nothing changed later."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Neighbour(Part):
    """Pods of others that may talk to Redis or read figures: by namespace, by labels, or both."""

    namespace: Label | None = None
    labels: Mapping[str, str] = Field(default_factory=dict)


class Autoscale(Part):
    """Workers by load: tasks that wait and run, for each slot. Whoever scales owns the number of replicas."""

    by: Literal["keda", "hpa"] = "keda"
    least: int = Field(default=1, ge=1)
    most: int = Field(ge=1)
    load: float = Field(default=0.75, gt=0, le=100, description="Tasks that wait and run, for each slot.")
    prometheus: Address | None = Field(default=None, description="Where KEDA asks.")
    settle: int = Field(default=300, ge=0, le=3600, description="Seconds of less load before a worker goes.")


class Options(Part):
    """The configuration object `relier:kubernetes`."""

    namespace: Label | None = Field(default=None, description="Default: the topology's name.")
    create_namespace: bool = True
    protect: bool = Field(default=False, description="Refuse to delete the namespace and the claims in it.")
    storage_class: str | None = Field(
        default=None, description="Of Redis, Sentinel and backups; default: the cluster's."
    )
    image_pull_secrets: tuple[Label, ...] = ()
    cpu_request: float = Field(default=0.1, gt=0, le=64, description="Where the topology names none.")
    priority_classes: bool = Field(default=True, description="They belong to the whole cluster.")
    network_policies: bool = True
    producers: tuple[Neighbour, ...] = Field(default=(), description="Who pushes tasks from other pods.")
    monitoring: tuple[Neighbour, ...] = Field(default=(), description="Who reads the exporter's figures.")
    service_monitor: bool = Field(default=False, description="For the Prometheus operator.")
    autoscale: Mapping[str, Autoscale] = Field(default_factory=dict, description="By pool.")
    wait: bool = Field(default=True, description="`pulumi up` waits until everything is ready.")
