"""Programs that run inside the deployment, with the application's own interpreter, settings and secrets.

They are sent as text, so each stands alone; each prints one line of JSON at its end.
"""

from __future__ import annotations

from pathlib import Path


def text(name: str) -> str:
    """The source of one of them."""
    return (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
