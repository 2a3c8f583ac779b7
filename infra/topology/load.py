"""Stacks: from a name or a path to a topology, or to every reason why not."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infra.topology import sentences, yamlio
from infra.topology.model import Topology
from infra.topology.rules import Finding

STACKS = Path(__file__).parent / "stacks"
RULES, UNKNOWN = "rules", "extra_forbidden"  # types of pydantic's errors


class Refused(Exception):
    """The topology cannot be built. `findings` holds one sentence for each reason."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(finding.sentence for finding in self.findings))


def refuse(path: str, sentence: str) -> Refused:
    """A refusal with one reason."""
    return Refused([Finding(path, "", sentence)])


def names() -> list[str]:
    """The stacks that come with the kit."""
    return sorted(path.stem for path in STACKS.glob("*.yaml"))


def find(stack: str) -> Path:
    """The file of a stack: a name in `stacks/`, or a path."""
    if stack in names():
        return STACKS / f"{stack}.yaml"
    path = Path(stack)
    if path.is_dir():
        raise refuse(stack, f"{stack} is a folder; name a stack ({', '.join(names())}) or a YAML file.")
    if path.is_file():
        return path
    close = difflib.get_close_matches(stack, names(), n=1)
    instead = f"did you mean {close[0]}?" if close else f"write one of {', '.join(names())}, or a path."
    raise refuse(stack, f"{stack} is neither a stack nor a file; {instead}")


def parse(path: Path) -> Any:
    """The data of a stack's file."""
    try:
        return yamlio.loads(path.read_text(encoding="utf-8"))
    except yamlio.BadYamlError as error:
        raise refuse(str(path), f"{path}, {error}") from None
    except UnicodeDecodeError as error:
        raise refuse(str(path), f"{path}, byte {error.start}: not UTF-8; save it as UTF-8 text.") from None
    except OSError as error:
        raise refuse(str(path), f"{path} cannot be read ({error.strerror}); check its permissions.") from None


def read(stack: str) -> Topology:
    """The topology of a stack, or `Refused` with every reason."""
    return topology_of(parse(find(stack)))


def topology_of(data: Any) -> Topology:
    """The topology of plain data, as YAML or a Pulumi configuration gives it, or `Refused` with every reason."""
    if not isinstance(data, Mapping):
        kind = "empty" if data is None else f"a {type(data).__name__}"
        raise refuse("the stack", f"the stack is {kind}; write keys with values, starting with tier: dev.")
    text = _as_json(data)
    try:
        return Topology.model_validate_json(text)
    except ValidationError as error:
        raise Refused(_all_findings(error, json.loads(text))) from None


def _as_json(data: Any) -> str:
    """By way of JSON, strict means that a list may become a tuple, but text never a number."""
    try:
        return json.dumps(data, default=str)
    except (ValueError, RecursionError):
        raise refuse(
            "the stack", "the stack refers to itself; remove the anchor that stands inside its own value."
        ) from None


def _all_findings(error: ValidationError, data: Any) -> list[Finding]:
    """What is misshapen, and which rules the rest breaks: nobody should have to ask twice."""
    details = error.errors(include_url=False)
    found = sentences.findings(details)
    if any(detail["type"] == RULES for detail in details):
        return found
    guessed = (d for d in details if d["type"] != UNKNOWN and d["loc"] and not sentences.is_echo(d, details))
    blamed = {detail["loc"][0] for detail in guessed}
    return [*found, *(later for later in _behind(details, data) if later.path.partition(".")[0] not in blamed)]


def _behind(details: Sequence[Any], data: Any) -> list[Finding]:
    """The rules that are broken once typos are mended and misshapen leaves left out, where that is no guess."""
    if any(_is_section(detail) for detail in details):
        return []
    for detail in details:
        _mend(data, detail)
    try:
        Topology.model_validate_json(json.dumps(data))
    except ValidationError as error:
        later = error.errors(include_url=False)
        return sentences.findings(later) if all(detail["type"] == RULES for detail in later) else []
    return []


def _is_section(detail: Any) -> bool:
    """A whole part of the topology is misshapen; without it the rules would say things about nothing."""
    return str(detail["type"]).startswith(("model", "dict"))


def _mend(data: Any, detail: Any) -> None:
    """Rename a misspelt key to what it was meant to be, or remove what does not fit."""
    *parents, last = detail["loc"]
    meant = sentences.nearest(detail["loc"]) if detail["type"] == UNKNOWN else None
    try:
        for part in parents:
            data = data[part]
        value = data.pop(last)
    except (KeyError, IndexError, TypeError, AttributeError):
        return
    if meant and meant not in data:
        data[meant] = value
