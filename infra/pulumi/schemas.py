"""Is an object what a cluster takes? Held to the strict schemas that `kubernetes-validate` brings, each read once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from infra.pulumi.operators import OPERATORS

PACKAGE = "kubernetes_validate"
VERSIONS = ("1.32", "1.34", "1.37")


def misfits(found: Mapping[str, Any], versions: Sequence[str] = VERSIONS) -> Iterator[str]:
    """What a cluster of each version would not take. An object that nobody here knows is one of them."""
    if (kind := (found["apiVersion"], found["kind"])) in OPERATORS:
        yield from _said(found, _operator(kind), kind[0])
        return
    for version in versions:
        yield from _said(found, _validator(version, _file_of(found)), f"Kubernetes {version}")


def _said(found: Mapping[str, Any], validator: Any, whose: str) -> Iterator[str]:
    named = f"{found['kind']} {found['metadata']['name']}"
    if validator is None:
        yield f"{named}: {found['apiVersion']} has no schema ({whose}); write one in infra/pulumi/operators.py."
        return
    for error in validator.iter_errors(found):
        place = ".".join(map(str, error.path))
        yield f"{named}, {place}: {error.message} ({whose})."


def _file_of(found: Mapping[str, Any]) -> str:
    """`NetworkPolicy` of `networking.k8s.io/v1` is `networkpolicy-networking-v1.json`."""
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", found["apiVersion"])
    return f"{found['kind'].lower()}-{group}.json"


@cache
def _operator(kind: tuple[str, str]) -> Any:
    from jsonschema.validators import Draft202012Validator  # type: ignore[import-untyped]

    return Draft202012Validator(OPERATORS[kind])


@cache
def _validator(version: str, name: str) -> Any:
    from jsonschema.validators import Draft202012Validator
    from referencing import Resource

    if not (path := _folder(version) / name).is_file():
        return None
    schema = json.loads(path.read_text(encoding="utf-8"))
    return Draft202012Validator(schema, registry=Resource.from_contents(schema) @ _definitions(version))


@cache
def _definitions(version: str) -> Any:
    from referencing import Registry, Resource

    text = (_folder(version) / "_definitions.json").read_text(encoding="utf-8")
    return Resource.from_contents(json.loads(text)) @ Registry()


def _folder(version: str) -> Any:
    return files(PACKAGE) / "kubernetes-json-schema" / f"v{version}.0-local-strict"
