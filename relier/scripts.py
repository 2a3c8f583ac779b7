"""The Lua transitions: read once from the package, known to Redis by their digest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """One transition. `sha` is the name that EVALSHA knows it by."""

    name: str
    source: bytes
    sha: str


@cache
def load(name: str) -> Script:
    """The script `lua/<name>.lua` with the shared prelude before it."""
    folder = files("relier") / "lua"
    source = (folder / "_prelude.lua").read_bytes() + (folder / f"{name}.lua").read_bytes()
    return Script(name, source, sha1(source, usedforsecurity=False).hexdigest())
