"""How a policy is written, and how it meets each resource before that is registered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import pulumi


class PolicyBroken(pulumi.RunError):
    """A resource breaks a policy. One sentence each."""


@dataclass(frozen=True)
class Resource:
    """What is about to be registered. `props` are plain data; outputs stay outputs."""

    type: str
    name: str
    props: Mapping[str, Any]

    def get(self, name: str) -> Any:
        """A property, whether it was named `memory_swap` or `memorySwap`."""
        return self.props.get(name, self.props.get(_camel(name)))


@dataclass(frozen=True)
class Secrecy:
    """Whether a value must be a secret, or must not. An output decides that later, so it is asked later."""

    value: Any
    wanted: bool
    sentence: str


Breach = str | Secrecy
Rule = Callable[[Resource], Iterable[Breach]]
RULES: list[tuple[tuple[str, ...], Rule]] = []


def rule(*types: str) -> Callable[[Rule], Rule]:
    """Register a policy for resource types, `*` allowed."""

    def register(check: Rule) -> Rule:
        RULES.append((types, check))
        return check

    return register


def hold() -> None:
    """Hold every resource of this program to every policy, from now on."""
    pulumi.runtime.register_stack_transformation(_examine)


def breaches(resource: Resource) -> Iterator[Breach]:
    """What all policies say of a resource."""
    for types, check in RULES:
        if any(fnmatchcase(resource.type, pattern) for pattern in types):
            yield from check(resource)


def _examine(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
    found = list(breaches(Resource(args.type_, args.name, plain(args.props))))
    said = [breach if isinstance(breach, str) else breach.sentence for breach in found if _is_sure(breach)]
    if said:
        raise PolicyBroken("\n".join(said))
    asked = [breach for breach in found if isinstance(breach, Secrecy) and isinstance(breach.value, pulumi.Output)]
    if not asked:
        return None
    # A resource is registered once what it depends on is there, so it waits for this answer.
    gate: Any = pulumi.Output.from_input(_no_resources_unless_kept(asked))
    opts = pulumi.ResourceOptions.merge(args.opts, pulumi.ResourceOptions(depends_on=gate))
    return pulumi.ResourceTransformationResult(args.props, opts)


def _is_sure(breach: Breach) -> bool:
    """A plain value is never a secret."""
    return isinstance(breach, str) or (breach.wanted and not isinstance(breach.value, pulumi.Output))


async def _no_resources_unless_kept(asked: Iterable[Secrecy]) -> list[pulumi.Resource]:
    said = [check.sentence for check in asked if await check.value.is_secret() is not check.wanted]
    if said:
        raise PolicyBroken("\n".join(said))
    return []


def plain(value: Any) -> Any:
    """Arguments as dicts, lists and scalars."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if getattr(type(value), "_pulumi_input_type", False):
        return plain(vars(value))
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
