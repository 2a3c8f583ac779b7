"""What a pod mounts: secrets as files, scripts from a ConfigMap, disks, and room for what is thrown away."""

from __future__ import annotations

from itertools import groupby
from pathlib import PurePosixPath

from pulumi_kubernetes.core.v1 import (
    ConfigMapVolumeSourceArgs,
    ContainerArgs,
    EmptyDirVolumeSourceArgs,
    EphemeralVolumeSourceArgs,
    KeyToPathArgs,
    PersistentVolumeClaimSpecArgs,
    PersistentVolumeClaimTemplateArgs,
    PersistentVolumeClaimVolumeSourceArgs,
    ProjectedVolumeSourceArgs,
    ResourceRequirementsArgs,
    SecretProjectionArgs,
    SecurityContextArgs,
    VolumeArgs,
    VolumeMountArgs,
    VolumeProjectionArgs,
    VolumeResourceRequirementsArgs,
)

from infra.pulumi.components.k8s_scope import Scope, cpu, kebab, quantity
from infra.topology.workload import SecretMount, VolumeMount, Workload

SECRETS, SOURCES, FILES, TEMPORARY = "secrets", "secret-sources", "files", "tmp"
SOURCES_DIR = "/run/sources"
GROUP_READS, ALL_RUN = 0o440, 0o555
SCRATCH = "drill_scratch"
# NAME as it is; NAME:KEY,KEY as a JSON object with the value under each key, as a file of passwords by address is.
WRITER = r"""umask 027
for file in "$@"; do
  case $file in *:*) ;; *) cat "{sources}/$file" >"{secrets}/$file"; continue ;; esac
  value=$(sed 's/[\\"]/\\&/g' "{sources}/${{file%%:*}}") line=
  for key in $(printf %s "${{file#*:}}" | tr , ' '); do line="$line${{line:+, }}\"$key\": \"$value\""; done
  printf '{{%s}}\n' "$line" >"{secrets}/${{file%%:*}}"
done"""


def located(reference: str) -> tuple[str, str]:
    """`k8s:secret/key` as a Secret's name and a key of it."""
    name, _, key = reference.removeprefix("k8s:").partition("/")
    return name, key


def folder(path: str) -> str:
    return str(PurePosixPath(path).parent)


def base(path: str) -> str:
    return PurePosixPath(path).name


def claims(workload: Workload) -> bool:
    """Does each of its nodes bring a disk of its own?"""
    return bool(workload.nodes)


def volumes(scope: Scope, workload: Workload) -> list[VolumeArgs]:
    """All volumes of a pod but those that a StatefulSet claims."""
    found = [*secret_volumes(workload)]
    if workload.files:
        items = [KeyToPathArgs(key=base(file.path), path=base(file.path)) for file in workload.files]
        source = ConfigMapVolumeSourceArgs(name=f"{workload.name}-files", default_mode=ALL_RUN, items=items)
        found.append(VolumeArgs(name=FILES, config_map=source))
    for number, _ in enumerate(workload.tmpfs):
        room = EmptyDirVolumeSourceArgs(medium="Memory", size_limit=quantity(workload.memory // 4))
        found.append(VolumeArgs(name=temporary(number), empty_dir=room))
    if not claims(workload):
        found += [disk(scope, mount) for mount in workload.volumes]
    return found


def temporary(number: int) -> str:
    return f"{TEMPORARY}-{number}" if number else TEMPORARY


def disk(scope: Scope, mount: VolumeMount) -> VolumeArgs:
    """A claim; what a rehearsal restores lives as long as its pod."""
    if mount.volume == SCRATCH:
        template = PersistentVolumeClaimTemplateArgs(spec=claim(scope, mount))
        return VolumeArgs(name=kebab(mount.volume), ephemeral=EphemeralVolumeSourceArgs(volume_claim_template=template))
    source = PersistentVolumeClaimVolumeSourceArgs(claim_name=kebab(mount.volume))
    return VolumeArgs(name=kebab(mount.volume), persistent_volume_claim=source)


def claim(scope: Scope, mount: VolumeMount) -> PersistentVolumeClaimSpecArgs:
    """So much disk, written by one host or by many."""
    return PersistentVolumeClaimSpecArgs(
        access_modes=["ReadWriteMany" if mount.shared else "ReadWriteOnce"],
        storage_class_name=mount.storage_class or scope.options.storage_class,
        resources=VolumeResourceRequirementsArgs(requests={"storage": quantity(mount.size)}),
    )


def mounts(workload: Workload) -> list[VolumeMountArgs]:
    """Where they are in the container."""
    found = []
    if workload.secrets:
        found.append(VolumeMountArgs(name=SECRETS, mount_path=folder(workload.secrets[0].path), read_only=True))
    if workload.files:
        found.append(VolumeMountArgs(name=FILES, mount_path=folder(workload.files[0].path), read_only=True))
    found += [VolumeMountArgs(name=temporary(n), mount_path=path) for n, path in enumerate(workload.tmpfs)]
    return found + [
        VolumeMountArgs(name=kebab(mount.volume), mount_path=mount.path, read_only=mount.read_only or None)
        for mount in workload.volumes
    ]


def written(workload: Workload) -> list[SecretMount]:
    """Secrets that are files of another form than they are kept in."""
    return [mount for mount in workload.secrets if mount.keys]


def secret_volumes(workload: Workload) -> list[VolumeArgs]:
    """Read by the process's own group, and by nobody else."""
    if not workload.secrets:
        return []
    kept = projected(workload.secrets)
    if not written(workload):
        return [VolumeArgs(name=SECRETS, projected=kept)]
    memory = EmptyDirVolumeSourceArgs(medium="Memory", size_limit="1Mi")
    return [VolumeArgs(name=SECRETS, empty_dir=memory), VolumeArgs(name=SOURCES, projected=kept)]


def projected(secrets: tuple[SecretMount, ...]) -> ProjectedVolumeSourceArgs:
    """Keys of one or several Secrets in one directory, named as the plan names them."""
    placed = sorted((*located(mount.reference), mount.name) for mount in secrets)
    sources = [
        VolumeProjectionArgs(
            secret=SecretProjectionArgs(name=name, items=[KeyToPathArgs(key=key, path=path) for _, key, path in group])
        )
        for name, group in groupby(placed, key=lambda entry: entry[0])
    ]
    return ProjectedVolumeSourceArgs(default_mode=GROUP_READS, sources=sources)


def writers(scope: Scope, workload: Workload, secure: SecurityContextArgs) -> list[ContainerArgs]:
    """Writes secrets in the form that a foreign program wants, in memory, before that starts."""
    if not written(workload):
        return []
    script = WRITER.format(sources=SOURCES_DIR, secrets=folder(workload.secrets[0].path))
    files = [f"{mount.name}:{','.join(mount.keys)}" if mount.keys else mount.name for mount in workload.secrets]
    request = {"memory": "16Mi", "cpu": cpu(scope.options.cpu_request)}
    return [
        ContainerArgs(
            name="secrets",
            image=scope.topology.redis.image,
            image_pull_policy="IfNotPresent",
            command=["sh", "-c", script, "write", *files],
            resources=ResourceRequirementsArgs(limits={"memory": "16Mi"}, requests=request),
            security_context=secure,
            volume_mounts=[
                VolumeMountArgs(name=SOURCES, mount_path=SOURCES_DIR, read_only=True),
                VolumeMountArgs(name=SECRETS, mount_path=folder(workload.secrets[0].path)),
            ],
        )
    ]
