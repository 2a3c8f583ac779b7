"""The OpenTelemetry instruments behind `relier.telemetry`; imported only when telemetry is on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

from relier.schema import SchemaRegistry
from relier.settings import Settings

EXPORT_INTERVAL_MS = 5000


class Instruments:
    """Counters, histograms and spans under `relier.*`, exported by OTLP."""

    def __init__(self, settings: Settings) -> None:
        endpoint = settings.otel_exporter_otlp_endpoint
        insecure = not endpoint.startswith("https://")
        resource = Resource.create({"service.name": "relier"})
        exporter = OTLPMetricExporter(endpoint=endpoint, insecure=insecure)
        reader = PeriodicExportingMetricReader(exporter, EXPORT_INTERVAL_MS)
        meter = MeterProvider([reader], resource).get_meter("relier")
        traces = TracerProvider(resource=resource)
        traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=insecure)))
        self._tracer = traces.get_tracer("relier")
        self._tasks = meter.create_counter("relier.tasks", description="Outcomes by status and reason")
        self._admission = meter.create_counter("relier.admission", description="Admission by result")
        self._hits = meter.create_counter("relier.idempotency.hits", description="Runs that a cached result replaced")
        self._duration = meter.create_histogram("relier.task.duration", "s", "Time from claim to outcome")
        self._overhead = meter.create_histogram("relier.overhead", "s", "Relier's own time by phase")
        names = ("timeouts", "drains", "resurrections", "dlq")
        self._events = {name: meter.create_counter(f"relier.{name}") for name in names}

    def inject(self) -> dict[str, str]:
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        return carrier

    def admission(self, result: str, task_name: str) -> None:
        labels = {"rl.admission.result": result, "rl.task.name": task_name}
        self._admission.add(1, labels)
        trace.get_current_span().set_attribute("rl.admission.result", result)

    def outcome(self, status: str, task_name: str, worker: str, seconds: float, reason: str) -> None:
        labels = {"rl.task.name": task_name, "rl.worker.id": worker}
        self._tasks.add(1, labels | {"status": status, "reason": reason})
        self._duration.record(seconds, labels)
        if status == "idempotency_hit":
            self._hits.add(1, labels)
            trace.get_current_span().set_attribute("rl.task.idempotency_hit", True)

    def event(self, name: str, amount: int, labels: dict[str, str]) -> None:
        self._events[name].add(amount, labels)

    @contextmanager
    def phase(self, name: str, task_name: str) -> Iterator[None]:
        """Times a phase; the producer's and the claim's are spans too, so that one trace shows all of a task."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._overhead.record(time.perf_counter() - started, {"phase": name, "rl.task.name": task_name})

    @contextmanager
    def produce(self, task_name: str, queue: str) -> Iterator[None]:
        """The producer's span around a push."""
        attributes = {"rl.task.name": task_name, "rl.task.queue": queue}
        with self._tracer.start_as_current_span(f"push {task_name}", kind=SpanKind.PRODUCER, attributes=attributes):
            yield

    @contextmanager
    def span(self, run: Any, carrier: dict[str, str]) -> Iterator[None]:
        """A body's span, a child of the producer's."""
        attributes = {
            "rl.task.id": run.task_id,
            "rl.task.name": run.task.name,
            "rl.task.queue": run.queue,
            "rl.worker.id": str(run.request.hostname),
            "rl.task.schema_version": SchemaRegistry.CURRENT_VERSION,
            "rl.task.is_resurrection": run.attempts > 1,
            "rl.task.is_idempotent": bool(run.idempotency_key),
        }
        parent = propagate.extract(carrier)
        with self._tracer.start_as_current_span(
            f"run {run.task.name}", parent, SpanKind.CONSUMER, attributes=attributes
        ):
            yield
