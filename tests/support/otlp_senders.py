"""Ways to send OTLP: by the exporters of OpenTelemetry, and by hand for what they would never send."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
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
    """A tracer whose spans go out one by one."""
    provider = TracerProvider(resource=Resource({"service.name": service}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("test")


def agent_trace(spans: int = 2, *, text: str = "") -> Sequence[ReadableSpan]:
    """The ended spans of one trace: an agent and its model calls."""
    kept = InMemorySpanExporter()
    tracer = tracer_of("shop", kept)
    with tracer.start_as_current_span("agent", attributes=AGENT):
        for _ in range(spans - 1):
            with tracer.start_as_current_span("chat", attributes={**CHAT, **({"note": text} if text else {})}):
                pass
    return kept.get_finished_spans()


def body_of(spans: Sequence[ReadableSpan]) -> bytes:
    """The same as a request of OTLP/HTTP."""
    body: bytes = encode_spans(spans).SerializeToString()
    return body


def post(url: str, body: bytes, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """One request, in protobuf unless the headers say otherwise."""
    headers = {"Content-Type": "application/x-protobuf", **(headers or {})}
    return httpx.post(f"{url}/v1/traces", content=body, headers=headers, timeout=60)


def resident_kb(process: int | None = None) -> int:
    """Resident memory of a process."""
    with open(f"/proc/{process or os.getpid()}/statm") as file:
        return int(file.read().split()[1]) * 4
