"""How telemetry leaves a process: one thread that exports every few seconds, and at once when somebody asks.

The SDK's own timer would be restarted by a fork and export the parent's figures from the child a second time, under the
parent's name. This thread ends with a fork, like any other; the child makes one of its own.
"""

from __future__ import annotations

import atexit
import math
import os
import socket
import threading
from typing import Any

# Pool children are forked from a worker that may have exported before; without this gRPC's calls hang in them.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "1")

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

EXPORT_INTERVAL_MS = 5000
LAST_EXPORT_SECONDS = 2.0


def resource() -> Resource:
    """Which process this is. Every pool child is an instance, or the counters of one would overwrite another's."""
    instance = f"{socket.gethostname()}:{os.getpid()}"
    name = os.environ.get("OTEL_SERVICE_NAME") or "relier"
    return Resource.create({"service.name": name, "service.instance.id": instance})


def interval() -> float:
    """Seconds between two exports: OpenTelemetry's own variable, in ms, or five."""
    try:
        return max(0.1, float(os.environ["OTEL_METRIC_EXPORT_INTERVAL"]) / 1000)
    except (KeyError, ValueError):
        return EXPORT_INTERVAL_MS / 1000


class Pipeline:
    """Meters and tracers of one process, and the thread that exports for them."""

    def __init__(self, endpoint: str) -> None:
        to: dict[str, Any] = {"endpoint": endpoint, "insecure": not endpoint.startswith("https://")}
        who, self._pid = resource(), os.getpid()
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(**to), math.inf)
        self.meters = MeterProvider([reader], who, shutdown_on_exit=False)
        self.traces = TracerProvider(resource=who, shutdown_on_exit=False)
        self.traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(**to)))
        self._asked: list[threading.Event] = []
        self._wake = threading.Event()
        threading.Thread(target=self._export_for_ever, name="relier-telemetry", daemon=True).start()
        atexit.register(self.flush, LAST_EXPORT_SECONDS)

    def flush(self, seconds: float) -> None:
        """Export now; returns when that is done, or after so many seconds."""
        if os.getpid() != self._pid:
            return  # a child at its exit: what it inherited is its parent's
        done = threading.Event()
        self._asked.append(done)
        self._wake.set()
        done.wait(seconds)

    def _export_for_ever(self) -> None:
        every = interval()
        while True:
            self._wake.wait(every)
            self._wake.clear()
            asked, self._asked = self._asked, []
            self.meters.force_flush()
            self.traces.force_flush()
            for done in asked:
                done.set()
