"""Stacks of the real Pulumi engine: inline programs, state in a folder, and what an update did to which resource."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pulumi import automation as auto

from infra.pulumi.settings import ROOT
from infra.topology import Plan, Topology, plan_of

DOCKER = "pulumi-resource-docker"
QUIET = {"PULUMI_SKIP_UPDATE_CHECK": "true", "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true"}


def missing(*programs: str) -> str | None:
    """One line about what is not on PATH."""
    lacking = [name for name in programs if shutil.which(name) is None]
    return f"not on PATH: {', '.join(lacking)}" if lacking else None


def no_engine(image: str = "relier:1.0.0") -> str | None:
    """One line about the Docker engine, or the image that must be built first."""
    if shutil.which("docker") is None or ask("info", "--format", "{{.ID}}") is None:
        return "no Docker engine answers"
    return None if ask("image", "inspect", "--format", "{{.Id}}", image) else f"no image {image}: run `make dev` once"


def ask(*arguments: str) -> str | None:
    """What Docker says, or nothing."""
    asked = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=60)
    return asked.stdout.strip() if asked.returncode == 0 else None


def told(*arguments: str) -> str:
    """What Docker says, or a failure with what it said instead."""
    asked = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert asked.returncode == 0, asked.stderr or asked.stdout
    return asked.stdout.strip()


@dataclass
class Did:
    """What an update did, by the names of providers' resources."""

    ops: dict[str, set[str]] = field(default_factory=dict)

    def __call__(self, event: auto.EngineEvent) -> None:
        if event.resource_pre_event and event.resource_pre_event.metadata.type.startswith("docker:"):
            metadata = event.resource_pre_event.metadata
            self.ops.setdefault(str(metadata.op.value), set()).add(metadata.urn.rpartition("::")[2])

    def __getitem__(self, op: str) -> set[str]:
        return self.ops.get(op, set())

    @property
    def changed(self) -> set[str]:
        """Whatever was not left as it was."""
        return set().union(*(names for op, names in self.ops.items() if op not in ("same", "read", "refresh")))


class Live:
    """One stack with a state of its own."""

    def __init__(self, home: Path, name: str, program: Callable[[], None]) -> None:
        self.home, state = home, home / "state"
        state.mkdir(exist_ok=True)
        backend = f"file://{state}"
        env = {"PULUMI_CONFIG_PASSPHRASE": "only for tests", "PULUMI_BACKEND_URL": backend, **QUIET}
        settings = auto.ProjectSettings("relier", "python", backend=auto.ProjectBackend(backend))
        options = auto.LocalWorkspaceOptions(work_dir=str(home), project_settings=settings, env_vars=env)
        self.stack = auto.create_or_select_stack(name, "relier", program, opts=options)

    def as_shipped(self, namespace: str) -> None:
        """What `Pulumi.yaml` sets for a provider."""
        project = yaml.safe_load((ROOT / "infra/pulumi/Pulumi.yaml").read_text())
        for key, value in project["config"].items():
            if key.startswith(f"{namespace}:"):
                self.stack.set_config(key, auto.ConfigValue(value))

    def set(self, config: Mapping[str, Any] | None = None, secrets: Mapping[str, str] | None = None) -> None:
        """Set keys of the namespace."""
        for key, value in (config or {}).items():
            text = value if isinstance(value, str) else json.dumps(value)
            self.stack.set_config(f"relier:{key}", auto.ConfigValue(text))
        for key, value in (secrets or {}).items():
            self.stack.set_config(f"relier:{key}", auto.ConfigValue(value, secret=True))

    def up(self) -> Did:
        """Update, and say what was done."""
        did = Did()
        self.stack.up(on_event=did)
        return did

    def end(self) -> None:
        """Nothing stays, also when an update was cut off in the middle."""
        try:
            self.stack.destroy()
        except auto.CommandError:
            with suppress(auto.CommandError):
                self.stack.cancel()
            self.stack.destroy(refresh=True)

    def preview(self) -> Did:
        """What an update would do."""
        did = Did()
        self.stack.preview(on_event=did)
        return did

    def refusal(self) -> str:
        """What a preview says that must not succeed."""
        with pytest.raises(auto.CommandError) as failed:
            self.stack.preview()
        return str(failed.value)

    def drift(self) -> Mapping[str, int]:
        """How many resources a refresh found in what condition."""
        return dict(self.stack.refresh().summary.resource_changes or {})

    def kept(self) -> str:
        """Every file that Pulumi wrote, as text: configuration, state, history."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.home.rglob("*")) if path.is_file())


def altered(names: set[str], **fields: Any) -> Callable[[Topology], Plan]:
    """A `plan_of` that says something else of some workloads."""

    def plan(topology: Topology) -> Plan:
        made = plan_of(topology)
        changed = (replace(each, **fields) if each.name in names else each for each in made.workloads)
        return replace(made, workloads=tuple(changed))

    return plan


def health(containers: Iterable[str]) -> dict[str, str]:
    """`healthy`, or what else a container is."""
    ask_for = "{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}"
    return {name: told("inspect", "--format", ask_for, name) for name in containers}


#: How parts of a project are listed, and how they go.
KINDS = (
    (("ps", "--all", "--format", "{{.Names}}"), ("rm", "--force", "--volumes")),
    (("network", "ls", "--format", "{{.Name}}"), ("network", "rm")),
    (("volume", "ls", "--format", "{{.Name}}"), ("volume", "rm")),
)


def _named(project: str, listing: Iterable[str]) -> list[str]:
    return [name for name in told(*listing).splitlines() if name.startswith((f"{project}-", f"{project}_"))]


def left_of(project: str) -> list[str]:
    """What of a project is on the engine: containers, networks, volumes."""
    return [name for listing, _ in KINDS for name in _named(project, listing)]


def sweep(project: str) -> None:
    """Removes what a run that was killed has left of a project that only tests use."""
    for listing, removal in KINDS:
        if names := _named(project, listing):
            told(*removal, *names)


def environment(home: Path) -> dict[str, str]:
    """The environment of the command line, with a state in a folder."""
    own = {"PULUMI_BACKEND_URL": f"file://{home}", "PULUMI_CONFIG_PASSPHRASE": "only for tests", **QUIET}
    return {**os.environ, **own}
