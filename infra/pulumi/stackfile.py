"""A stack's own file, `Pulumi.<stack>.yaml`: read without the CLI, and described to editors.

`python -m infra.pulumi.stackfile schema` prints the schema, `… image FILE` the image that a Docker stack's workers run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pulumi.runtime.config import set_all_config

from infra.pulumi import credentials, settings
from infra.topology import Refused, Topology, topology_of, yamlio

SCHEMA = "infra/pulumi/settings.schema.json"
SECURE = {"type": "object", "properties": {"secure": {"type": "string"}}, "required": ["secure"]}
FRACTION = f"^{settings.FRACTION.pattern}$"
UNSAID = ("required", "default", "title")


def config_of(file: Path) -> dict[str, str]:
    """The configuration in a stack's file, as the CLI hands it to a program."""
    config = _mapping(_mapping(yamlio.loads(file.read_text(encoding="utf-8"))).get("config"))
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}


def _mapping(value: Any) -> Mapping[str, Any]:
    """What is none says nothing; the CLI refuses such a file."""
    return value if isinstance(value, Mapping) else {}


def image_of(file: Path) -> str:
    """The application's image, where an engine is to have it. Nodes of a cluster pull theirs themselves."""
    set_all_config(config_of(file))
    topology = topology_of(settings.data_of(file.name.removeprefix("Pulumi.").removesuffix(".yaml")))
    return (topology.app.image or "") if topology.tier in ("dev", "prod") else ""


def schema() -> str:
    """What may stand in a stack's file. Keys of other namespaces are their providers' business."""
    parts = {name: _text_too(part) for name, part in _parts().items()}
    shared = {name: found for part in parts.values() for name, found in part.pop("$defs", {}).items()}
    body = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Relier stack",
        "type": "object",
        "properties": {"config": _config(parts)},
        "$defs": {**parts, "secret": SECURE, **shared},
    }
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def _parts() -> dict[str, dict[str, Any]]:
    """Of every structured key, by its name."""
    # Only this needs the provider, whose package takes a second to import.
    from infra.pulumi.components.k8s_options import Options as Kubernetes
    from infra.pulumi.docker import Options as Docker

    overrides: dict[str, Any] = _laid_over(Topology.model_json_schema())
    return {"overrides": overrides, "docker": Docker.model_json_schema(), "kubernetes": Kubernetes.model_json_schema()}


def _config(structured: Iterable[str]) -> dict[str, Any]:
    """Every key of ours, and no other that looks like one."""
    topology = {"type": "string", "description": "A stack of infra/topology/stacks, or a path from the project's root."}
    objects = {name: {"$ref": f"#/$defs/{name}"} for name in structured}
    known = {"topology": topology, **objects, **{key: {"$ref": "#/$defs/secret"} for key in credentials.KEYS.values()}}
    return {
        "type": "object",
        "properties": {f"{settings.NAMESPACE}:{name}": found for name, found in known.items()},
        "patternProperties": {f"^{settings.NAMESPACE}:(?!({'|'.join(known)})$)": False},
    }


def _laid_over(found: Any) -> Any:
    """Nothing must be there, and what is not there is no default, for it is laid over what has it."""
    if isinstance(found, list):
        return [_laid_over(entry) for entry in found]
    if not isinstance(found, dict):
        return found
    kept = {key: _laid_over(value) for key, value in found.items() if isinstance(value, dict) or key not in UNSAID}
    return {key: value for key, value in kept.items() if key != "anyOf" or {} not in value}


def _text_too(found: Any) -> Any:
    """A fraction may be text, as `pulumi config set --path` writes it and `settings.numbers` takes it."""
    if isinstance(found, list):
        return [_text_too(entry) for entry in found]
    if not isinstance(found, dict):
        return found
    made = {key: _text_too(value) for key, value in found.items()}
    return {**made, "type": ["number", "string"], "pattern": FRACTION} if made.get("type") == "number" else made


def main(arguments: Sequence[str]) -> None:
    """A file that is refused names no image: what is wrong with it is said by the program that uses it."""
    match arguments:
        case ["schema"]:
            print(schema(), end="")
        case ["image", file]:
            try:
                print(image_of(Path(file)))
            except (Refused, yamlio.BadYamlError):
                print()
        case _:
            sys.exit("stackfile: write `schema`, or `image FILE`.")


if __name__ == "__main__":
    main(sys.argv[1:])
