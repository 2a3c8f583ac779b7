"""What a rule says when it is broken, and the list of all rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.topology.model import Topology


@dataclass(frozen=True, slots=True)
class Finding:
    """One breach: where, what stands there, and the sentence for people."""

    path: str
    value: str
    sentence: str


Rule = Callable[["Topology"], Iterable[Finding]]
RULES: dict[str, Rule] = {}


def rule(check: Rule) -> Rule:
    """Register a rule under the name of its function."""
    RULES[check.__name__] = check
    return check


def wrong(path: str, value: object, why: str, instead: str) -> Finding:
    """`path is value, why; instead.`"""
    shown = "true" if value is True else "false" if value is False else str(value)
    return Finding(path, shown, f"{path} is {shown}, {why}; {instead}.")


def missing(path: str, why: str, instead: str) -> Finding:
    """`path is missing, why; instead.`"""
    return Finding(path, "missing", f"{path} is missing, {why}; {instead}.")


def without_login(address: str) -> str:
    """An address that may be shown: what stands before @ may be a password."""
    return re.sub(r"//[^/]*@", "//…@", address) if "://" in address else address.rpartition("@")[2]
