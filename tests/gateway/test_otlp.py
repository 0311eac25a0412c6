"""Spans from OpenTelemetry's own exporters and other OTLP clients, over both protocols, as PandaProbe traces."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.propagate import extract, inject
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from otlp_senders import AGENT, CHAT, agent_trace, body_of, post, tracer_of
from pandaprobe_otel.gateway import Gateway
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.mapping.ids import trace_uuid


def over_http(gateway: Gateway) -> SpanExporter:
    """Return an exporter as an app configures it for protobuf."""
    return HttpExporter(endpoint=f"{gateway.url}/v1/traces")


def over_grpc(gateway: Gateway) -> SpanExporter:
    """Return an exporter as an app configures it for gRPC, with compression."""
    from grpc import Compression

    return GrpcExporter(endpoint=f"127.0.0.1:{gateway.grpc_port}", insecure=True, compression=Compression.Gzip)


def arrived(server: LocalServer, spans: Any) -> dict[str, Any]:
    """Return the trace of these spans as PandaProbe shows it."""
    trace_id = trace_uuid(spans[0].context.trace_id)
    headers = {"X-API-Key": server.api_key, "X-Project-Name": "default"}
    answer = httpx.get(f"{server.url}/traces/{trace_id}", headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    trace: dict[str, Any] = answer.json()
    return trace


def flush(gateway: Gateway) -> None:
    """Flush the gateway and assert that it succeeds."""
    assert gateway.pipeline is not None
    assert gateway.pipeline.flush(60)


@pytest.mark.parametrize("exporter", [over_http, over_grpc])
def test_exporters_reach_it(
    gateway: Gateway, shared_server: LocalServer, exporter: Callable[[Gateway], SpanExporter]
) -> None:
    """Spans of OpenTelemetry's exporters arrive with kinds, tokens, messages and the service."""
    sender = exporter(gateway)
    spans = agent_trace()
    assert sender.export(spans) is SpanExportResult.SUCCESS
    sender.shutdown()
    flush(gateway)
    trace = arrived(shared_server, spans)
    root, chat = sorted(trace["spans"], key=lambda span: span["parent_span_id"] is not None)
    assert (root["kind"], chat["kind"]) == ("AGENT", "LLM")
    assert chat["parent_span_id"] == root["span_id"]
    assert chat["token_usage"]["prompt_tokens"] == 12
    assert "where is it?" in json.dumps(chat["input"])
    assert trace["status"] == "COMPLETED"


def test_drops_of_the_services_own_sdk_are_counted(gateway: Gateway, shared_server: LocalServer) -> None:
    """The numbers of attributes, events and links dropped by the service's SDK are in the span's metadata."""
    spans = agent_trace()
    request: Any = encode_spans(spans)
    for span in request.resource_spans[0].scope_spans[0].spans:
        span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count = 3, 72, 1
        span.events.add(name="step", dropped_attributes_count=2)
    answer = post(gateway.url, request.SerializeToString())
    assert answer.status_code == 200
    flush(gateway)
    for span in arrived(shared_server, spans)["spans"]:
        metadata = span["metadata"]
        assert [metadata[f"dropped_{what}"] for what in ("attributes", "events", "links")] == [3, 72, 1]
        assert metadata["events"] == [{"name": "step", "attributes": {"…": "[cut 2 of 2 keys]"}}]


def test_a_compressed_body(gateway: Gateway, shared_server: LocalServer) -> None:
    """A body may be compressed, as a Collector does."""
    spans = agent_trace(20)
    answer = post(gateway.url, gzip.compress(body_of(spans)), {"Content-Encoding": "gzip"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-protobuf"
    flush(gateway)
    assert len(arrived(shared_server, spans)["spans"]) == 20


def test_a_service_whose_spans_come_first_has_a_parent(gateway: Gateway, shared_server: LocalServer) -> None:
    """The HTTP span above a service's spans stays as parent, even if it comes later; other HTTP spans are removed."""
    caller, called = InMemorySpanExporter(), InMemorySpanExporter()
    front, back = tracer_of("front", caller), tracer_of("back", called)
    http, headers = {"http.request.method": "GET"}, dict[str, str]()
    with front.start_as_current_span("agent", attributes=AGENT):
        with front.start_as_current_span("elsewhere", kind=SpanKind.CLIENT, attributes=http):
            pass
        with front.start_as_current_span("GET", kind=SpanKind.CLIENT, attributes=http):
            inject(headers)
            with back.start_as_current_span("search", context=extract(headers), attributes=CHAT):
                pass
    assert gateway.pipeline is not None
    assert post(gateway.url, body_of(called.get_finished_spans())).status_code == 200
    assert not gateway.pipeline.flush(0.1)  # the spans wait for the root, which another process may post
    assert post(gateway.url, body_of(caller.get_finished_spans())).status_code == 200
    flush(gateway)
    trace = arrived(shared_server, caller.get_finished_spans())
    by_name = {span["name"]: span for span in trace["spans"]}
    assert sorted(by_name) == ["GET", "agent", "search"]
    assert by_name["search"]["parent_span_id"] == by_name["GET"]["span_id"]
    assert by_name["GET"]["parent_span_id"] == by_name["agent"]["span_id"]


def test_a_root_that_comes_late_names_the_trace(gateway: Gateway, shared_server: LocalServer) -> None:
    """Spans that were sent before their root get the trace's name and status when the root comes."""
    chat, root = agent_trace()
    assert post(gateway.url, body_of([chat])).status_code == 200
    flush(gateway)
    assert post(gateway.url, body_of([root])).status_code == 200
    flush(gateway)
    trace = arrived(shared_server, [root])
    assert len(trace["spans"]) == 2
    assert (trace["name"], trace["status"]) == ("agent", "COMPLETED")


def test_other_signals_get_the_path_for_traces(gateway: Gateway) -> None:
    """A request for metrics gets 404 with the path for traces, since PandaProbe keeps no metrics or logs."""
    answer = httpx.post(
        f"{gateway.url}/v1/metrics", content=b"", headers={"Content-Type": "application/json"}, timeout=60
    )
    assert answer.status_code == 404
    assert "/v1/traces" in answer.json()["message"]
    health = httpx.get(f"{gateway.url}/health", timeout=60).json()
    assert health["status"] == "ok"
    assert health["spans_accepted"] >= 0
