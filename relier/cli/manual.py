"""`rl man`: the manual page, then every command with its options as the commands themselves declare them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any


def manual() -> None:
    """Print the manual."""
    import typer

    from relier.cli.root import app

    print((files("relier.cli") / "manual.md").read_text(encoding="utf-8"))
    print("\n".join(["COMMANDS", "", *_lines(typer.main.get_command(app), "rl")]).rstrip())


def _lines(command: Any, path: str) -> Iterator[str]:
    children = getattr(command, "commands", None) or {}
    arguments = [_metavar(p) for p in command.params if p.param_type_name == "argument"]
    yield " ".join([f"  {path}", *arguments]) if not children else f"  {path} COMMAND"
    yield f"      {command.help}"
    for parameter in command.params:
        if parameter.param_type_name == "option" and parameter.name != "help":
            names = ", ".join((*parameter.opts, *parameter.secondary_opts))
            default = "" if parameter.default in (None, False, "") else f" (default: {parameter.default})"
            yield f"      {names}  {parameter.help or ''}{default}"
    yield ""
    for name, child in children.items():
        yield from _lines(child, f"{path} {name}")


def _metavar(parameter: Any) -> str:
    return parameter.metavar or str(parameter.name).upper()
