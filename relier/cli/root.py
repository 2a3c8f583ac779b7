"""The root of `rl`."""

from __future__ import annotations

import logging
import signal
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def root() -> None:
    """Relier: the reliability layer for Celery on Redis."""


@app.command("run-resurrector")
def run_resurrector(
    loglevel: Annotated[str, typer.Option()] = "info", interval: Annotated[float | None, typer.Option()] = None
) -> None:
    """Find dead workers and bring their tasks back."""
    from relier.phoenix import Resurrector

    logging.basicConfig(level=loglevel.upper(), format="%(asctime)s %(levelname)s %(message)s")
    resurrector = Resurrector(interval=interval)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: resurrector.stop.set())
    resurrector.run()
