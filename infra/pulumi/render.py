"""`python -m infra.pulumi.render STACK`: the Kubernetes objects of a stack as YAML, from the program that Pulumi runs.

For people without Pulumi. Secrets are references: the objects name them, and what is printed says how to make them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pulumi.runtime import mocks
from pulumi.runtime.stack import run_pulumi_func

from infra.pulumi import policy, restoring
from infra.pulumi.schemas import PACKAGE, VERSIONS, misfits
from infra.pulumi.settings import Deployment, merged, numbers
from infra.topology import Refused, load, plan_of, topology_of, yamlio
from infra.topology.load import refuse

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "infra" / "pulumi" / "rendered"
PROVIDER = "kubernetes:"
OURS = "pulumi.com/"


@dataclass
class Recorder(mocks.Mocks):
    """Keeps what would be sent to a cluster."""

    objects: list[dict[str, Any]] = field(default_factory=list)

    def call(self, args: mocks.MockCallArgs) -> Any:
        """Pulumi's hook: the stack asks the cluster for nothing."""
        return {}

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """Pulumi's hook: id and properties as they would come back."""
        if args.typ.startswith(PROVIDER):
            self.objects.append(tidy(args.inputs))
        return args.name, dict(args.inputs)


def tidy(value: Any) -> Any:
    """Whole numbers as such, and nothing that only Pulumi reads."""
    if isinstance(value, Mapping):
        return {key: tidy(entry) for key, entry in value.items() if not key.startswith(OURS)}
    if isinstance(value, list | tuple):
        return [tidy(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def objects(deployment: Deployment) -> list[dict[str, Any]]:
    """What the Kubernetes stack would create, in its order, each with apiVersion and kind first."""
    from infra.pulumi import kubernetes

    def program() -> None:
        """What `pulumi up` runs, without the look at what is there already."""
        policy.hold()
        kubernetes.deploy(deployment)

    recorder, loop = Recorder(), asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        mocks.set_mocks(recorder, project="relier", stack=deployment.stack, preview=False)
        loop.run_until_complete(run_pulumi_func(program))
    finally:
        loop.close()
    return sorted((_ordered(found) for found in recorder.objects), key=_rank)


def _ordered(found: dict[str, Any]) -> dict[str, Any]:
    first = {key: found[key] for key in ("apiVersion", "kind", "metadata")}
    return first | {key: value for key, value in found.items() if key not in first}


ORDER = (
    "Namespace",
    "PriorityClass",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "NetworkPolicy",
    "PersistentVolumeClaim",
)


def _rank(found: dict[str, Any]) -> int:
    """What others need comes first; beyond that the program's order stands."""
    return ORDER.index(found["kind"]) if found["kind"] in ORDER else len(ORDER)


def deployment_of(stack: str, overrides: Mapping[str, Any], options: Mapping[str, Any]) -> Deployment:
    """A stack without secrets' values."""
    topology = topology_of(merged(load.parse(load.find(stack)), overrides))
    if topology.tier != "k8s":
        raise refuse(
            "tier", f"{stack} is of tier {topology.tier}; name a stack of tier k8s, such as k8s or k8s-managed."
        )
    return Deployment(stack, topology, plan_of(topology), {}, options)


def checked(made: Sequence[Mapping[str, Any]]) -> str:
    """What was checked, in words; or `Refused`."""
    if find_spec(PACKAGE) is None:
        return "not checked against schemas: pip install kubernetes-validate"
    if sentences := [sentence for found in made for sentence in misfits(found)]:
        raise refuse("schema", "\n".join(sentences))
    return f"valid for Kubernetes {', '.join(VERSIONS)}"


def secret_commands(deployment: Deployment) -> list[str]:
    """How to make the Secrets that the objects name, with values from files and never from a command line."""
    from infra.pulumi import kubernetes

    scope = kubernetes.scope_of(deployment)
    keys: dict[str, list[str]] = {}
    for reference in sorted(kubernetes.wanted_secrets(scope)):
        secret, _, key = reference.partition("/")
        keys.setdefault(secret, []).append(f"--from-file={key}=FILE")
    return [f"kubectl -n {scope.namespace} create secret generic {s} {' '.join(k)}" for s, k in keys.items()]


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 1 and the reasons."""
    options = _parser().parse_args(arguments)
    try:
        return _render(options)
    except (Refused, policy.PolicyBroken) as refusal:
        print(refusal, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.pulumi.render", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("stack", metavar="STACK", help="k8s, k8s-managed, or a path")
    parser.add_argument("--overrides", metavar="FILE", type=Path, help="YAML that is merged into the stack")
    parser.add_argument("--options", metavar="FILE", type=Path, help="YAML of what else the cluster is asked for")
    parser.add_argument("--to", metavar="DIR", type=Path, default=FOLDER, help="default: infra/pulumi/rendered")
    parser.add_argument(
        "--restore",
        metavar="FILE",
        nargs="?",
        const="",
        help="only the job that restores a backup: FILE, or the newest",
    )
    parser.add_argument("--json", action="store_true", help="print the objects as JSON and write nothing")
    return parser


def _render(options: argparse.Namespace) -> int:
    deployment = deployment_of(options.stack, _mapping(options.overrides), _mapping(options.options))
    made = whole = objects(deployment)
    if options.restore is not None:
        made = [restoring.job(deployment, whole, options.restore)]
    verdict = checked(made)
    if options.json:
        print(json.dumps({"apiVersion": "v1", "kind": "List", "items": made}, indent=2))
        return 0
    path = options.to / f"{Path(options.stack).stem}{'' if options.restore is None else '-restore'}.yaml"
    _write(path, "".join(yamlio.dumps(found) for found in made))
    print(f"{path}: {len(made)} objects, {verdict}.")
    if options.restore is None:
        print("\n".join([*_before(deployment), f"kubectl apply -f {path}"]))
    else:
        print("\n".join(["Then:", *restoring.steps(deployment, whole, str(path), made[0]["metadata"]["namespace"])]))
    return 0


def _before(deployment: Deployment) -> list[str]:
    """What comes before: a Secret needs its namespace."""
    from infra.pulumi import kubernetes

    scope = kubernetes.scope_of(deployment)
    made = [f"kubectl create namespace {scope.namespace}"] if scope.options.create_namespace else []
    return ["Then:", *made, *secret_commands(deployment)]


def _mapping(path: Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    if not path.is_file():
        raise refuse(str(path), f"{path} is no file; name a YAML file.")
    data = load.parse(path) or {}
    if not isinstance(data, Mapping):
        raise refuse(str(path), f"{path} is a {type(data).__name__}; write keys with values.")
    found: Mapping[str, Any] = numbers(data)
    return found


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise refuse(
            str(path), f"{path} cannot be written ({error.strerror}); name another folder with --to."
        ) from None


if __name__ == "__main__":
    sys.exit(main())
