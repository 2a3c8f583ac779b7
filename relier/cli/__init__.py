"""The `rl` command. Commands are imported when they are called, so that a probe starts fast."""

from __future__ import annotations


def main() -> None:
    """The entry point of `rl`."""
    from relier.cli.root import app

    app()
