"""OpenTelemetry, off by default: OpenTelemetry is imported only when `RELIER_OTEL_ENABLED` is true."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from relier.forks import after_fork
from relier.settings import get_settings

_nothing: AbstractContextManager[None] = nullcontext()


@cache
def _instruments() -> Any:
    """The instruments, or None when telemetry is off or not installed."""
    if not get_settings().otel_enabled:
        return None
    from relier.instruments import Instruments

    return Instruments(get_settings())


after_fork(_instruments.cache_clear)  # export threads do not survive a fork


def enabled() -> bool:
    return _instruments() is not None


def inject() -> dict[str, str]:
    """The trace context to send along with a task."""
    instruments = _instruments()
    return instruments.inject() if instruments else {}


def admission(result: str, task_name: str) -> None:
    if instruments := _instruments():
        instruments.admission(result, task_name)


def outcome(status: str, task_name: str, worker: str, seconds: float, reason: str = "") -> None:
    if instruments := _instruments():
        instruments.outcome(status, task_name, worker, seconds, reason)


def event(name: str, amount: int = 1, **labels: str) -> None:
    """One of the counters: timeouts, drains, resurrections, dlq."""
    if instruments := _instruments():
        instruments.event(name, amount, labels)


def phase(name: str, task_name: str) -> AbstractContextManager[Any]:
    """Times one phase of Relier's own overhead."""
    instruments = _instruments()
    return instruments.phase(name, task_name) if instruments else _nothing


def produce(task_name: str, queue: str) -> AbstractContextManager[Any]:
    """A span around a push; what the body does later belongs to the same trace."""
    instruments = _instruments()
    return instruments.produce(task_name, queue) if instruments else _nothing


def span(run: Any, trace: dict[str, str]) -> AbstractContextManager[Any]:
    """A span around a body, continuing the producer's trace."""
    instruments = _instruments()
    return instruments.span(run, trace) if instruments else _nothing
