"""Every policy is broken once, by an object that is otherwise as it must be."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import pytest

from infra.pulumi import policy
from tests.infra.pulumi import recorder
from tests.infra.pulumi.recorder import Monitor

SECURE: dict[str, Any] = {
    "allow_privilege_escalation": False,
    "read_only_root_filesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
POD: dict[str, Any] = {
    "automount_service_account_token": False,
    "security_context": {"run_as_non_root": True, "run_as_user": 10001, "seccomp_profile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "worker",
            "image": "relier:1.0.0",
            "security_context": SECURE,
            "resources": {"limits": {"memory": "1Gi"}, "requests": {"memory": "1Gi", "cpu": "100m"}},
        }
    ],
}
C = ("containers", 0)
BROKEN: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "root": (("security_context", "run_as_non_root"), False, "container worker may run as root; set run_as_non_root"),
    "uid 0": (("security_context", "run_as_user"), 0, "container worker may run as root; set run_as_non_root"),
    "capabilities": ((*C, "security_context", "capabilities"), {}, "keeps capabilities; drop ALL."),
    "more": (
        (*C, "security_context", "capabilities", "add"),
        ["SYS_ADMIN"],
        "adds the capabilities SYS_ADMIN; remove them.",
    ),
    "setuid": (
        (*C, "security_context", "allow_privilege_escalation"),
        True,
        "may gain privileges; set allow_privilege",
    ),
    "privileged": ((*C, "security_context", "privileged"), True, "is privileged; remove privileged."),
    "seccomp": (
        ("security_context", "seccomp_profile", "type"),
        "Unconfined",
        "has no seccomp profile; set RuntimeDefault.",
    ),
    "a writable root": (
        (*C, "security_context", "read_only_root_filesystem"),
        False,
        "can write its root file system;",
    ),
    "the host's network": (("host_network",), True, "p: host_network is set; remove it."),
    "the host's files": (("volumes",), [{"name": "h", "host_path": {"path": "/etc"}}], "p: mounts /etc of the host;"),
    "the host's ports": ((*C, "ports"), [{"container_port": 80, "host_port": 80}], "takes a port of the host;"),
    "a token": (("automount_service_account_token",), True, "p: mounts a token for the API server; set automount"),
    "a floating tag": ((*C, "image"), "relier:latest", "the image relier:latest has the floating tag latest; name a"),
    "no tag": ((*C, "image"), "relier", "the image relier has no tag; name a version or a digest."),
    "no limit": ((*C, "resources", "limits"), {}, "has no memory among its limits; set resources.limits.memory."),
    "no request": ((*C, "resources", "requests"), {"memory": "1Gi"}, "has no cpu among its requests; set resources."),
}


def changed(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    pod = copy.deepcopy(POD)
    *parents, last = place
    target: Any = pod
    for part in parents:
        target = target[part]
    target[last] = value
    return pod


def breach(make: Callable[[], object]) -> str:
    """What the policies say to a resource, and that it was not registered."""
    monitors: list[Monitor] = []

    class Kept(Monitor):
        """Says later what was registered, also by a program that was refused."""

        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            monitors.append(self)

    def program() -> None:
        policy.hold()
        make()

    said = ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "Monitor", Kept)
        try:
            recorder.record(program)
        except pulumi.RunError as error:
            said = str(error)
    registered = [entry.name for monitor in monitors for entry in monitor.recorded]
    assert len(monitors) == 1 and bool(registered) != bool(said), registered
    return said


def deployment(pod: dict[str, Any]) -> k8s.apps.v1.Deployment:
    labels = {"app": "p"}
    spec: Any = {"selector": {"match_labels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    return k8s.apps.v1.Deployment("p", spec=spec)


def test_a_pod_that_keeps_every_policy_is_made() -> None:
    assert breach(lambda: deployment(POD)) == ""


@pytest.mark.parametrize(("place", "value", "says"), BROKEN.values(), ids=BROKEN)
def test_a_pod_that_breaks_a_policy_is_refused_in_a_sentence(place: tuple[Any, ...], value: Any, says: str) -> None:
    said = breach(lambda: deployment(changed(place, value)))
    assert says in said
    assert said.startswith("p: ")
    assert len(said.splitlines()) == 1


def test_what_runs_first_and_what_runs_by_the_clock_are_looked_at_too() -> None:
    first = {**POD, "init_containers": [{**POD["containers"][0], "name": "first", "image": "busybox"}]}
    assert "container first: the image busybox has no tag" in breach(lambda: deployment(first))
    bare: Any = {
        "schedule": "@daily",
        "job_template": {"spec": {"template": {"spec": changed((*C, "image"), "x:main")}}},
    }
    assert "has the floating tag main" in breach(lambda: k8s.batch.v1.CronJob("p", spec=bare))


def test_a_secret_in_a_variable_or_an_argument_is_refused() -> None:
    hidden = pulumi.Output.secret
    variable = lambda: deployment(changed((*C, "env"), [{"name": "KEY", "value": hidden("hunter2")}]))  # noqa: E731
    assert "a secret is the value of KEY; mount it as a file." in breach(variable)
    argument = lambda: deployment(changed((*C, "args"), ["--password", hidden("hunter2")]))  # noqa: E731
    assert "a secret is among its args; mount it as a file." in breach(argument)


HIDDEN: dict[str, Any] = {"exec_": {"command": ["redis-cli", "-a", "hunter2"]}}
ASKING: dict[str, Any] = {"http_get": {"port": 80, "http_headers": [{"name": "token", "value": "hunter2"}]}}
SEEN: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "liveness": ((*C, "liveness_probe"), HIDDEN, "container worker: a secret is among its liveness_probe; mount it"),
    "readiness": ((*C, "readiness_probe"), HIDDEN, "container worker: a secret is among its readiness_probe; mount it"),
    "start": ((*C, "startup_probe"), ASKING, "container worker: a secret is among its startup_probe; mount it"),
    "before the end": (
        (*C, "lifecycle"),
        {"pre_stop": HIDDEN},
        "container worker: a secret is among its lifecycle; mount",
    ),
    "after the start": (
        (*C, "lifecycle"),
        {"post_start": ASKING},
        "container worker: a secret is among its lifecycle;",
    ),
    "a command": (
        (*C, "command"),
        ["redis-server", "--requirepass", "hunter2"],
        "a secret is among its command; mount",
    ),
}


def hidden(value: Any) -> Any:
    """The same data with its password marked as secret."""
    if isinstance(value, dict):
        return {key: hidden(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [hidden(entry) for entry in value]
    return pulumi.Output.secret(value) if value == "hunter2" else value


@pytest.mark.parametrize(("place", "value", "says"), SEEN.values(), ids=SEEN)
def test_a_secret_in_what_a_pod_shows_is_refused(place: tuple[Any, ...], value: Any, says: str) -> None:
    said = breach(lambda: deployment(hidden(changed(place, value))))
    assert says in said
    assert "hunter2" not in said


@pytest.mark.parametrize("value", [HIDDEN, ASKING], ids=["exec", "http"])
def test_a_probe_that_hides_nothing_passes(value: Any) -> None:
    assert breach(lambda: deployment(changed((*C, "liveness_probe"), value))) == ""


def of_pods(marks: Any, job: Any = None) -> Any:
    """A CronJob whose pods, or jobs, are marked so."""
    spec = {"template": {"metadata": marks, "spec": POD}}
    return k8s.batch.v1.CronJob("p", spec={"schedule": "@daily", "job_template": {"metadata": job, "spec": spec}})  # type: ignore[arg-type]


MARKED: dict[str, Callable[[Any], object]] = {
    "an object": lambda marks: k8s.core.v1.ConfigMap("p", metadata=marks),
    "typed arguments": lambda marks: k8s.core.v1.ConfigMap("p", metadata=k8s.meta.v1.ObjectMetaArgs(**marks)),
    "pods": lambda marks: k8s.apps.v1.Deployment(
        "p", spec={"selector": {}, "template": {"metadata": marks, "spec": POD}}
    ),
    "pods by the clock": of_pods,
    "jobs": lambda marks: of_pods(None, marks),
}


@pytest.mark.parametrize("name", ["labels", "annotations"])
@pytest.mark.parametrize("make", MARKED.values(), ids=MARKED)
def test_a_secret_in_a_label_or_an_annotation_is_refused(make: Callable[[Any], object], name: str) -> None:
    said = breach(lambda: make(hidden({name: {"app": "hunter2"}})))
    assert said == f"p: a secret is among its {name}; remove it."
    assert breach(lambda: make({name: {"app": "web"}})) == ""


def test_a_secret_that_is_not_wrapped_is_refused() -> None:
    def make() -> object:
        props = {"apiVersion": "v1", "kind": "Secret", "stringData": {"password": "hunter2"}}
        return pulumi.CustomResource("kubernetes:core/v1:Secret", "s", props)

    said = breach(make)
    assert said == "s: password is not secret; wrap it in Output.secret."


def test_a_secret_in_a_config_map_is_refused() -> None:
    said = breach(lambda: k8s.core.v1.ConfigMap("c", data={"password": pulumi.Output.secret("hunter2")}))
    assert said == "c: password is a secret in a ConfigMap; use a Secret."


@pytest.mark.parametrize("kind", ["LoadBalancer", "NodePort"])
def test_a_service_that_opens_to_the_outside_is_refused(kind: str) -> None:
    said = breach(lambda: k8s.core.v1.Service("s", spec={"type": kind, "ports": [{"port": 6379}]}))
    assert said == f"s: a {kind} opens it to the outside; write ClusterIP and use kubectl port-forward."


def test_a_namespace_that_admits_anything_is_refused() -> None:
    said = breach(
        lambda: k8s.core.v1.Namespace("n", metadata={"labels": {"pod-security.kubernetes.io/enforce": "baseline"}})
    )
    assert said == "n: admits pods of any kind; label it pod-security.kubernetes.io/enforce: restricted."


@pytest.mark.parametrize("entry", [{"ports": [{"port": 6379}]}, {"from_": [{}], "ports": [{"port": 6379}]}])
def test_a_door_that_is_open_to_all_is_refused(entry: Any) -> None:
    spec: Any = {"pod_selector": {}, "ingress": [entry]}
    said = breach(lambda: k8s.networking.v1.NetworkPolicy("w", spec=spec))
    assert said == "w: lets everybody in; name who may ask in from_."
