"""Settings: read once from `RELIER_*` variables and `.env`, then frozen."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Durability = Literal["local", "replicated", "fsynced"]
#: What may be kept in a file, whose path is the setting `NAME_file`.
FILED = ("redis_url", "redis_password", "redis_sentinel_password", "secret_key", "secret_keys_previous")
PositiveInt = Annotated[int, Field(gt=0)]
PositiveSeconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """All of Relier's settings. Durations are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        env_prefix="RELIER_", env_file=".env", env_file_encoding="utf-8", frozen=True, extra="ignore"
    )

    redis_url: str = "redis://localhost:6379/0"
    redis_url_file: Path | None = None
    redis_username: str | None = None
    redis_password: SecretStr | None = None
    redis_password_file: Path | None = None
    redis_max_connections: PositiveInt = 20
    redis_socket_timeout: PositiveSeconds = 5.0
    redis_connect_timeout: PositiveSeconds = 2.0
    redis_health_check_interval: PositiveInt = 30
    redis_use_sentinel: bool = False
    redis_sentinel_nodes: Annotated[tuple[tuple[str, int], ...], NoDecode] = ()
    redis_sentinel_master_name: str = "relier-master"
    redis_sentinel_username: str | None = None
    redis_sentinel_password: SecretStr | None = None
    redis_sentinel_password_file: Path | None = None
    redis_tls: bool = False
    redis_tls_ca_file: Path | None = None

    durability: Durability = "local"
    durability_timeout: PositiveSeconds = 2.0
    push_retry_window: PositiveSeconds = 15.0

    celery_worker_count: PositiveInt = 8
    celery_worker_concurrency: PositiveInt = 8

    heartbeat_ttl: PositiveSeconds = 10.0
    max_resurrections: Annotated[int, Field(ge=0)] = 5
    resurrection_check_interval: PositiveSeconds = 2.0
    resurrection_requeue_delay: Annotated[float, Field(ge=0)] = 0.05
    resurrection_batch_size: PositiveInt = 1000
    resurrection_max_queue_depth: PositiveInt = 10_000
    unclaimed_grace: PositiveSeconds = 3.0

    idempotency_default_ttl: PositiveInt = 3600
    idempotency_inflight_ttl: PositiveInt = 120

    soft_timeout: PositiveSeconds = 25.0
    hard_timeout: PositiveSeconds = 30.0
    graceful_shutdown_timeout: PositiveSeconds = 30.0

    checkpoint_max_inline_bytes: PositiveInt = 262_144
    checkpoint_backend: Literal["inline", "filesystem"] = "inline"
    checkpoint_dir: Path = Path("/var/lib/relier/checkpoints")

    admission_limit: PositiveInt = 5000
    admission_window: PositiveInt = 10

    otel_enabled: bool = False
    otel_exporter_otlp_endpoint: str = "http://localhost:4317"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"

    secret_key: SecretStr | None = None
    secret_key_file: Path | None = None
    secret_keys_previous: SecretStr | None = None
    secret_keys_previous_file: Path | None = None
    accept_unsigned: bool = False

    runtime_dir: Path = Path(gettempdir(), "relier")  # pulse files; each user gets a directory of its own

    @model_validator(mode="before")
    @classmethod
    def _normalise(cls, values: dict[str, Any]) -> dict[str, Any]:
        nodes = values.get("redis_sentinel_nodes")
        if isinstance(nodes, str):
            values["redis_sentinel_nodes"] = parse_nodes(nodes)
        for name in FILED:
            values[name] = _from_file(name, values)
        level = values.get("log_level")
        if isinstance(level, str):
            values["log_level"] = level.upper()
        return {key: value for key, value in values.items() if value is not None and value != ""}

    @model_validator(mode="after")
    def _sentinel_needs_nodes(self) -> Settings:
        if self.redis_use_sentinel and not self.redis_sentinel_nodes:
            raise ValueError(
                "RELIER_REDIS_USE_SENTINEL is true but RELIER_REDIS_SENTINEL_NODES is empty; "
                "write it as host:26379,host:26379,host:26379"
            )
        return self

    def secret(self, name: str) -> str | None:
        """The plain text of a secret setting, or None when it is not set."""
        value = getattr(self, name)
        return value.get_secret_value() if value is not None else None

    @property
    def endpoint(self) -> str:
        """Where Redis is, for people: never with a password."""
        if self.redis_use_sentinel:
            nodes = ",".join(f"{host}:{port}" for host, port in self.redis_sentinel_nodes)
            return f"{self.redis_sentinel_master_name} via Sentinel {nodes}"
        return re.split("[/?]", self.redis_url.split("://", 1)[-1].rsplit("@", 1)[-1])[0] or "localhost:6379"


def parse_nodes(text: str) -> tuple[tuple[str, int], ...]:
    """`host:port,host:port` as pairs; the port defaults to 26379."""
    pairs = []
    for node in filter(None, (part.strip() for part in text.split(","))):
        host, _, port = node.rpartition(":") if ":" in node else (node, "", "26379")
        if not port.isdigit():
            raise ValueError(f"RELIER_REDIS_SENTINEL_NODES: {node!r} is not host:port")
        pairs.append((host, int(port)))
    return tuple(pairs)


def _from_file(name: str, values: dict[str, Any]) -> Any:
    path = values.get(f"{name}_file")
    if not path:
        return values.get(name)
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"RELIER_{name.upper()}_FILE: cannot read {path} ({error.strerror})") from None


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The process's settings, read once. Raises pydantic's `ValidationError` where a variable is wrong."""
    return Settings()
