"""What no object of a Kubernetes stack may do. A cluster may enforce some of it; here it is said first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.pulumi.policy.core import Resource, Secrecy, rule
from infra.pulumi.policy.docker import floating

PODS = (
    "kubernetes:core/v1:Pod",
    "kubernetes:apps/v1:*",
    "kubernetes:batch/v1:*",
)
LEVEL = "pod-security.kubernetes.io/enforce"
PROFILES = ("RuntimeDefault", "Localhost")
HARMLESS = {"NET_BIND_SERVICE"}
#: What of a container may be read with the pod, its variables aside.
SHOWN = ("command", "args", "liveness_probe", "readiness_probe", "startup_probe", "lifecycle")


def at(data: Any, *names: str) -> Any:
    """What lies deep in plain data, its keys named as in Python or as in Kubernetes; None where there is nothing."""
    for name in names:
        first, *rest = name.split("_")
        camel = first + "".join(word.capitalize() for word in rest)
        data = data.get(name, data.get(camel)) if isinstance(data, Mapping) else None
    return data


def pod_of(resource: Resource) -> Any:
    """The specification of the pods that an object makes, or nothing."""
    spec = resource.get("spec")
    if resource.type.endswith(":Pod"):
        return spec
    job = at(spec, "job_template", "spec") or spec
    return at(job, "template", "spec")


def containers(resource: Resource) -> Iterator[tuple[str, Any]]:
    """Each container with the words that name it, those that run first included."""
    pod = pod_of(resource)
    for group in ("init_containers", "containers"):
        for found in at(pod, group) or ():
            yield f"{resource.name}: container {at(found, 'name')}", found


def is_set(resource: Resource, name: str, container: Any, wanted: Any) -> bool:
    """Is a setting as wanted, in the container or else in its pod?"""
    own = at(container, "security_context", name)
    found = at(pod_of(resource), "security_context", name) if own is None else own
    return bool(found == wanted)


@rule(*PODS)
def not_as_root(resource: Resource) -> Iterator[str]:
    for where, container in containers(resource):
        if not is_set(resource, "run_as_non_root", container, True) or is_set(resource, "run_as_user", container, 0):
            yield f"{where} may run as root; set run_as_non_root and a user other than 0."


@rule(*PODS)
def nothing_to_gain(resource: Resource) -> Iterator[str]:
    """No capability, no setuid, no system call beyond the usual ones."""
    for where, container in containers(resource):
        secure = at(container, "security_context")
        if "ALL" not in (at(secure, "capabilities", "drop") or ()):
            yield f"{where} keeps capabilities; drop ALL."
        if more := set(at(secure, "capabilities", "add") or ()) - HARMLESS:
            yield f"{where} adds the capabilities {', '.join(sorted(more))}; remove them."
        if at(secure, "allow_privilege_escalation") is not False:
            yield f"{where} may gain privileges; set allow_privilege_escalation to False."
        if at(secure, "privileged"):
            yield f"{where} is privileged; remove privileged."
        profile = at(secure, "seccomp_profile", "type") or at(
            pod_of(resource), "security_context", "seccomp_profile", "type"
        )
        if profile not in PROFILES:
            yield f"{where} has no seccomp profile; set RuntimeDefault."


@rule(*PODS)
def a_root_nobody_writes(resource: Resource) -> Iterator[str]:
    for where, container in containers(resource):
        if at(container, "security_context", "read_only_root_filesystem") is not True:
            yield f"{where} can write its root file system; set read_only_root_filesystem."


@rule(*PODS)
def nothing_of_the_host(resource: Resource) -> Iterator[str]:
    """Neither its namespaces nor its files nor its ports."""
    pod = pod_of(resource)
    for name in ("host_network", "host_pid", "host_ipc"):
        if at(pod, name):
            yield f"{resource.name}: {name} is set; remove it."
    for volume in at(pod, "volumes") or ():
        if path := at(volume, "host_path", "path"):
            yield f"{resource.name}: mounts {path} of the host; use a claim."
    for where, container in containers(resource):
        if any(at(port, "host_port") for port in at(container, "ports") or ()):
            yield f"{where} takes a port of the host; remove host_port."


@rule(*PODS)
def no_token(resource: Resource) -> Iterator[str]:
    """Nobody here asks the API server."""
    if pod_of(resource) and at(pod_of(resource), "automount_service_account_token") is not False:
        yield f"{resource.name}: mounts a token for the API server; set automount_service_account_token to False."


@rule(*PODS)
def no_floating_image(resource: Resource) -> Iterator[str]:
    for where, container in containers(resource):
        image = at(container, "image")
        if isinstance(image, str) and (why := floating(image)):
            yield f"{where}: the image {image or 'that is not named'} {why}; name a version or a digest."


@rule(*PODS)
def memory_has_an_end(resource: Resource) -> Iterator[str]:
    """One leak must not take the node. CPU may go without: a throttled Redis looks dead to its Sentinels."""
    for where, container in containers(resource):
        for kind, names in (("limits", ("memory",)), ("requests", ("memory", "cpu"))):
            for name in names:
                if not at(container, "resources", kind, name):
                    yield f"{where} has no {name} among its {kind}; set resources.{kind}.{name}."


@rule(*PODS)
def no_secret_in_variables(resource: Resource) -> Iterator[Secrecy]:
    """`kubectl describe` shows variables, arguments and probes to everybody who may look at pods."""
    for where, container in containers(resource):
        for variable in at(container, "env") or ():
            sentence = f"{where}: a secret is the value of {at(variable, 'name')}; mount it as a file."
            yield Secrecy(at(variable, "value"), False, sentence)
        for name in SHOWN:
            for value in leaves(at(container, name)):
                yield Secrecy(value, False, f"{where}: a secret is among its {name}; mount it as a file.")


def leaves(data: Any) -> Iterator[Any]:
    """Every value in plain data, however deep."""
    if isinstance(data, Mapping | list):
        for entry in data.values() if isinstance(data, Mapping) else data:
            yield from leaves(entry)
    elif data is not None:
        yield data


@rule("kubernetes:*")
def no_secret_in_marks(resource: Resource) -> Iterator[Secrecy]:
    """Labels and annotations are for everybody, those of a Secret too."""
    for meta in marked(resource):
        for name in ("labels", "annotations"):
            for value in leaves(at(meta, name)):
                yield Secrecy(value, False, f"{resource.name}: a secret is among its {name}; remove it.")


def marked(resource: Resource) -> Iterator[Any]:
    """The metadata of an object, and of the jobs and pods that it makes."""
    spec = resource.get("spec")
    job = at(spec, "job_template")
    yield from (resource.get("metadata"), at(job, "metadata"))
    yield at(at(job, "spec") or spec, "template", "metadata")


@rule("kubernetes:core/v1:Secret")
def secrets_are_secret(resource: Resource) -> Iterator[Secrecy]:
    """What is not wrapped is in clear in the state and in every preview. The SDK wraps all of it, if it is asked."""
    for name in ("string_data", "data"):
        held = resource.get(name) or {}
        for key, value in held.items() if isinstance(held, Mapping) else [(name, held)]:
            yield Secrecy(value, True, f"{resource.name}: {key} is not secret; wrap it in Output.secret.")


@rule("kubernetes:core/v1:ConfigMap")
def settings_are_not_secret(resource: Resource) -> Iterator[Secrecy]:
    held = resource.get("data") or {}
    for key, value in held.items() if isinstance(held, Mapping) else [("data", held)]:
        yield Secrecy(value, False, f"{resource.name}: {key} is a secret in a ConfigMap; use a Secret.")


@rule("kubernetes:core/v1:Service")
def services_stay_inside(resource: Resource) -> Iterator[str]:
    """Whoever needs one from outside asks for a port forward."""
    if (kind := at(resource.get("spec"), "type") or "ClusterIP") not in ("ClusterIP", "ExternalName"):
        yield f"{resource.name}: a {kind} opens it to the outside; write ClusterIP and use kubectl port-forward."


@rule("kubernetes:core/v1:Namespace")
def namespaces_are_restricted(resource: Resource) -> Iterator[str]:
    if (at(resource.get("metadata"), "labels") or {}).get(LEVEL) != "restricted":
        yield f"{resource.name}: admits pods of any kind; label it {LEVEL}: restricted."


@rule("kubernetes:networking.k8s.io/v1:NetworkPolicy")
def doors_name_their_guests(resource: Resource) -> Iterator[str]:
    """An entry without a list of peers, or with an empty peer, is open to everybody."""
    for entry in at(resource.get("spec"), "ingress") or ():
        peers = at(entry, "from_") or at(entry, "from") or ()
        if not peers or not all(peers):
            yield f"{resource.name}: lets everybody in; name who may ask in from_."
