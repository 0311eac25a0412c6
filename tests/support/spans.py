"""Real SDK spans for tests, made by a provider of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

CHAT: Mapping[str, str] = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
HTTP: Mapping[str, str] = {"http.request.method": "GET", "url.path": "/x"}


class SpanMaker:
    """Maker of spans, which can be read while open; ended spans are returned as an exporter sees them."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")

    def start(self, name: str, parent: Span | None = None, attributes: Mapping[str, str] | None = None) -> Span:
        """Start a span below `parent` (a root without one)."""
        context = (
            trace.set_span_in_context(parent) if parent is not None else trace.set_span_in_context(trace.INVALID_SPAN)
        )
        span = self.tracer.start_span(name, context=context, attributes=dict(attributes or {}))
        assert isinstance(span, Span)
        return span

    def start_remote(self, name: str, trace_id: int = 0xABC, parent_id: int = 0xDEF) -> Span:
        """Start a span whose parent is in another process."""
        parent = SpanContext(trace_id, parent_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
        span = self.tracer.start_span(
            name, context=trace.set_span_in_context(NonRecordingSpan(parent)), attributes=CHAT
        )
        assert isinstance(span, Span)
        return span

    def end(self, span: Span) -> ReadableSpan:
        """End a span; return it as a processor's on_end sees it."""
        span.end()
        return self.exporter.get_finished_spans()[-1]


@contextmanager
def provider_with(processor: object) -> Iterator[trace.Tracer]:
    """Yield a tracer whose provider has this one processor; shut the provider down at the end."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)  # type: ignore[arg-type]
    try:
        yield provider.get_tracer("test")
    finally:
        provider.shutdown()
