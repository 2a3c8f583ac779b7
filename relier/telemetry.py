"""OpenTelemetry, off by default: OpenTelemetry is imported only when `RELIER_OTEL_ENABLED` is true."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from relier.forks import PerProcess
from relier.settings import get_settings

if TYPE_CHECKING:
    from relier.instruments import Instruments

logger = logging.getLogger("relier")
#: Values by their labels, by the name of a gauge.
Figures = Mapping[str, Mapping[tuple[tuple[str, str], ...], float]]
FLUSH_SECONDS = 2.0
_nothing: AbstractContextManager[None] = nullcontext()


def _make() -> Instruments | bool:
    """The instruments of this process, or False when telemetry is off or not installed."""
    settings = get_settings()
    if not settings.otel_enabled:
        return False
    try:
        from relier.instruments import Instruments
    except ImportError as error:
        logger.warning("RELIER_OTEL_ENABLED is true, but %s; run: pip install 'relier[otel]'.", error)
        return False
    return Instruments(settings)


_instruments: PerProcess[Any] = PerProcess(_make)  # a child makes its own: export threads do not survive a fork


def enabled() -> bool:
    """Wanted and installed; the first call imports OpenTelemetry."""
    return bool(_instruments())


def warm() -> None:
    """Import OpenTelemetry, if it is wanted, before a pool forks: half a second that no task waits for then."""
    if get_settings().otel_enabled:
        try:
            import relier.instruments  # noqa: F401
        except ImportError:
            enabled()


def flush(seconds: float = FLUSH_SECONDS) -> None:
    """Export what there is before this process ends. Waits no longer than that, wherever the collector is."""
    if instruments := _instruments.known():
        instruments.flush(seconds)


def inject() -> dict[str, str]:
    """The trace context to send along with a task."""
    instruments = _instruments()
    return instruments.inject() if instruments else {}


def admission(result: str, task_name: str, task_id: str) -> None:
    """Count a push by the verdict of `push.lua`."""
    if instruments := _instruments():
        instruments.admission(result, task_name, task_id)


def outcome(status: str, task_name: str, worker: str, seconds: float | None, reason: str = "") -> None:
    """How an incarnation ended; `seconds` is None where nobody knows how long it took."""
    if instruments := _instruments():
        instruments.outcome(status, task_name, worker, seconds, reason)


def event(name: str, amount: int = 1, **labels: str) -> None:
    """One of the counters: timeouts, drains, resurrections, dlq, scans. `task` and `worker` get their full names."""
    if instruments := _instruments():
        instruments.event(name, amount, labels)


def watch(read: Callable[[], Figures]) -> None:
    """Show what `read` returns as gauges; it is called at every export, in the exporting thread."""
    if instruments := _instruments():
        instruments.watch(read)


def phase(name: str, task_name: str) -> AbstractContextManager[Any]:
    """Times one phase of Relier's own overhead."""
    instruments = _instruments()
    return instruments.phase(name, task_name) if instruments else _nothing


def produce(task_name: str, queue: str) -> AbstractContextManager[Any]:
    """A span around a push; what the body does later belongs to the same trace."""
    instruments = _instruments()
    return instruments.produce(task_name, queue) if instruments else _nothing


def process(run: Any, trace: dict[str, str], version: int) -> AbstractContextManager[Any]:
    """A span from the claim to the outcome, continuing the producer's trace."""
    instruments = _instruments()
    return instruments.process(run, trace, version) if instruments else _nothing


def body(task_name: str) -> AbstractContextManager[Any]:
    """A span around a body: the parent of the spans that the body makes itself."""
    instruments = _instruments()
    return instruments.body(task_name) if instruments else _nothing
