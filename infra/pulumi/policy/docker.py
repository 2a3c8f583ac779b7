"""What no container, image or network of a Docker stack may do."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from infra.pulumi.policy.core import Resource, Secrecy, rule

CONTAINER = "docker:index/container:Container"
IMAGE = "docker:index/remoteImage:RemoteImage"
SECRETS = "/run/secrets/"
FLOATING = ("latest", "stable", "edge", "main", "master", "dev", "nightly")
SOCKET = "docker.sock"


def floating(image: object) -> str | None:
    """Why an image's name does not say what will run, or nothing."""
    text = str(image)
    if "@sha256:" in text:
        return None
    tag = text.rpartition("/")[2].partition(":")[2]
    if not tag:
        return "has no tag"
    return f"has the floating tag {tag}" if tag in FLOATING else None


@rule(CONTAINER, IMAGE)
def no_floating_tag(resource: Resource) -> Iterator[str]:
    """The same program must run the same image tomorrow."""
    image = resource.get("name" if resource.type == IMAGE else "image")
    if isinstance(image, str) and not image.startswith("sha256:") and (why := floating(image)):
        yield f"{resource.name}: the image {image} {why}; name a version or a digest."


def runs(resource: Resource) -> bool:
    """A container that is never started holds files only."""
    return resource.get("start") is not False


@rule(CONTAINER)
def limits_present(resource: Resource) -> Iterator[str]:
    """One leak must not take the machine, and a memory limit without one for swap is a difference for ever."""
    memory, swap = resource.get("memory"), resource.get("memory_swap")
    if runs(resource) and not memory:
        yield f"{resource.name}: memory has no limit; set memory."
    elif runs(resource) and swap != memory:
        yield f"{resource.name}: memory is {memory} MiB and memory_swap {swap}; set both to the same."


@rule(CONTAINER)
def loopback_ports(resource: Resource) -> Iterator[str]:
    """Docker's published ports pass by the host's firewall."""
    public = {entry.get("value") for entry in resource.get("labels") or () if entry.get("label") == "relier.public"}
    for port in resource.get("ports") or ():
        address, number = port.get("ip"), port.get("external") or port.get("internal")
        if "true" not in public and not _is_loopback(address):
            yield f"{resource.name}: port {number} is published on {address or 'every address'}; write 127.0.0.1."


def _is_loopback(address: Any) -> bool:
    try:
        return ip_address(str(address)).is_loopback
    except ValueError:
        return False


@rule(CONTAINER)
def restricted(resource: Resource) -> Iterator[str]:
    """Not root, no capability, nothing gained by setuid, nothing written outside volumes."""
    if not runs(resource):
        return
    if str(resource.get("user") or "0").partition(":")[0] in ("0", "root"):
        yield f"{resource.name}: runs as root; set user."
    if "ALL" not in ((resource.get("capabilities") or {}).get("drops") or ()):
        yield f"{resource.name}: keeps capabilities; drop ALL."
    if "no-new-privileges:true" not in (resource.get("security_opts") or ()):
        yield f"{resource.name}: may gain privileges; set no-new-privileges:true."
    if not resource.get("read_only"):
        yield f"{resource.name}: can write its root file system; set read_only."


@rule(CONTAINER)
def no_way_out(resource: Resource) -> Iterator[str]:
    """Neither privileged, nor the host's namespaces, nor the engine's socket."""
    if resource.get("privileged"):
        yield f"{resource.name}: is privileged; remove privileged."
    for name in ("network_mode", "pid_mode", "ipc_mode"):
        if resource.get(name) == "host":
            yield f"{resource.name}: {name} is host; remove it."
    for mount in resource.get("volumes") or ():
        if SOCKET in str(mount.get("host_path", "")):
            yield f"{resource.name}: mounts the engine's socket; remove {mount['host_path']}."


@rule(CONTAINER)
def secrets_wrapped(resource: Resource) -> Iterator[Secrecy]:
    """What is not wrapped is in clear in the state and in every preview."""
    for upload in resource.get("uploads") or ():
        if (file := str(upload.get("file", ""))).startswith(SECRETS):
            yield Secrecy(
                upload.get("content"), True, f"{resource.name}: {file} is not secret; wrap it in Output.secret."
            )


@rule(CONTAINER)
def no_secret_in_sight(resource: Resource) -> Iterator[Secrecy]:
    """`docker inspect` shows variables, labels, arguments and checks to everybody who may ask."""
    for name in ("envs", "command", "entrypoints", "labels", "healthcheck"):
        for value in _leaves(resource.get(name)):
            yield Secrecy(value, False, f"{resource.name}: a secret is among its {name}; mount it as a file.")


def _leaves(value: Any) -> Iterator[Any]:
    """What stands in dicts and lists. An output is one value, whatever is in it."""
    if isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _leaves(entry)
    elif value is not None:
        yield value
