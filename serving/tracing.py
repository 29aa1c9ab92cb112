"""Traces for an OpenTelemetry collector, where `ONTIME_TRACES_URL` is set: spans of each request and of its batch.

The request id is the trace id, so one id finds a request in the access log and in the traces. A request that comes with
a `traceparent` continues the caller's trace. Spans are made when the request has ended, from times that are measured
anyway, and are sent by a thread: no request waits for the collector, and without it they are dropped. The sampler is
OpenTelemetry's own: OTEL_TRACES_SAMPLER=traceidratio, OTEL_TRACES_SAMPLER_ARG=0.1.

The packages are the dependency group `traces`; only this file imports them.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from secrets import randbits

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACED = ("/v1/", "/v2/")  # not health checks and metrics, which come every few seconds
TRACE_ID = re.compile(r"[0-9a-f]{32}")
TRACEPARENT = "traceparent"
EXPORT_SECONDS = 5

Step = tuple[str, float, float]  # name, start and end on the clock of time.perf_counter


class _ChosenTraceId(IdGenerator):
    """The trace id that is set for the next span without a parent."""

    def __init__(self) -> None:
        self.trace_id, self._random = 0, RandomIdGenerator()

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self._random.generate_span_id()


@dataclass
class RequestTrace:
    """What is known of a request while it runs; `parent`: the caller's span, None without a `traceparent`."""

    trace_id: str
    parent: SpanContext | None
    steps: list[Step] = field(default_factory=list)
    entities: int = 0  # of its batch

    def record(self, steps: Sequence[Step], entities: int) -> None:
        self.steps, self.entities = list(steps), entities


class Traces:
    def __init__(self, url: str) -> None:
        self._ids = _ChosenTraceId()
        self._provider = TracerProvider(
            id_generator=self._ids, resource=Resource.create({SERVICE_NAME: "ontime"}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=EXPORT_SECONDS)))
        self._tracer = self._provider.get_tracer("ontime")

    def stop(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    def begin(self, path: str, headers: Mapping[bytes, bytes], request_id: str) -> RequestTrace | None:
        """The trace of a request; None if this path is not traced. `request_id`: the client's, or empty."""
        if not path.startswith(TRACED):
            return None
        header = {TRACEPARENT: headers.get(TRACEPARENT.encode(), b"").decode("latin-1")}
        span = trace.get_current_span(TraceContextTextMapPropagator().extract(header, Context()))
        if span.get_span_context().is_valid:
            parent = span.get_span_context()
            return RequestTrace(f"{parent.trace_id:032x}", parent)
        id_of_client = request_id.replace("-", "").lower()  # such as a UUID
        own = id_of_client if TRACE_ID.fullmatch(id_of_client) and int(id_of_client, 16) else f"{randbits(128):032x}"
        return RequestTrace(own, None)

    def end(self, ended: RequestTrace, method: str, route: str, status: int, request_id: str, seconds: float) -> None:
        """Make the spans of a request that has just ended after so many seconds."""
        now_ns, now = time.time_ns(), time.perf_counter()

        def wall_ns(moment: float) -> int:
            return now_ns - int((now - moment) * 1e9)

        self._ids.trace_id = int(ended.trace_id, 16)
        parent = trace.set_span_in_context(NonRecordingSpan(ended.parent), Context()) if ended.parent else Context()
        span = self._tracer.start_span(
            f"{method} {route}",
            parent,
            SpanKind.SERVER,
            {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "ontime.request_id": request_id,
                "ontime.batch.entities": ended.entities,
            },
            start_time=wall_ns(now - seconds),
        )
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        within = trace.set_span_in_context(span, Context())
        for name, start, end in ended.steps:
            self._tracer.start_span(name, within, start_time=wall_ns(start)).end(wall_ns(end))
        span.end(now_ns)
