"""What a container finds as files: configuration and secrets, put on a volume by a container that never runs.

Docker cannot copy a file into a container whose root is read-only, and a bind mount needs the engine on this machine
and shows an edit to nobody. So a second container of the same image, created and never started, owns an anonymous
volume for each folder; its files are uploaded there, and the real one takes these volumes over, read-only. Each replica
has a holder of its own: Pulumi deletes whoever uses a holder before the holder, and one for all would take the whole
pool away at every new password and every new image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pulumi
import pulumi_docker as docker

from infra.pulumi.settings import ROOT, Deployment
from infra.topology import emit
from infra.topology.build_redis import overlay_source
from infra.topology.load import refuse
from infra.topology.workload import FileMount, SecretMount, Workload

SECRETS = "/run/secrets"


def is_source(mount: FileMount) -> bool:
    """The code under work is a folder of this machine, so that an edit shows; all else is uploaded."""
    return mount.path.startswith("/app/")


def uploads(deployment: Deployment, workload: Workload) -> list[dict[str, Any]]:
    """All files of a workload, as pulumi-docker takes them. Everybody may read them; only root owns them."""
    plain = (file for mount in workload.files if not is_source(mount) for file in _files(deployment, mount))
    secret = (_secret(deployment, mount) for mount in workload.secrets)
    return sorted([*plain, *secret], key=lambda upload: str(upload["file"]))


def folders(files: list[dict[str, Any]]) -> list[str]:
    """The fewest folders that hold all files."""
    parents = sorted({str(PurePosixPath(upload["file"]).parent) for upload in files})
    return [path for path in parents if not any(path != top and path.startswith(f"{top}/") for top in parents)]


def _files(deployment: Deployment, mount: FileMount) -> Iterator[dict[str, Any]]:
    topology = deployment.topology
    if mount.source == overlay_source(topology):
        yield _upload(mount.path, emit.overlay(topology, deployment.stack))
        return
    source = ROOT / mount.source
    if not source.exists():
        raise refuse(mount.source, f"{mount.source} is missing in {ROOT}; restore it from the repository.")
    if source.is_file():
        yield _upload(mount.path, _text(source), executable=source.stat().st_mode & 0o100 > 0)
        return
    for path in sorted(source.rglob("*")):
        if path.is_file():
            yield _upload(f"{mount.path}/{path.relative_to(source).as_posix()}", _text(path))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _upload(path: str, content: pulumi.Input[str], executable: bool = False) -> dict[str, Any]:
    return {"file": path, "content": content, "permissions": "0555" if executable else "0444"}


def _secret(deployment: Deployment, mount: SecretMount) -> dict[str, Any]:
    value = deployment.secrets[mount.name]
    if mount.keys:
        value = value.apply(lambda text: json.dumps(dict.fromkeys(mount.keys, text)))
    return _upload(mount.path, value)


class Files(pulumi.ComponentResource):
    """The container that holds the files of one container. `holder` is what that one takes its volumes from."""

    holder: docker.Container

    def __init__(
        self,
        name: str,
        *,
        project: str,
        image: docker.RemoteImage,
        reference: str,
        uploads: list[dict[str, Any]],
        labels: Mapping[str, str],
        after: Sequence[pulumi.Input[pulumi.Resource]] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("relier:docker:Files", name, {}, opts)
        self.holder = docker.Container(
            name,
            name=f"{project}-{name}",
            image=reference,
            start=False,
            must_run=False,
            command=["files"],
            network_mode="none",
            uploads=uploads,  # type: ignore[arg-type]
            volumes=[{"container_path": path} for path in folders(uploads)],
            labels=[{"label": label, "value": value} for label, value in labels.items()],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[image, *after], delete_before_replace=True),
        )
        self.register_outputs({"holder": self.holder.name})
