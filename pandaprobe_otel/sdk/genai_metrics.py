"""OpenTelemetry's GenAI metrics, computed from the spans of any instrumentation.

The instruments, their units, attributes and buckets are those of the semantic conventions for generative AI metrics
(semantic-conventions-genai, July 2026).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.metrics import Histogram, MeterProvider
from opentelemetry.sdk.trace import SpanProcessor

from pandaprobe_otel.mapping.exact_types import type_of
from pandaprobe_otel.mapping.mapped_span import MappedSpan, mapped_span
from pandaprobe_otel.mapping.options import MappingOptions
from pandaprobe_otel.mapping.sdk_span import read_span
from pandaprobe_otel.mapping.span_fields import first_token_ns
from pandaprobe_otel.mapping.span_view import SpanView
from pandaprobe_otel.mapping.stages import mapped_spans
from pandaprobe_otel.process.guard import failed

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

_OPERATIONS: Final = {"LLM": "chat", "EMBEDDING": "embeddings"}
"""Kinds of spans that are model calls, and their operation if no attribute names it."""
_TOKEN_BUCKETS: Final = tuple(4**power for power in range(14))
_SECOND_BUCKETS: Final = tuple(2**power / 100 for power in range(14))
_FIRST_CHUNK_BUCKETS: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
_NUMBERS: Final = frozenset({int, float, bool})
_MAX_TEXT: Final = 1024
"""Longest text that is read. Names and usage objects are shorter; messages are longer or not needed here."""
_METADATA_ONLY: Final = MappingOptions(capture="metadata")
_ENDED: Final = -1
"""Mark of a span that is not open. No span has a negative id."""
_MAX_OPEN_SPANS: Final = 100_000
"""Bound on open spans whose parents are remembered. Later spans are counted without regard to their parents."""


class GenAIMetricsProcessor(SpanProcessor):
    """Processor that records tokens, duration and time to the first chunk of each model call.

    Every model call counts once, whether or not PandaProbe samples it. If a framework's span and the client's span
    below it describe the same call, the inner one counts. Spans that their `TracerProvider` does not record
    are not seen.

    Args:
        meter_provider: provider of the instruments; the app chooses the readers and views.
    """

    def __init__(self, meter_provider: MeterProvider) -> None:
        self._parents: dict[int, int | None] = {}
        """Parents of open spans, by span id."""
        self._counted: set[int] = set()
        """Open spans below which a model call was counted."""
        self._instruments: _Instruments | None = None
        self.record_with(meter_provider)

    def record_with(self, meter_provider: MeterProvider | None) -> None:
        """Record with the instruments of this provider from now on; with None, stop."""
        self._instruments = None if meter_provider is None else _Instruments(meter_provider)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Remember the span's parent until it ends."""
        if self._instruments is not None and len(self._parents) < _MAX_OPEN_SPANS:
            parent = span.parent
            self._parents[span.get_span_context().span_id] = None if parent is None else parent.span_id

    def on_end(self, span: ReadableSpan) -> None:
        """Record the span if it is a model call."""
        try:
            self._end(span)
        except Exception as error:  # noqa: BLE001 - protects the app: its span must end, whatever an attribute holds
            failed("GenAI metrics", error)

    def _end(self, span: ReadableSpan) -> None:
        instruments, context = self._instruments, span.context
        if context is None:
            return
        parent = self._parents.pop(context.span_id, None)
        is_counted = context.span_id in self._counted
        self._counted.discard(context.span_id)
        if instruments is None or is_counted:
            return
        view = _without_content(read_span(span))
        if mapped_span(view).kind in _OPERATIONS:
            [call] = mapped_spans([view], _METADATA_ONLY)
            instruments.record(call)
            self._mark_around(parent)

    def _mark_around(self, parent: int | None) -> None:
        """Mark the open spans around a counted call, so that no span of the same call is counted again."""
        while parent is not None and parent not in self._counted and parent in self._parents:
            self._counted.add(parent)
            if (around := self._parents.get(parent, _ENDED)) == _ENDED:  # in another thread, just now
                self._counted.discard(parent)
                return
            parent = around


class _Instruments:
    """Histograms of one meter provider."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter("pandaprobe_otel.genai")

        def histogram(name: str, unit: str, description: str, buckets: tuple[float, ...]) -> Histogram:
            return meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=buckets)

        self._tokens = histogram(
            "gen_ai.client.token.usage", "{token}", "Number of input and output tokens used", _TOKEN_BUCKETS
        )
        self._duration = histogram(
            "gen_ai.client.operation.duration", "s", "Duration of GenAI operations", _SECOND_BUCKETS
        )
        self._first_chunk = histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "Time from the request until the first chunk of a stream",
            _FIRST_CHUNK_BUCKETS,
        )

    def record(self, call: MappedSpan) -> None:
        """Record the values that the span of a model call has. A missing value is left out, never recorded as zero."""
        attributes, view = _attributes(call), call.view
        if view.end_ns is not None:
            self._duration.record(max(view.end_ns - view.start_ns, 0) / 1e9, {**attributes, **_error(call)})
        if (first := first_token_ns(call)) is not None:
            self._first_chunk.record((first - view.start_ns) / 1e9, attributes)
        for key, token_type in (("prompt_tokens", "input"), ("completion_tokens", "output")):
            if call.usage is not None and key in call.usage:
                self._tokens.record(call.usage[key], {**attributes, "gen_ai.token.type": token_type})


def _attributes(call: MappedSpan) -> dict[str, str | int]:
    """Return the attributes that the conventions require or recommend, if the span has them."""
    raw = call.view.attributes
    model = call.body.get("model")
    told: dict[str, Any] = {
        "gen_ai.operation.name": raw.get("gen_ai.operation.name") or _OPERATIONS[call.kind],
        "gen_ai.provider.name": call.metadata.get("provider"),
        "gen_ai.request.model": raw.get("gen_ai.request.model") or call.metadata.get("request_model") or model,
        "gen_ai.response.model": raw.get("gen_ai.response.model"),
        "server.address": raw.get("server.address"),
        "server.port": raw.get("server.port"),
    }
    return {name: value for name, value in told.items() if type_of(value) in (str, int)}


def _error(call: MappedSpan) -> dict[str, Any]:
    if call.body["status"] != "ERROR":
        return {}
    metadata = call.metadata
    return {"error.type": str(metadata.get("error_type") or metadata.get("exception_type") or "_OTHER")}


def _without_content(view: SpanView) -> SpanView:
    """Return the view with numbers, short texts and events only, because reading content takes time."""
    kept = {name: value for name, value in view.attributes.items() if _is_short(value)}
    return view if len(kept) == len(view.attributes) else dataclasses.replace(view, attributes=kept)


def _is_short(value: Any) -> bool:
    kind = type_of(value)
    return kind in _NUMBERS or (kind is str and len(value) <= _MAX_TEXT)
