"""Objects of operators (KEDA, Prometheus) as JSON schemas of our own: the fields that the stacks write, and no others.

A cluster drops what it does not know from such an object and says nothing, so a misspelt field would simply not work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]
TEXT: Schema = {"type": "string", "minLength": 1}
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}


def strict(**fields: Schema) -> Schema:
    """An object of these fields, all of them."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def many(entry: Schema) -> Schema:
    return {"type": "array", "items": entry, "minItems": 1}


def whole(least: int, most: int | None = None) -> Schema:
    return {"type": "integer", "minimum": least} | ({} if most is None else {"maximum": most})


def one(value: str) -> Schema:
    return {"const": value}


def document(version: str, kind: str, spec: Schema) -> Schema:
    """A whole object."""
    meta = strict(name=TEXT, namespace=TEXT, labels=TEXTS)
    return strict(apiVersion=one(version), kind=one(kind), metadata=meta, spec=spec)


PROMETHEUS = strict(
    serverAddress={"type": "string", "pattern": "^https?://"},
    query=TEXT,
    # KEDA takes text only, for numbers and truth as well.
    threshold={"type": "string", "pattern": r"^\d+(\.\d+)?$"},
    ignoreNullValues={"enum": ["true", "false"]},
)
POLICY = strict(type={"enum": ["Pods", "Percent"]}, value=whole(1), periodSeconds=whole(1, 1800))
CALM = strict(stabilizationWindowSeconds=whole(0, 3600), policies=many(POLICY))
SCALED = strict(
    scaleTargetRef=strict(name=TEXT),
    minReplicaCount=whole(0),
    maxReplicaCount=whole(1),
    advanced=strict(horizontalPodAutoscalerConfig=strict(behavior=strict(scaleDown=CALM))),
    triggers=many(strict(type=one("prometheus"), metadata=PROMETHEUS)),
)
RELABELING = strict(sourceLabels=many(TEXT), regex=TEXT, targetLabel=TEXT)
ENDPOINT = strict(
    port=TEXT,
    path={"type": "string", "pattern": "^/"},
    interval={"type": "string", "pattern": r"^\d+(ms|s|m|h)$"},
    params={"type": "object", "additionalProperties": many(TEXT)},
    relabelings=many(RELABELING),
)
MONITOR = strict(selector=strict(matchLabels=TEXTS), endpoints=many(ENDPOINT))

#: By apiVersion and kind.
OPERATORS: Mapping[tuple[str, str], Schema] = {
    ("keda.sh/v1alpha1", "ScaledObject"): document("keda.sh/v1alpha1", "ScaledObject", SCALED),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): document("monitoring.coreos.com/v1", "ServiceMonitor", MONITOR),
}
