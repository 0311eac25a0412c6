"""Span exporter, for pipelines that are built with a BatchSpanProcessor or from environment variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from pandaprobe_otel.sdk.processor import SpanReceiver, choose

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan


class PandaProbeSpanExporter(SpanReceiver, SpanExporter):
    """Exporter to PandaProbe for any span processor.

    An exporter sees only ended spans, so a trace counts as complete when its root has arrived and no span followed
    for five seconds. `PandaProbeSpanProcessor` knows exactly when a trace is complete: prefer it where you can.
    The arguments are those of `PandaProbeSpanProcessor`.
    """

    sees_starts = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take over ended spans; always succeeds, because it never waits for the network."""
        # An exporter can find only the global provider. In other providers, our processor makes this check.
        beside: Any = getattr(trace.get_tracer_provider(), "_active_span_processor", None)
        if self._seen is not (seen := getattr(beside, "_span_processors", None)):
            self._seen = seen
            choose(beside)
        if not self.stands_aside:
            for span in spans:
                self.pipeline.ended(span)
        return SpanExportResult.SUCCESS
