"""Every PromQL expression that the project ships."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from harness.process import REPO

FOLDER = REPO / "infra" / "compose" / "telemetry"
DASHBOARDS = FOLDER / "grafana" / "dashboards"
VARIABLES = {"$__rate_interval": "1m", "$task": ".*"}


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((FOLDER / "rules.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DASHBOARDS / "fleet.json").read_text())
    return loaded


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def of_panels() -> Iterator[tuple[str, str]]:
    """Title and expression, with what Grafana would put in place of its variables."""
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            yield f"{panel['title']}:{target['refId']}", expression


def of_rules() -> Iterator[tuple[str, str]]:
    for rule in rules():
        name = rule.get("alert") or f"{rule['record']}{rule.get('labels', '')}"
        yield name, rule["expr"]


def metrics(expression: str) -> set[str]:
    """The metrics that an expression names."""
    bare = re.sub(r'"[^"]*"|\{\{.*?\}\}', "", expression)
    return set(re.findall(r"\b(?:relier|redis)[_:][a-z0-9_:]+", bare))
