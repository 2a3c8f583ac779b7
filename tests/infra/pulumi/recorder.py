"""Runs a Pulumi program without CLI, engine or provider, and keeps what it would register."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.json_format import MessageToDict
from pulumi.runtime import mocks, rpc
from pulumi.runtime.config import set_all_config
from pulumi.runtime.settings import SETTINGS, set_root_resource
from pulumi.runtime.stack import run_in_stack

SECRET = rpc._special_secret_sig


@dataclass(frozen=True)
class Secret:
    """A value that the program had marked as secret."""

    value: Any = field(repr=False)


@dataclass(frozen=True)
class Recorded:
    """One resource as it reached the monitor: wire names, whole numbers as ints, secrets as `Secret`."""

    type: str
    name: str
    inputs: dict[str, Any]
    urn: str
    parent: str
    depends_on: tuple[str, ...]
    request: Any = field(repr=False)

    @property
    def custom(self) -> bool:
        """Is there a provider behind it?"""
        return bool(self.request.custom)

    @property
    def parent_name(self) -> str:
        """The parent's name, empty for the stack."""
        return "" if "pulumi:pulumi:Stack" in self.parent.split("::")[-2:-1] else self.parent.rpartition("::")[2]


class Resources(list[Recorded]):
    """What a program registered, in that order, and the outputs that it registered later, secrets as `Secret`."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[str, dict[str, Any]] = {}
        """By URN: the outputs of each component that registered any, the stack among them."""

    @property
    def exports(self) -> dict[str, Any]:
        """Outputs of the stack, which `pulumi stack output` prints."""
        return next((said for urn, said in self.outputs.items() if "::pulumi:pulumi:Stack::" in urn), {})

    @property
    def components(self) -> list[Recorded]:
        """What has no provider behind it, and so is done only once its outputs are registered."""
        return [each for each in self if not each.custom]


class Recorder(mocks.Mocks):
    """Answers as a provider would that makes everything at once."""

    def call(self, args: mocks.MockCallArgs) -> dict[str, Any]:
        return {}

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        return f"{args.name}-id", {**args.inputs, "imageId": f"sha256:{args.name}"}


class Monitor(mocks.MockMonitor):
    """Keeps parents, dependencies and options too, which mocks are not shown."""

    def __init__(self) -> None:
        super().__init__(Recorder())
        self.recorded = Resources()

    def RegisterResource(self, request: Any) -> Any:
        answer = super().RegisterResource(request)
        if request.type != "pulumi:pulumi:Stack":
            inputs = unfold(MessageToDict(request.object))
            self.recorded.append(
                Recorded(
                    request.type, request.name, inputs, answer.urn, request.parent, tuple(request.dependencies), request
                )
            )
        return answer

    def RegisterResourceOutputs(self, request: Any) -> Any:
        self.recorded.outputs[request.urn] = unfold(MessageToDict(request.outputs))
        return super().RegisterResourceOutputs(request)


def unfold(value: Any) -> Any:
    """Plain data in which secrets are `Secret`."""
    if isinstance(value, Mapping):
        if value.get(rpc._special_sig_key) == SECRET:
            return Secret(unfold(value["value"]))
        return {key: unfold(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [unfold(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def reveal(value: Any) -> Any:
    """Plain data without the marks."""
    if isinstance(value, Secret):
        return reveal(value.value)
    if isinstance(value, Mapping):
        return {key: reveal(entry) for key, entry in value.items()}
    return [reveal(entry) for entry in value] if isinstance(value, list) else value


def secrets_in(value: Any) -> list[str]:
    """The text of everything that is marked as secret."""
    if isinstance(value, Secret):
        return list(_texts(value.value))
    if isinstance(value, Mapping):
        value = list(value.values())
    return [text for entry in value for text in secrets_in(entry)] if isinstance(value, list) else []


def _texts(value: Any) -> Iterable[str]:
    return [value] if isinstance(value, str) else [text for entry in value for text in _texts(entry)]


def record(
    program: Callable[[], None],
    *,
    stack: str = "dev",
    config: Mapping[str, Any] | None = None,
    secrets: Mapping[str, str] | None = None,
    preview: bool = False,
) -> Resources:
    """All resources of a program in the order of registration. Configuration keys without the namespace."""
    given = {**(config or {}), **(secrets or {})}
    text = {f"relier:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}
    monitor = Monitor()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    # A refusal inside an output is said once by the program; its copies in other outputs would be said again at exit.
    loop.set_exception_handler(lambda *_: None)
    try:
        # Mocks make a stack of their own where there is none, which would say that it exports nothing.
        set_root_resource(monitor)  # type: ignore[arg-type]
        mocks.set_mocks(monitor.mocks, project="relier", stack=stack, preview=preview, monitor=monitor)
        # A program that was refused leaves outputs behind that belong to its own event loop.
        SETTINGS.rpc_manager.clear()
        SETTINGS.outputs.clear()
        set_root_resource(None)  # type: ignore[arg-type]
        set_all_config(text, [f"relier:{key}" for key in secrets or {}])
        loop.run_until_complete(run_in_stack(program))
    finally:
        set_all_config({}, [])
        loop.close()
    return monitor.recorded
