"""The `rl` command. Commands are imported when they are called, so that a probe starts fast."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point of `rl`."""
    arguments = sys.argv[1:]
    if arguments[:1] in (["doctor"], ["probe"], ["--version"], ["-v"]):
        from relier.cli.quick import answer

        if (verdict := answer(arguments)) is not None:
            verdict.leave()
    from relier.cli.root import app

    app(prog_name="rl")
