"""The job that puts a backup onto the first data node's disk, made of what the stack already is, and the way there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from infra.pulumi.components.k8s_scope import COMPONENT
from infra.pulumi.settings import Deployment
from infra.topology.load import refuse
from infra.topology.workload import Workload

NAME, PLACE, DISK = "restore", "/restored", "restored"
FILE = re.compile(r"relier-[\w.-]+\.rdb")
Object = Mapping[str, Any]


def job(deployment: Deployment, made: Sequence[Object], file: str) -> dict[str, Any]:
    """The backup's own pod, with the disk beside the backups and the memory that the data takes."""
    plan = deployment.plan
    if not plan.of_kind("backup"):
        raise refuse(
            "backup", f"{deployment.stack} takes no backups, so there is none to restore; see who runs its Redis."
        )
    if file and not FILE.fullmatch(file):
        raise refuse(
            "--restore", f"--restore is {file}, no name of a backup; write one such as relier-DATE.rdb, or none."
        )
    backup, node = plan.of_kind("backup")[0], plan.of_kind("redis")[0]
    cron, nodes = _find(made, "CronJob", backup.name), _find(made, "StatefulSet", node.name)
    template = cron["spec"]["jobTemplate"]["spec"]["template"]
    spec, main = template["spec"], template["spec"]["containers"][0]
    command = ["/etc/relier/restore", "--force", PLACE, *([f"{backup.volumes[0].path}/{file}"] if file else [])]
    main = main | {
        "command": command,
        "resources": nodes["spec"]["template"]["spec"]["containers"][0]["resources"],
        "volumeMounts": [*main["volumeMounts"], {"name": DISK, "mountPath": PLACE}],
    }
    disk = {"name": DISK, "persistentVolumeClaim": {"claimName": claims(nodes)[0]}}
    pod = spec | {"containers": [main], "volumes": [*spec["volumes"], disk]}
    meta = cron["metadata"] | {"name": NAME}
    once = {"backoffLimit": 0, "template": template | {"spec": pod}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": once}


def _find(made: Sequence[Object], kind: str, name: str) -> Any:
    return next(found for found in made if (found["kind"], found["metadata"]["name"]) == (kind, name))


def claims(nodes: Object) -> list[str]:
    """The disks of a StatefulSet's pods, as Kubernetes names them."""
    name, spec = nodes["metadata"]["name"], nodes["spec"]
    disks = [claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]]
    return [f"{disk}-{name}-{place}" for place in range(spec["replicas"]) for disk in disks]


def steps(deployment: Deployment, made: Sequence[Object], path: str, namespace: str) -> Iterator[str]:
    """Commands to copy. The first node keeps its disk; the others copy from it, and Sentinels forget who led."""
    plan, kubectl = deployment.plan, f"kubectl -n {namespace}"
    servers, app = plan.of_kind("redis", "sentinel"), plan.of_kind("worker", "resurrector")
    _, *others = [claim for each in servers for claim in claims(_find(made, "StatefulSet", each.name))]
    pods = ", ".join(workload.name for workload in (*servers, *app))
    yield from _scaled(kubectl, app, servers, 0)
    yield f"{kubectl} wait pod -l '{COMPONENT} in ({pods})' --for=delete --timeout=5m"
    yield f"kubectl apply -f {path}"
    yield f"{kubectl} wait job/{NAME} --for=condition=Complete --timeout=1h    # or see: {kubectl} logs job/{NAME}"
    yield from [f"{kubectl} delete pvc {' '.join(others)}"] if others else []
    yield from _scaled(kubectl, (), servers)
    yield from (f"{kubectl} rollout status sts/{each.name}" for each in servers)
    yield from _scaled(kubectl, app, ())
    yield f"{kubectl} delete job {NAME}"


def _scaled(
    kubectl: str, app: Sequence[Workload], servers: Sequence[Workload], replicas: int | None = None
) -> Iterator[str]:
    named = [(f"deploy/{each.name}", each.replicas) for each in app] + [(f"sts/{s.name}", s.replicas) for s in servers]
    for count in dict.fromkeys(count for _, count in named) if replicas is None else [replicas]:
        alike = [name for name, planned in named if replicas is not None or planned == count]
        yield f"{kubectl} scale {' '.join(alike)} --replicas={count}"
