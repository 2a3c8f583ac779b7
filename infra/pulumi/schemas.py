"""Is an object what a cluster takes? Held to the strict schemas that `kubernetes-validate` brings, each read once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

PACKAGE = "kubernetes_validate"
VERSIONS = ("1.32", "1.34", "1.37")


def misfits(found: Mapping[str, Any], versions: Sequence[str] = VERSIONS) -> Iterator[str]:
    """What a cluster of each version would not take. Kinds of others' making have no schema anywhere."""
    for version in versions:
        validator = _validator(version, _file_of(found))
        for error in validator.iter_errors(found) if validator else ():
            place = ".".join(map(str, error.path))
            yield f"{found['kind']} {found['metadata']['name']}, {place}: {error.message} (Kubernetes {version})."


def known(found: Mapping[str, Any]) -> bool:
    """Is there a schema for its kind?"""
    return _validator(VERSIONS[-1], _file_of(found)) is not None


def _file_of(found: Mapping[str, Any]) -> str:
    """`NetworkPolicy` of `networking.k8s.io/v1` is `networkpolicy-networking-v1.json`."""
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", found["apiVersion"])
    return f"{found['kind'].lower()}-{group}.json"


@cache
def _validator(version: str, name: str) -> Any:
    from jsonschema.validators import Draft202012Validator  # type: ignore[import-untyped]
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
