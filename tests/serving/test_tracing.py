"""Traces, as a collector receives them: OTLP over HTTP, from the service as a process."""

import gzip
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from ontime.settings import BadSettings, Settings
from serving import app
from tests.service import MORNING, Service, running, wait_for

pytestmark = pytest.mark.slow

CLIENTS_ID = "0af7651916cd43dd8448eb211c80319c"
CALLERS_SPAN = "b7ad6b7169203331"


class Collector(BaseHTTPRequestHandler):
    spans: ClassVar[list[Span]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        body = gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
        received = ExportTraceServiceRequest.FromString(body)
        self.spans.extend(
            span
            for resource in received.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
            if self.path == "/v1/traces"
        )
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[str]:
    Collector.spans.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def traced(settings: Settings, collector: str) -> Iterator[Service]:
    # The default delay of the exporter is five seconds.
    with running(settings, ONTIME_TRACES_URL=collector, OTEL_BSP_SCHEDULE_DELAY="100") as service:
        yield service


def spans_of(trace_id: str) -> dict[str, Span]:
    return {span.name: span for span in list(Collector.spans) if span.trace_id.hex() == trace_id}


def attributes(span: Span) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_a_request_is_a_trace_with_the_steps_of_its_batch(traced: Service) -> None:
    status, answer = traced.ask("POST", "/v1/predictions", [MORNING, MORNING], **{"X-Request-ID": CLIENTS_ID})
    wait_for(lambda: len(spans_of(CLIENTS_ID)) == 4)

    assert (status, len(answer)) == (200, 2)
    spans = spans_of(CLIENTS_ID)
    request = spans.pop("POST /v1/predictions")
    assert (request.parent_span_id, request.kind) == (b"", Span.SpanKind.SPAN_KIND_SERVER)
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/v1/predictions",
        "http.response.status_code": 200,
        "ontime.request_id": CLIENTS_ID,
        "ontime.batch.entities": 2,
    }
    steps = sorted(spans.values(), key=lambda span: span.start_time_unix_nano)
    assert [span.name for span in steps] == ["look-up", "model", "commit"]
    assert {span.parent_span_id for span in steps} == {request.span_id}
    moments = [request.start_time_unix_nano, *(moment for span in steps for moment in
               (span.start_time_unix_nano, span.end_time_unix_nano)), request.end_time_unix_nano]  # fmt: skip
    assert moments == sorted(moments)


def test_the_access_log_has_the_trace_id_as_the_request_id(traced: Service) -> None:
    traced.post("/v1/predictions", MORNING)
    wait_for(lambda: len(Collector.spans) >= 4)
    traced.stop()

    lines = [json.loads(line) for line in traced.output().splitlines() if '"route":"/v1/predictions"' in line]
    assert [line["request_id"] for line in lines] == list({span.trace_id.hex() for span in Collector.spans})


def test_a_callers_trace_is_continued(traced: Service) -> None:
    traced.ask("POST", "/v1/predictions", MORNING, traceparent=f"00-{CLIENTS_ID}-{CALLERS_SPAN}-01")
    wait_for(lambda: len(spans_of(CLIENTS_ID)) == 4)

    assert spans_of(CLIENTS_ID)["POST /v1/predictions"].parent_span_id.hex() == CALLERS_SPAN


def test_a_rejected_request_is_a_trace_and_a_health_check_is_not(traced: Service) -> None:
    traced.ask("GET", "/health/live")
    traced.ask("POST", "/v1/predictions", {"wrong": 1}, **{"X-Request-ID": CLIENTS_ID})
    wait_for(lambda: bool(Collector.spans))

    (span,) = Collector.spans
    assert attributes(span)["http.response.status_code"] == 422


def test_spans_that_wait_are_sent_when_the_service_stops(settings: Settings, collector: str) -> None:
    with running(settings, ONTIME_TRACES_URL=collector, OTEL_BSP_SCHEDULE_DELAY="600000") as service:
        service.post("/v1/predictions", MORNING)
        assert Collector.spans == []
        service.stop()

    assert len(Collector.spans) == 4


def test_without_its_collector_the_service_answers(settings: Settings) -> None:
    with running(settings, ONTIME_TRACES_URL="http://127.0.0.1:9/v1/traces", OTEL_BSP_SCHEDULE_DELAY="50") as service:
        answers = [service.ask("POST", "/v1/predictions", MORNING)[0] for _ in range(20)]
        service.stop()

    assert answers == [200] * 20


def test_a_sampler_of_opentelemetry_is_used(settings: Settings, collector: str) -> None:
    with running(settings, ONTIME_TRACES_URL=collector, OTEL_TRACES_SAMPLER="always_off") as service:
        service.post("/v1/predictions", MORNING)
        service.stop()

    assert Collector.spans == []


def test_without_the_packages_the_setting_is_refused(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setitem(sys.modules, "serving.tracing", None)
    with_traces = settings.model_copy(update={"traces_url": "http://127.0.0.1:4318/v1/traces"})

    with pytest.raises(BadSettings, match="make image TRACES=1"):
        app.create_app(with_traces)


def test_without_the_setting_none_of_its_packages_is_imported(settings: Settings) -> None:
    service = Service(settings, (sys.executable, "-X", "importtime", "-m", "serving")).wait_until_ready()
    service.post("/v1/predictions", MORNING)
    service.stop()
    imported = service.output()

    assert "serving.middleware" in imported
    assert "opentelemetry.sdk" not in imported
    assert "serving.tracing" not in imported
