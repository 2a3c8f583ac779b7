"""An OTLP receiver in this process: what a collector is sent, without a collector."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_api
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_api
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc


@dataclass(frozen=True)
class Span:
    """One span. `parent` is empty at the root, `failed` what its status says."""

    trace: str
    id: str
    parent: str
    name: str
    kind: int
    started: int
    ended: int
    failed: bool
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Point:
    """The newest value of one series of one process; for a histogram the number of records."""

    metric: str
    instance: str
    labels: dict[str, Any]
    value: float
    bounds: tuple[float, ...] = ()


def plain(attributes: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}


class Receiver(trace_grpc.TraceServiceServicer, metrics_grpc.MetricsServiceServicer):
    """Listens on loopback while it is entered."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._points: dict[Any, Point] = {}
        self._server = grpc.server(ThreadPoolExecutor(4))
        trace_grpc.add_TraceServiceServicer_to_server(self, self._server)
        metrics_grpc.add_MetricsServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()

    @property
    def env(self) -> dict[str, str]:
        """For processes that report here, five times a second."""
        return {
            "RELIER_OTEL_ENABLED": "true",
            "RELIER_OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
        }

    def Export(self, request: Any, _: Any) -> Any:
        if isinstance(request, trace_api.ExportTraceServiceRequest):
            for resource in request.resource_spans:
                self._take_spans(resource)
            return trace_api.ExportTraceServiceResponse()
        for resource in request.resource_metrics:
            self._take_metrics(resource)
        return metrics_api.ExportMetricsServiceResponse()

    def _take_spans(self, resource: Any) -> None:
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
            times = (span.start_time_unix_nano, span.end_time_unix_nano)
            failed = span.status.code == 2
            self.spans.append(Span(*ids, span.name, span.kind, *times, failed, plain(span.attributes)))

    def _take_metrics(self, resource: Any) -> None:
        instance = plain(resource.resource.attributes)["service.instance.id"]
        taken: dict[Any, Point] = {}
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            for point in getattr(metric, metric.WhichOneof("data")).data_points:
                labels, key = plain(point.attributes), point.attributes
                histogram = hasattr(point, "explicit_bounds")
                value = point.count if histogram else point.as_int or point.as_double
                bounds = tuple(point.explicit_bounds) if histogram else ()
                name = (metric.name, instance, str(sorted((a.key, str(a.value)) for a in key)))
                taken[name] = Point(metric.name, instance, labels, value, bounds)
        self._points.update(taken)  # at once: a reader that sees one figure of an export sees all of them

    def points(self, metric: str, **labels: Any) -> list[Point]:
        """All series of a metric with these labels; `_` stands for a dot."""
        wanted = {name.replace("_", "."): value for name, value in labels.items()}
        found = [point for point in list(self._points.values()) if point.metric == metric]
        return [point for point in found if wanted.items() <= point.labels.items()]

    def total(self, metric: str, **labels: Any) -> float:
        """Their sum."""
        return sum(point.value for point in self.points(metric, **labels))

    def traces(self) -> dict[str, list[Span]]:
        """Spans by trace, each in order of their start."""
        found = defaultdict(list)
        for span in sorted(self.spans, key=lambda span: (span.started, -span.ended)):
            found[span.trace].append(span)
        return dict(found)

    def trace_of(self, root: str) -> list[Span]:
        """The newest trace whose root has this name, or nothing yet."""
        return next((spans for spans in reversed(self.traces().values()) if spans[0].name == root), [])
