"""The pulse file: how a probe sees that a worker's own loop turns, without Redis, Celery or pydantic."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relier.settings import Settings

FRESH_SECONDS = 15.0  # a worker reports every five, here and in Redis


def pulse_dir(settings: Settings) -> Path:
    """`RELIER_RUNTIME_DIR` with the user id appended, so that users of one host do not meet."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(f"{settings.runtime_dir}-{user}")


def pulse_file(settings: Settings, node: str) -> Path:
    """One file for each node; it holds the pid, and its modification time is the pulse."""
    return pulse_dir(settings) / (node.replace("/", "_") + ".pulse")


def age(path: Path) -> float | None:
    """Seconds since a worker renewed its pulse, or None when there is none."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return None
