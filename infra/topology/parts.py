"""What the parts of a topology are made of: texts of a form, read-only maps, and the strict base of every part."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer, StringConstraints
from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    from infra.topology.rules import Finding


def _form(pattern: str, words: str) -> StringConstraints:
    """Text of a form, and how a refusal names that form."""
    FORMS[pattern] = words
    return StringConstraints(pattern=pattern)


FORMS: dict[str, str] = {}
REFERENCES = "env:NAME, file:/path, vault:name or k8s:secret/key,"
Name = Annotated[str, _form(r"^[a-z][a-z0-9-]{0,38}[a-z0-9]$", "2 to 40 small letters, digits and dashes")]
Text = Annotated[str, _form(r"^\S+$", "text without spaces")]
Path = Annotated[str, _form(r"^/[\w./-]+$", "an absolute path")]
Module = Annotated[str, _form(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$", "a module")]
Variable = Annotated[str, _form(r"^[A-Z][A-Z0-9_]*$", "a variable's name in capitals")]
Subnet = Annotated[str, _form(r"^\d{1,3}(\.\d{1,3}){2}\.0/24$", "256 addresses such as 10.87.30.0/24")]
Publish = Annotated[str, _form(r"^(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:]+\]):\d{2,5}$", "an address and a port")]
Reference = Annotated[
    str,
    _form(
        r"^(env:[A-Z][A-Z0-9_]*|file:/[\w./-]+|vault:[a-z_]\w*|k8s:[a-z0-9][a-z0-9.-]*/[\w.-]+)$",
        REFERENCES,
    ),
]
Value = TypeVar("Value")
Key = TypeVar("Key")
# Read-only: a frozen model must not hold a dict that anybody can write to.
FrozenMap = Annotated[Mapping[Key, Value], AfterValidator(MappingProxyType), PlainSerializer(dict)]


def broken_rules(findings: tuple[Finding, ...]) -> PydanticCustomError:
    """The error that carries whole sentences."""
    text = " ".join(finding.sentence for finding in findings)
    return PydanticCustomError("rules", "{text}", {"text": text, "findings": findings})


class Part(BaseModel):
    """Nothing unknown, nothing guessed from another type, nothing changed later."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
