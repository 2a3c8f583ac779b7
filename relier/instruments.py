"""The OpenTelemetry instruments behind `relier.telemetry`; imported only when telemetry is on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from celery.exceptions import Ignore, Reject, Retry
from opentelemetry import propagate, trace
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import SpanKind, Status, StatusCode

from relier.exporting import Pipeline
from relier.settings import Settings
from relier.telemetry import Figures

TASK, WORKER, QUEUE = "rl.task.name", "rl.worker.id", "rl.task.queue"
FULL_NAMES = {"task": TASK, "worker": WORKER}
EVENTS = {
    "timeouts": ("relier.timeouts", "Soft and hard timeouts"),
    "drains": ("relier.drains", "Drains of workers, by whether something had to be handed off"),
    "resurrections": ("relier.resurrections", "Tasks brought back from dead workers"),
    "dlq": ("relier.dlq", "Tasks that went into the dead letter queue, by reason"),
    "scans": ("relier.resurrector.scans", "Passes of the resurrector"),
}
GAUGES = {
    "depth": ("relier.queue.depth", "Tasks that wait in line"),
    "delayed": ("relier.tasks.delayed", "Tasks that wait for their time"),
    "inflight": ("relier.tasks.inflight", "Tasks that a worker holds"),
    "dlq": ("relier.dlq.size", "Entries of the dead letter queue"),
    "alive": ("relier.workers.alive", "Workers that have reported lately"),
}
DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
OVERHEADS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
SIGNALS = (Retry, Ignore, Reject)  # ways out of a body that are no failures


class Instruments:
    """Counters, histograms, gauges and spans under `relier.*`, exported by OTLP."""

    def __init__(self, settings: Settings) -> None:
        self._pipeline = Pipeline(settings.otel_exporter_otlp_endpoint)
        self._tracer = self._pipeline.traces.get_tracer("relier")
        self._meter = meter = self._pipeline.meters.get_meter("relier")
        self._tasks = meter.create_counter("relier.tasks", description="Outcomes by status and reason")
        self._admission = meter.create_counter("relier.admission", description="Admission by result")
        self._hits = meter.create_counter("relier.idempotency.hits", description="Runs that a cached result replaced")
        self._duration = self._histogram("relier.task.duration", "Time from claim to outcome", DURATIONS)
        self._overhead = self._histogram("relier.overhead", "Relier's own time by phase", OVERHEADS)
        self._events = {key: meter.create_counter(name, description=text) for key, (name, text) in EVENTS.items()}

    def _histogram(self, name: str, text: str, bounds: tuple[float, ...]) -> Any:
        """The SDK's own bounds are made for milliseconds."""
        return self._meter.create_histogram(name, "s", text, explicit_bucket_boundaries_advisory=bounds)

    def flush(self, seconds: float) -> None:
        """Returns after `seconds` at the latest, exported or not."""
        self._pipeline.flush(seconds)

    def watch(self, read: Callable[[], Figures]) -> None:
        """Gauges over figures that are read once for each export."""
        newest = _Newest(read)
        for key, (name, text) in GAUGES.items():
            self._meter.create_observable_gauge(name, [partial(newest.observe, key)], description=text)

    def inject(self) -> dict[str, str]:
        """The current span as headers: W3C's `traceparent`, unless `OTEL_PROPAGATORS` says otherwise."""
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        return carrier

    def admission(self, result: str, task_name: str, task_id: str) -> None:
        """Counts the verdict and marks the current span with it, which is the producer's."""
        self._admission.add(1, {"rl.admission.result": result, TASK: task_name})
        trace.get_current_span().set_attributes({"rl.admission.result": result, "rl.task.id": task_id})

    def outcome(self, status: str, task_name: str, worker: str, seconds: float | None, reason: str) -> None:
        """As `telemetry.outcome`. A cached result is counted as a hit too, and the span says so."""
        labels = {TASK: task_name, WORKER: worker}
        self._tasks.add(1, labels | {"status": status, "reason": reason})
        if seconds is not None:
            self._duration.record(seconds, labels)
        if status == "idempotency_hit":
            self._hits.add(1, labels)
            trace.get_current_span().set_attribute("rl.task.idempotency_hit", True)

    def event(self, name: str, amount: int, labels: dict[str, str]) -> None:
        """As `telemetry.event`; raises `KeyError` for a name that is not in `EVENTS`."""
        self._events[name].add(amount, {FULL_NAMES.get(label, label): value for label, value in labels.items()})

    @contextmanager
    def phase(self, name: str, task_name: str) -> Iterator[None]:
        """Times a phase. The commit is a span too, so that one trace shows push, claim, body and commit."""
        started = time.perf_counter()
        try:
            with self._tracer.start_as_current_span(name) if name == "commit" else nullcontext():
                yield
        finally:
            self._overhead.record(time.perf_counter() - started, {"phase": name, TASK: task_name})

    @contextmanager
    def produce(self, task_name: str, queue: str) -> Iterator[None]:
        """The producer's span around a push."""
        attributes = {TASK: task_name, QUEUE: queue}
        with self._tracer.start_as_current_span(f"push {task_name}", kind=SpanKind.PRODUCER, attributes=attributes):
            yield

    @contextmanager
    def process(self, run: Any, carrier: dict[str, str], version: int) -> Iterator[None]:
        """An incarnation's span, a child of the producer's. Only after the claim is it known whose child it is."""
        attributes = {
            "rl.task.id": run.task_id,
            TASK: run.task.name,
            QUEUE: run.queue,
            WORKER: str(run.request.hostname),
            "rl.task.schema_version": version,
            "rl.task.is_resurrection": run.attempts > 1,
            "rl.task.is_idempotent": bool(run.idempotency_key),
            "rl.task.idempotency_hit": False,
        }
        parent = propagate.extract(carrier)
        span = self._tracer.start_span(
            f"process {run.task.name}", parent, SpanKind.CONSUMER, attributes, start_time=run.claim_began
        )
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            self._tracer.start_span("claim", start_time=run.claim_began).end(run.claimed)
            with _failures(span):
                yield

    @contextmanager
    def body(self, task_name: str) -> Iterator[None]:
        """The span that a body sees as the current one."""
        with (
            self._tracer.start_as_current_span(
                f"run {task_name}", record_exception=False, set_status_on_exception=False
            ) as span,
            _failures(span),
        ):
            yield


@contextmanager
def _failures(span: Any) -> Iterator[None]:
    """Marks a span as failed by what passes through, unless that only asks to run again or to be forgotten."""
    try:
        yield
    except SIGNALS:
        raise
    except Exception as error:
        span.record_exception(error)
        span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        raise


class _Newest:
    """Figures that several gauges share: read by the first of them, and anew when it is asked again."""

    def __init__(self, read: Callable[[], Figures]) -> None:
        self._read = read
        self._figures: dict[str, Any] = {}

    def observe(self, key: str, _: CallbackOptions) -> Iterable[Observation]:
        """One gauge's values. They are taken out, so that the next export finds none and reads anew."""
        if key not in self._figures:
            self._figures = dict(self._read())
        return [Observation(value, dict(labels)) for labels, value in self._figures.pop(key, {}).items()]
