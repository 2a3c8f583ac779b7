"""The pulse file: how a probe sees that a worker's own loop turns, without Redis and without importing Celery."""

from __future__ import annotations

import os
import time
from pathlib import Path

from relier.settings import get_settings

FRESH_SECONDS = 15.0


def pulse_dir() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(f"{get_settings().runtime_dir}-{user}")


def pulse_file(node: str) -> Path:
    return pulse_dir() / (node.replace("/", "_") + ".pulse")


def age(path: Path) -> float | None:
    """Seconds since a worker renewed its pulse, or None when there is none."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return None
