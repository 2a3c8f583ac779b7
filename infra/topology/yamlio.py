"""YAML without its surprises: `no`, `1:30` and `2024-01-01` are text, and a key that stands twice is a mistake."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml  # type: ignore[import-untyped]

LONGEST_NUMBER = 100


class BadYamlError(Exception):
    """One sentence with the line and column."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Booleans, whole numbers, decimals and null as in JSON; everything else is text."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Merged keys (`<<`) may repeat: they are replaced on purpose."""
        _refuse_twins(node)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


_PLAIN = {
    "bool": (r"true|false|True|False", "tTfF"),
    "null": (r"~|null|Null|", ["~", "n", "N", ""]),
    "int": (r"[-+]?[0-9]+", "-+0123456789"),
    "float": (r"[-+]?[0-9]+\.[0-9]+([eE][-+]?[0-9]{1,2})?", "-+0123456789"),
    "merge": (r"<<", "<"),
}
for _name, (_pattern, _first) in _PLAIN.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def _whole(loader: Any, node: Any) -> int | str:
    """`0755` is text, not 493: nobody means octal here."""
    text = node.value
    return text if re.match(r"[-+]?0\d", text) or len(text) > LONGEST_NUMBER else int(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _whole)


def _refuse_twins(node: Any) -> None:
    seen = set()
    for key, _ in getattr(node, "value", ()):
        if key.value == "<<" or not isinstance(key, yaml.ScalarNode):
            continue
        if key.value in seen:
            raise BadYamlError(f"{_place(key.start_mark)}: the key {key.value} stands twice in one place; keep one.")
        seen.add(key.value)


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"


def loads(text: str) -> Any:
    """What a document holds, or `BadYamlError`."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader with fewer types
    except yaml.MarkedYAMLError as error:
        problem = (error.problem or "not YAML").replace("\n", " ")
        raise BadYamlError(f"{_place(error.problem_mark)}: {problem}; mend the YAML there.") from None
    except yaml.YAMLError as error:
        raise BadYamlError(
            f"it is not YAML ({' '.join(str(error).split())[:120]}); save it as plain UTF-8 text."
        ) from None
    except RecursionError:
        raise BadYamlError("it is nested too deeply; a stack has no more than five levels.") from None


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Lists indented below their key, as yamllint wants them; no anchors."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        """PyYAML's hook: it would leave lists at the level of their key."""
        return super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        """PyYAML's hook: what occurs twice is written twice."""
        return True


def dumps(data: Any) -> str:
    """A document whose bytes depend on the data alone."""
    text: str = yaml.dump(
        data,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=110,
        explicit_start=True,
    )
    return text
