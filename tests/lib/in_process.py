"""Relier inside the test's own process: its commands, and what it remembers of earlier settings."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner


def forget() -> None:
    """Whoever asks next reads the settings anew and connects where they say."""
    from relier import envelope, ledger
    from relier.settings import get_settings

    get_settings.cache_clear()
    envelope.keyring.cache_clear()
    ledger.forget()


def rl(*arguments: str, text: str | None = None) -> Any:
    """One command, `text` on its standard input; `harness.process.rl` runs it as a process of its own."""
    from relier.cli.root import app

    return CliRunner().invoke(app, list(arguments), input=text)


def told(*arguments: str) -> Any:
    """What a command that must succeed says with `--json`."""
    done = rl(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)
