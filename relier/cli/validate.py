"""The rules behind `rl config validate`: one sentence for whatever does not hold in the settings or in Redis."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from relier.cli.errors import invalid_settings
from relier.cli.finding import Finding, error, warning

if TYPE_CHECKING:
    from relier.settings import Settings

PREFIX = "RELIER_"
# What Kubernetes puts into every pod for a Service whose name begins with `relier-`.
SERVICE_LINK = re.compile(r"RELIER_\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_[A-Z]+(_(PROTO|PORT|ADDR))?)?)")
REFUSING = " Refusing to start."
TIMEOUT_MARGIN = 10


def findings() -> Iterator[Finding]:
    """All of them. Rules for the live Redis need one that answers."""
    from pydantic import ValidationError

    from relier import preflight
    from relier.cli import validate_redis
    from relier.settings import get_settings

    yield from _unknown_variables()
    try:
        settings = get_settings()
    except ValidationError as invalid:
        for sentence in invalid_settings(invalid):
            yield error("settings", sentence)
        return
    yield from _settings_rules(settings)
    unfit = list(preflight.findings(settings))
    for sentence in unfit:
        yield error("redis", sentence.removesuffix(REFUSING))
    if not any("cannot reach Redis" in sentence for sentence in unfit):
        yield from validate_redis.rules(settings)
        yield from _process_rules(settings)


def known_names() -> list[str]:
    """Every variable that a setting is read from, with its prefix."""
    from relier.settings import Settings

    return [PREFIX + name.upper() for name in Settings.model_fields]


def nearest(name: str) -> str:
    """` Did you mean X?`, or nothing."""
    close = difflib.get_close_matches(name.upper(), known_names(), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else "; see rl config show for the names."


def _unknown_variables() -> Iterator[Finding]:
    known = set(known_names())
    for place, names in (("the environment", list(os.environ)), (".env", _dotenv_names())):
        for name in sorted(names):
            upper = name.upper()
            if upper.startswith(PREFIX) and upper not in known and not SERVICE_LINK.fullmatch(upper):
                yield error("variables", f"{name} in {place} is no setting of Relier{nearest(name)}")


def _dotenv_names() -> list[str]:
    if not Path(".env").is_file():
        return []
    from dotenv import dotenv_values

    return list(dotenv_values(".env"))


def _settings_rules(settings: Settings) -> Iterator[Finding]:
    needed = 3 * settings.celery_worker_concurrency
    if settings.redis_max_connections < needed:
        yield warning(
            "connections",
            f"RELIER_REDIS_MAX_CONNECTIONS is {settings.redis_max_connections}, but a concurrency of "
            f"{settings.celery_worker_concurrency} may need {needed}; set it to {needed} or more.",
        )
    if settings.soft_timeout >= settings.hard_timeout:
        yield error(
            "timeouts",
            f"RELIER_SOFT_TIMEOUT ({settings.soft_timeout:g} s) must be less than RELIER_HARD_TIMEOUT "
            f"({settings.hard_timeout:g} s).",
        )
    if settings.hard_timeout > settings.idempotency_inflight_ttl - TIMEOUT_MARGIN:
        yield warning(
            "timeouts",
            f"RELIER_HARD_TIMEOUT ({settings.hard_timeout:g} s) should stay {TIMEOUT_MARGIN} s below "
            f"RELIER_IDEMPOTENCY_INFLIGHT_TTL ({settings.idempotency_inflight_ttl} s).",
        )
    yield from _trust_rules(settings)
    if settings.checkpoint_backend == "filesystem" and not os.access(settings.checkpoint_dir, os.W_OK):
        yield error(
            "checkpoints",
            f"RELIER_CHECKPOINT_DIR {settings.checkpoint_dir} is not a folder that can be written here; "
            "create it on storage that all workers share.",
        )


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _trust_rules(settings: Settings) -> Iterator[Finding]:
    if settings.secret_key and settings.accept_unsigned:
        yield warning(
            "signing",
            "RELIER_ACCEPT_UNSIGNED is true, so whoever writes to Redis can run tasks in spite of RELIER_SECRET_KEY; "
            "set it to false once all producers sign.",
        )
    if settings.otel_enabled and not _installed("opentelemetry.sdk"):
        yield error(
            "telemetry",
            "RELIER_OTEL_ENABLED is true, but OpenTelemetry is not installed here; pip install 'relier[otel]'.",
        )


def _process_rules(settings: Settings) -> Iterator[Finding]:
    from relier import keys
    from relier.cli import fleet

    online = [row for row in fleet.workers() if row.state == "ONLINE"]
    if not online:
        yield warning("workers", "No worker consumes; start one with celery -A relier.tasks.app worker.")
    consumed = {queue for row in online for queue in row.queues}
    for queue, depth in fleet.depths().items():
        if online and queue not in consumed and (queue in keys.ALL_QUEUES or depth):
            yield warning("queues", f"No worker consumes {queue} ({depth} tasks wait); add it to one's -Q.")
    yield from _resurrector_rule(settings)


def _resurrector_rule(settings: Settings) -> Iterator[Finding]:
    from relier import keys
    from relier.cli.fleet import client

    last = client().get(keys.PULSE)
    seconds, micros = client().time()
    age = seconds + micros / 1e6 - int(last) / 1000 if last else None
    if age is None or age > 3 * settings.resurrection_check_interval + 5:
        since = "has ever scanned" if age is None else f"has scanned for {age:.0f} s"
        yield warning("resurrector", f"No resurrector {since}; start one with rl run-resurrector.")
