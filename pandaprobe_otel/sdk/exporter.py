"""The span exporter, for pipelines that are built from a BatchSpanProcessor or by environment variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

from opentelemetry import trace
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from pandaprobe_otel.config.resolve import ExportSettings, settings_of_a_piece
from pandaprobe_otel.pipeline import Pipeline, open_pipeline
from pandaprobe_otel.sdk.pieces import Piece, choose

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan


class PandaProbeSpanExporter(Piece, SpanExporter):
    """Exports to PandaProbe from any span processor.

    An exporter sees only ended spans, so a trace counts as complete when its root has arrived and nothing followed
    for five seconds. `PandaProbeSpanProcessor` knows it exactly and is the better choice where there is one.
    The arguments are those of `PandaProbeSpanProcessor`.
    """

    sees_starts = False

    def __init__(self, *, pipeline: Pipeline | None = None, **settings: Unpack[ExportSettings]) -> None:
        if pipeline is None:
            pipeline = open_pipeline(settings_of_a_piece(settings), counts_starts=False)
        self.pipeline = pipeline
        self._seen: Any = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take over ended spans; never waits for the network, so it always succeeds."""
        # Only the global provider can be found from here; a processor of ours in any other looks for itself.
        beside: Any = getattr(trace.get_tracer_provider(), "_active_span_processor", None)
        if self._seen is not (seen := getattr(beside, "_span_processors", None)):
            self._seen = seen
            choose(beside)
        if not self.stands_aside:
            for span in spans:
                self.pipeline.ended(span)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Deliver what can be delivered within the shutdown timeout, then stop."""
        self.pipeline.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver every trace whose root has arrived; False when that took longer than the timeout."""
        return self.pipeline.flush(timeout_millis / 1000)
