"""Ways to send OTLP: OpenTelemetry's exporters, and hand-made requests that no exporter sends."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk"}
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "m",
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 3,
    "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"where is it?"}]}]',
    "gen_ai.output.messages": '[{"role":"assistant","parts":[{"type":"text","content":"on its way"}]}]',
}


def tracer_of(service: str, exporter: SpanExporter) -> Any:
    """Return a tracer whose spans are exported one by one."""
    provider = TracerProvider(resource=Resource({"service.name": service}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("test")


def agent_trace(spans: int = 2, *, text: str = "") -> Sequence[ReadableSpan]:
    """Return the ended spans of one trace: an agent and its model calls."""
    kept = InMemorySpanExporter()
    tracer = tracer_of("shop", kept)
    with tracer.start_as_current_span("agent", attributes=AGENT):
        for _ in range(spans - 1):
            with tracer.start_as_current_span("chat", attributes={**CHAT, **({"note": text} if text else {})}):
                pass
    return kept.get_finished_spans()


def body_of(spans: Sequence[ReadableSpan]) -> bytes:
    """Return these spans as an OTLP/HTTP request."""
    body: bytes = encode_spans(spans).SerializeToString()
    return body


def post(url: str, body: bytes, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """Send one request, in protobuf unless the headers say otherwise."""
    headers = {"Content-Type": "application/x-protobuf", **(headers or {})}
    return httpx.post(f"{url}/v1/traces", content=body, headers=headers, timeout=60)


def resident_kb() -> int:
    """Return the resident memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4


def fresh_peak_kb() -> Callable[[], int]:
    """Begin to measure this process's memory; return a function that returns its highest increase since then."""
    import gc

    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = resident_kb()

    def peak() -> int:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) - before

    return peak


def varint(number: int) -> bytes:
    """Return the number as Protobuf encodes it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def delimited(field: int, content: bytes) -> bytes:
    """Return a Protobuf field that holds bytes."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def request_of_span(span: bytes) -> bytes:
    """Return a request with one span that was encoded by hand."""
    return delimited(1, delimited(2, delimited(2, span)))


def as_json(request: Any) -> bytes:
    """Return the request in OTLP's JSON encoding, with hexadecimal ids."""
    data = MessageToDict(request)
    for resource in data["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in ("traceId", "spanId", "parentSpanId"):
                    span[name] = base64.b64decode(span.get(name, "")).hex()
    return json.dumps(data).encode()
