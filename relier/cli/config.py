"""`rl config` and `rl admin`: what is set, whether it is fit, and how to change it."""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from relier.cli.admission import purge_locks, reset
from relier.cli.errors import fail, invalid_settings
from relier.cli.output import Json, show, table

app = typer.Typer(no_args_is_help=True, help="Relier's settings.")
admin = typer.Typer(no_args_is_help=True, help="Tools that change Redis directly; use with care.")
admin.command("purge-locks")(purge_locks)
admin.command("reset-admission")(reset)
MASK = "********"
PLAIN = re.compile(r"[\w./:@,+=%~-]*")
MAIN = (
    "redis_url",
    "redis_use_sentinel",
    "redis_sentinel_master_name",
    "durability",
    "heartbeat_ttl",
    "max_resurrections",
    "resurrection_check_interval",
    "admission_limit",
    "admission_window",
    "graceful_shutdown_timeout",
)


def masked(value: Any) -> str:
    """A value for people: secrets and passwords within URLs are hidden, whether they are set is not."""
    from pydantic import SecretStr

    if value is None or value == ():
        return ""
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, tuple):
        return ",".join(f"{host}:{port}" for host, port in value)
    text = re.sub(r"(://[^:@/?#]*):.*@", rf"\1:{MASK}@", str(value))
    return re.sub(r"(password=)[^&#]*", rf"\1{MASK}", text)


def _rows() -> list[dict[str, str]]:
    from relier.settings import get_settings

    settings = get_settings()
    return [
        {"name": f"RELIER_{name.upper()}", "value": masked(getattr(settings, name)), "source": source}
        for name, source in _sources(type(settings)).items()
    ]


def _sources(model: Any) -> dict[str, str]:
    """Where each setting comes from, by field name."""
    from dotenv import dotenv_values

    written = {key.lower(): ".env" for key in dotenv_values(".env")} if Path(".env").is_file() else {}
    written |= {key.lower(): "environment" for key in os.environ}
    return {
        name: written.get(f"relier_{name}_file") or written.get(f"relier_{name}") or "default"
        for name in model.model_fields
    }


def _text(rows: list[dict[str, str]]) -> str:
    return table(("Setting", "Value", "From"), [tuple(row.values()) for row in rows])


@app.command("show")
def show_config(as_json: Json = False) -> None:
    """Show every setting, where it comes from, and no secret."""
    rows = _rows()
    show(rows, lambda: _text(rows), as_json)


@admin.command("config")
def main_config(as_json: Json = False) -> None:
    """Show the settings that matter most."""
    wanted = {f"RELIER_{name.upper()}" for name in MAIN}
    rows = [row for row in _rows() if row["name"] in wanted]
    show(rows, lambda: _text(rows), as_json)


@app.command()
def validate(as_json: Json = False) -> None:
    """Hold the settings and the live Redis against the rules; exit 1 when one is broken."""
    from dataclasses import asdict

    from relier.cli.validate import findings

    found = list(findings())
    errors = sum(finding.level == "error" for finding in found)
    data = {"ok": not errors, "findings": [asdict(finding) for finding in found]}
    lines = [f"{finding.level}: {finding.message}" for finding in found]
    verdict = f"{errors} errors, {len(found) - errors} warnings." if found else "Everything is as it must be."
    show(data, lambda: "\n".join([*lines, verdict]), as_json)
    if errors:
        raise typer.Exit(1)


@app.command("set")
def set_value(
    key: Annotated[str, typer.Argument(metavar="KEY", help="A setting, like RELIER_HEARTBEAT_TTL.")],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Its value; - reads a secret from standard input.")],
) -> None:
    """Write a setting into the nearest .env; workers read it when they start."""
    from relier.cli.validate import known_names, nearest

    key = key.upper()
    if key not in known_names():
        fail(f"{key} is no setting of Relier{nearest(key)}")
    value = sys.stdin.readline().rstrip("\n") if value == "-" else value
    path = nearest_env()
    _check(key, value, path)
    _write(path, edited(path.read_text(encoding="utf-8") if path.exists() else "", key, value))
    print(f"{key} is set in {path}; restart workers and producers to use it.")
    if key in {name.upper() for name in os.environ}:
        print(f"The environment sets {key} too, and wins over .env.", file=sys.stderr)


def nearest_env() -> Path:
    """The nearest .env here or above; a new one here when there is none. Links are followed."""
    here = Path.cwd()
    found = (folder / ".env" for folder in (here, *here.parents) if (folder / ".env").is_file())
    return next(found, here / ".env").resolve()


def _check(key: str, value: str, path: Path) -> None:
    """The settings as they will be must be valid."""
    from pydantic import ValidationError

    from relier.settings import Settings

    try:
        Settings(_env_file=path, **{key.removeprefix("RELIER_").lower(): value})  # type: ignore[call-arg, arg-type]
    except ValidationError as error:
        fail(f"{path} stays as it is. {' '.join(invalid_settings(error))}")


def edited(text: str, key: str, value: str) -> str:
    """The file's text with one assignment of `key`, in its first place or at the end; everything else is kept."""
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    line, done, parts = f"{key}={_quoted(value)}\n", False, []
    for binding in parse_stream(io.StringIO(text)):
        original = binding.original.string
        if (binding.key or "").upper() != key:
            parts.append(original)
        elif not done:
            lead = original[: len(original) - len(original.lstrip())]
            parts.append(lead + line)
            done = True
    body = "".join(parts)
    new = body if done else body + ("\n" if body and not body.endswith("\n") else "") + line
    if dotenv_values(stream=io.StringIO(new)).get(key) != value:
        fail(f"{key}: this value cannot be written into a .env file; set it in the environment or use a _FILE setting.")
    return new


def _quoted(value: str) -> str:
    if PLAIN.fullmatch(value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _write(path: Path, text: str) -> None:
    """Whole or not at all: a new file beside it takes its place, with its mode and owner."""
    before = path.stat() if path.exists() else None
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".env.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), before.st_mode & 0o7777 if before else 0o600)
            if before and (before.st_uid, before.st_gid) != (os.getuid(), os.getgid()):
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
