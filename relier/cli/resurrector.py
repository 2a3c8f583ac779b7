"""`rl run-resurrector`: the process that finds dead workers."""

from __future__ import annotations

import logging
import signal

from relier.cli.errors import fail

LEVELS = ("debug", "info", "warning", "error")


def guard(loglevel: str | None, interval: float | None) -> None:
    """Run Phoenix until SIGTERM or SIGINT. Refuses a Redis that cannot keep the promise, as a worker does."""
    from relier import preflight
    from relier.errors import PreflightError
    from relier.phoenix import Resurrector
    from relier.settings import get_settings

    if loglevel is not None and loglevel.lower() not in LEVELS:
        fail(f"--loglevel is '{loglevel}'; use one of: {', '.join(LEVELS)}.", 2)
    if interval is not None and interval <= 0:
        fail(f"--interval is {interval:g}; give seconds above zero.", 2)
    settings = get_settings()
    level = (loglevel or settings.log_level).upper()
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
    try:
        preflight.check(settings)
    except PreflightError as error:
        fail(f"RuntimeError: {error}")
    resurrector = Resurrector(interval=interval)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: resurrector.stop.set())
    resurrector.run()
