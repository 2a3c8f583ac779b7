"""Policies as code: every resource of every preview and update passes them, and no plugin is needed."""

from __future__ import annotations

import importlib
import importlib.util

from infra.pulumi.policy.core import (
    RULES,
    PolicyBroken,
    Resource,
    Rule,
    Secrecy,
    hold,
    rule,
)

__all__ = ["RULES", "PolicyBroken", "Resource", "Rule", "Secrecy", "hold", "rule"]

for _module in ("docker", "kubernetes"):
    if importlib.util.find_spec(f"{__name__}.{_module}"):
        importlib.import_module(f"{__name__}.{_module}")
