"""The `rl` command. Commands are imported when they are called, so that a probe starts fast."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

PROBE_SECONDS = 10


def _end_within(seconds: int) -> None:
    """Docker leaves a check that timed out running: on a starved host they would pile up and starve it for good."""

    def give_up(*_: object) -> NoReturn:
        """Ends at once: an exception could be caught by whatever the command waits in."""
        print(f"No answer within {seconds} s.", file=sys.stderr)
        os._exit(1)

    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, give_up)
        signal.alarm(seconds)


def main() -> None:
    """The entry point of `rl`."""
    arguments = sys.argv[1:]
    if arguments[:1] in (["doctor"], ["probe"], ["--version"], ["-v"]):
        _end_within(PROBE_SECONDS)
        from relier.cli.quick import answer

        if (verdict := answer(arguments)) is not None:
            verdict.leave()
    from relier.cli.root import app

    app(prog_name="rl")
