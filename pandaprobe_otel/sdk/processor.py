"""Span processor, which sees spans start and end and so knows exactly when a trace is complete."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Unpack

from opentelemetry.sdk.trace import SpanProcessor

from pandaprobe_otel.assembly.remote_parents import leave_out_strangers, mark
from pandaprobe_otel.capture.trace_context import stamp
from pandaprobe_otel.capture.tracers import are_contexts_shared
from pandaprobe_otel.config.resolve import ExportSettings, receiver_settings
from pandaprobe_otel.pipeline.interface import Pipeline
from pandaprobe_otel.pipeline.opening import open_pipeline
from pandaprobe_otel.sdk.span_receivers import SpanReceiver, choose

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

_logger = logging.getLogger("pandaprobe_otel")


class PandaProbeSpanProcessor(SpanReceiver, SpanProcessor):
    """Processor that assembles, maps and delivers each trace of a `TracerProvider` to PandaProbe.

    Starting or ending a span costs the calling thread one append. Everything else happens in background threads,
    which start with the first span. The constructor sends nothing and never raises: if the settings cannot work (no
    API key), it logs one warning and ignores all spans.

    The settings are those of `init` for the connection, the content and the delivery. All are optional:
    `api_key`, `project_name`, `endpoint`, `environment`, `release`, `spans`, `capture`, `mask`, `compute_cost`,
    `sample_rate`, `spool`, `redis_url`, `live`, `enabled`, `max_queue_bytes`, `max_spool_bytes`,
    `shutdown_timeout_s`.
    """

    sees_starts = True

    def __init__(self, *, pipeline: Pipeline | None = None, **settings: Unpack[ExportSettings]) -> None:
        if pipeline is None:
            pipeline = open_pipeline(receiver_settings(settings), counts_starts=True)
        self._stamp_failed = False
        self._seen: Any = None
        self.lead_to(pipeline)

    def lead_to(self, pipeline: Pipeline) -> None:
        """Pass spans to this pipeline from now on."""
        self.pipeline = pipeline
        self._started = pipeline.started
        self._ended = pipeline.ended
        self._marks = pipeline.selection is not None
        self._leaves_out = pipeline.selection != "all"

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Stamp session, user, tags and metadata of the context on the span, and count it as open.

        If the span may be left out later, mark it, so that its children in other services know its replacement (see
        `remote_parents`).
        """
        try:
            # The SDK replaces this tuple when a processor is added.
            processors: Any = getattr(span, "_span_processor", None)
            if self._seen is not (seen := getattr(processors, "_span_processors", None)):
                self._seen = seen
                choose(processors)
            if self.stands_aside:
                return
            if self._marks and span.parent is not None:
                if are_contexts_shared():
                    leave_out_strangers(span, parent_context)
                mark(span, leaves_out=self._leaves_out)
            stamp(span, parent_context)
        except Exception:  # protects the app: its span must start, whatever the context holds
            if not self._stamp_failed:
                self._stamp_failed = True
                _logger.exception("The context of a span could not be read; please report this")
        self._started(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Pass the ended span to the pipeline."""
        if not self.stands_aside:
            self._ended(span)

    def shutdown(self) -> None:
        """Deliver as much as possible within the shutdown timeout, then stop."""
        self.pipeline.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver every trace whose root has ended; return False if that exceeds the timeout."""
        return self.pipeline.flush(timeout_millis / 1000)
