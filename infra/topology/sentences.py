"""pydantic's errors as one sentence each: the path, what stands there, what to write instead. No secrets."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from infra.topology.model import FORMS, REFERENCES, Topology
from infra.topology.rules import Finding

LONGEST = 60
Detail = Mapping[str, Any]

WANTED: dict[str, str] = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text in quotes",
    "tuple_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "model_attributes_type": "keys with values",
    "too_short": "at least one entry",
}
BOUNDS = {
    "greater_than": ("gt", "a number above {}"),
    "greater_than_equal": ("ge", "{} or more"),
    "less_than": ("lt", "a number below {}"),
    "less_than_equal": ("le", "{} or less"),
}


def findings(errors: Iterable[Detail]) -> list[Finding]:
    """One finding for each error, in the order of the stack's parts."""
    details = list(errors)
    found: list[Finding] = []
    for detail in details:
        if not is_echo(detail, details):
            found.extend(detail["ctx"]["findings"] if detail["type"] == "rules" else [_finding(detail)])
    return list(dict.fromkeys(found))


def is_echo(detail: Detail, others: Iterable[Detail]) -> bool:
    """A list that is too short only because its entries were refused; a key that is missing only for a typo."""
    place = detail["loc"]
    if detail["type"] == "too_short":
        return any(other["loc"][: len(place)] == place and other["loc"] != place for other in others)
    typos = (other["loc"] for other in others if other["type"] == "extra_forbidden")
    return detail["type"] == "missing" and any((*typo[:-1], nearest(typo)) == place for typo in typos)


def _finding(detail: Detail) -> Finding:
    places = tuple(part for part in detail["loc"] if part != "[key]")
    path = dotted(places)
    if detail["type"] == "extra_forbidden":
        return Finding(path, "unknown", _unknown(places))
    if detail["type"] == "missing":
        return Finding(path, "missing", f"{path} is missing; add it, {_hint(places)}.")
    if detail["loc"][-1:] == ("[key]",):
        example = "SHOP_REGION" if places[0] == "env" else "worker-high"
        return Finding(path, "name", f"{path} is no good name; write {_form_of(detail)} such as {example}.")
    value = show(detail["input"], places)
    return Finding(path, value, f"{path} is {value}; write {_wanted(detail)}{_such_as(places, detail)}.")


def dotted(places: Iterable[Any]) -> str:
    """`redis.nodes[0]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in places)
    return text.removeprefix(".") or "the stack"


def show(value: Any, places: tuple[Any, ...]) -> str:
    """A value as it stands in the stack, short, and hidden where it may be a secret."""
    if places[:1] == ("secrets",):
        return "not a reference" if len(places) > 1 else "not a list of references by name"
    if places[:1] == ("env",):
        return "not text" if len(places) > 1 else "not a list of variables by name"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _form_of(detail: Detail) -> str:
    return FORMS.get(detail.get("ctx", {}).get("pattern", ""), "text in quotes")


def _wanted(detail: Detail) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "literal_error":
        return f"one of {', '.join(_expected(detail))}{_near(detail)}"
    if kind in BOUNDS:
        key, text = BOUNDS[kind]
        return text.format(context[key])
    if kind == "unit":
        return str(context["want"])
    if kind == "string_pattern_mismatch":
        return _form_of(detail)
    if kind == "string_type" and detail["loc"][0] == "secrets":
        return REFERENCES
    return WANTED.get(kind, "another value")


def _expected(detail: Detail) -> list[str]:
    return [word.strip("'") for word in detail["ctx"]["expected"].replace(" or ", ", ").split(", ")]


def _near(detail: Detail) -> str:
    folded = {word.lower(): word for word in _expected(detail)}
    close = difflib.get_close_matches(str(detail["input"]).lower(), folded, n=1)
    return f" (did you mean {folded[close[0]]}?)" if close else ""


def _such_as(places: tuple[Any, ...], detail: Detail) -> str:
    if detail["type"] in ("literal_error", "unit", "bool_type", *BOUNDS):
        return ""
    example = _example(places)
    return f" such as {example}" if example else ""


def _hint(places: tuple[Any, ...]) -> str:
    owner = None if _example(places) else model_at(places)
    return f"with keys such as {next(iter(owner.model_fields))}" if owner else f"such as {_example(places)}"


def _example(places: tuple[Any, ...]) -> str:
    """The example of the field that a path leads to, or of its entry that the path leads to."""
    field, below = _field_and_rest(places)
    if field is None or not field.examples:
        return ""
    value = field.examples[0]
    for _ in range(below):
        value = (
            next(iter(value.values() if isinstance(value, dict) else value))
            if isinstance(value, dict | list)
            else value
        )
    return json.dumps(value) if isinstance(value, list | dict | bool) else str(value)


def nearest(places: tuple[Any, ...]) -> str | None:
    """The known key that an unknown one was meant to be."""
    *parents, key = places
    close = difflib.get_close_matches(str(key).lower().replace("-", "_"), known(tuple(parents)), n=1, cutoff=0.5)
    return close[0] if close else None


def known(places: tuple[Any, ...]) -> list[str]:
    """The keys that may stand below a path."""
    owner = model_at(places)
    return list(owner.model_fields) if owner else []


def _unknown(places: tuple[Any, ...]) -> str:
    close = nearest(places)
    instead = f"did you mean {close}?" if close else f"known here: {', '.join(known(places[:-1]))}."
    return f"{dotted(places)} is unknown; {instead}"


def field_at(places: tuple[Any, ...]) -> FieldInfo | None:
    """The field that a path names; list positions and map keys are passed over."""
    return _field_and_rest(places)[0]


def _field_and_rest(places: tuple[Any, ...]) -> tuple[FieldInfo | None, int]:
    model: type[BaseModel] | None = Topology
    field: FieldInfo | None = None
    below = 0
    for part in places:
        if model is not None and part in model.model_fields:
            field, below = model.model_fields[part], 0
            model = _model_of(field.annotation)
        else:
            below += 1
    return field, below


def model_at(places: tuple[Any, ...]) -> type[BaseModel] | None:
    """The model whose keys stand below a path."""
    field = field_at(places)
    return _model_of(field.annotation) if field else Topology


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    search: Callable[[Any], type[BaseModel] | None] = _model_of
    return next((found for found in map(search, get_args(annotation)) if found), None)
