"""A second version of a payload: what took one name takes two since."""

from __future__ import annotations

import os
from typing import Any

from relier import SchemaRegistry, rl_task

SchemaRegistry.CURRENT_VERSION = 2


@rl_task(name="schema.greeted")
def greeted(first: str, last: str, *, greeting: str) -> str:
    return f"{greeting} {first} {last}"


@rl_task(name="schema.unchanged")
def unchanged(x: int) -> int:
    return x


@SchemaRegistry.register_migration("schema.greeted", from_version=1)
def split_the_name(args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    if os.environ.get("FEATURE_BROKEN"):
        raise KeyError("name")
    first, _, last = args[0].partition(" ")
    return (first, last), {"greeting": "Dear"} | kwargs
