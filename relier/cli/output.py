"""How commands show what they found: a plain table that pipes well, JSON, and a view that follows."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from redis.exceptions import RedisError

from relier.cli.errors import explain

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Show it again and again, until Ctrl-C.")]
EVERY = 2.0
CLEAR = "\x1b[H\x1b[J"


def clean(value: Any, width: int = 100) -> str:
    """A cell on one line, without control characters that someone may have put into a task's name or error."""
    text = "-" if value is None else "".join(c if c.isprintable() else " " for c in str(value))
    return text if len(text) <= width else text[: width - 1] + "…"


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns padded to their widest cell, numbers to the right."""
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    right = [bool(rows) and all(isinstance(row[n], int | float) for row in rows) for n in range(len(columns))]

    def line(parts: Sequence[str]) -> str:
        """The last cell is not padded."""
        padded = [p.rjust(w) if r else p.ljust(w) for p, w, r in zip(parts, widths, right, strict=True)]
        return "  ".join(padded).rstrip()

    return "\n".join([line(columns), line(["─" * width for width in widths]), *map(line, cells)])


def dumps(data: Any, indent: int | None = 2) -> str:
    """`indent=None` is one line, as `--follow` prints it. What JSON has no type for becomes text."""
    return json.dumps(data, indent=indent, default=str, ensure_ascii=False)


def show(data: Any, text: Callable[[], str], as_json: bool) -> None:
    """Print one or the other."""
    print(dumps(data) if as_json else text())


def follow(snapshot: Callable[[], Any], text: Callable[[Any], str], as_json: bool) -> None:
    """Print a snapshot every two seconds until Ctrl-C, in place on a terminal; an outage of Redis is waited out."""
    while True:
        try:
            data = snapshot()
            shown = dumps(data, indent=None) if as_json else text(data)
        except (RedisError, OSError) as error:
            shown = dumps({"error": explain(error)}, indent=None) if as_json else explain(error)
        terminal = sys.stdout.isatty() and not as_json
        print(CLEAR + shown if terminal else shown, flush=True)
        time.sleep(EVERY)


def moment(seconds: float | None) -> str:
    """Unix time as a person reads it, in UTC."""
    if not seconds:
        return "-"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    """Seconds as `1.2 s`, `3 min` or `5 h`."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def percent(share: float | None) -> str:
    """A share from 0 to 1 as `99.9%`; `-` where nothing was measured."""
    return "-" if share is None else f"{share:.1%}"
