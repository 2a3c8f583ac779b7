"""The few settings that `rl doctor` and the probes need, read without pydantic, which costs more than all the rest.

What is written plainly is read here as `relier.settings` reads it. Anything else is left to it, its errors included.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from relier.settings import Settings

PREFIX = "relier_"


def _whole(text: str) -> int:
    if not re.fullmatch(r"0*[1-9][0-9]*", text):
        raise ValueError(text)
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) or not float(text):
        raise ValueError(text)
    return float(text)


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError(text)
    return text.lower() in ("true", "1")


def _nodes(text: str) -> tuple[tuple[str, int], ...]:
    if not re.fullmatch(r"[\w.-]+:[0-9]+(,[\w.-]+:[0-9]+)*", text, re.ASCII):
        raise ValueError(text)
    return tuple((host, int(port)) for host, _, port in (node.partition(":") for node in text.split(",")))


FIELDS: dict[str, tuple[Callable[[str], Any], Any]] = {
    "redis_url": (str, "redis://localhost:6379/0"),
    "redis_username": (str, None),
    "redis_password": (str, None),
    "redis_max_connections": (_whole, 20),
    "redis_socket_timeout": (_seconds, 5.0),
    "redis_connect_timeout": (_seconds, 2.0),
    "redis_health_check_interval": (_whole, 30),
    "redis_use_sentinel": (_flag, False),
    "redis_sentinel_nodes": (_nodes, ()),
    "redis_sentinel_master_name": (str, "relier-master"),
    "redis_sentinel_username": (str, None),
    "redis_sentinel_password": (str, None),
    "redis_tls": (_flag, False),
    "redis_tls_ca_file": (Path, None),
    "runtime_dir": (Path, Path(gettempdir(), "relier")),
}


class Light:
    """A stand-in for `Settings` with the attributes of `FIELDS`."""

    def __init__(self, written: dict[str, str]) -> None:
        for name, (read, default) in FIELDS.items():
            setattr(self, name, read(written[name]) if name in written else default)
        if self.redis_use_sentinel and not self.redis_sentinel_nodes:
            raise ValueError("redis_sentinel_nodes")

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def secret(self, name: str) -> str | None:
        """As `Settings.secret`."""
        value: str | None = getattr(self, name)
        return value

    @property
    def endpoint(self) -> str:
        """As `Settings.endpoint`."""
        if self.redis_use_sentinel:
            nodes = ",".join(f"{host}:{port}" for host, port in self.redis_sentinel_nodes)
            return f"{self.redis_sentinel_master_name} via Sentinel {nodes}"
        rest: str = self.redis_url.split("://", 1)[-1].rsplit("@", 1)[-1]
        return re.split("[/?]", rest)[0] or "localhost:6379"


def _written() -> dict[str, str]:
    """What the environment and `.env` say, by field name; the environment wins, and what is empty does not count."""
    lines: dict[str, str | None] = {}
    if Path(".env").is_file():
        from dotenv import dotenv_values

        lines |= {key.lower(): value for key, value in dotenv_values(".env", encoding="utf-8").items()}
    lines |= {key.lower(): value for key, value in os.environ.items()}
    values = {key.removeprefix(PREFIX): value for key, value in lines.items() if value and key.startswith(PREFIX)}
    for name in ("redis_url", "redis_password", "redis_sentinel_password"):
        if path := values.get(f"{name}_file"):
            values[name] = Path(path).read_text(encoding="utf-8").strip()
    return {name: value for name, value in values.items() if value}


def read() -> Settings:
    """The settings, lightly where they are plain; raises what `Settings` raises where they are wrong."""
    try:
        return cast("Settings", Light(_written()))
    except (ValueError, OSError):
        from relier.settings import get_settings

        return get_settings()
