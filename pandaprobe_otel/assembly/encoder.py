"""Encoder of trace segments as requests: spans are selected, mapped and encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from pandaprobe_otel.assembly.remote_parents import joined
from pandaprobe_otel.assembly.span_filter import SpanFilter
from pandaprobe_otel.assembly.trace_buffer import Stage, TraceSegment
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.sampling import SAMPLE_RATE_KEY, randomness
from pandaprobe_otel.mapping import MappingOptions, SpanView, map_views
from pandaprobe_otel.mapping.evaluation_results import evaluation_scores
from pandaprobe_otel.mapping.ids import trace_uuid
from pandaprobe_otel.mapping.outgoing import MappedTrace
from pandaprobe_otel.mapping.sdk_span import parent_of, read_ended, read_span

if TYPE_CHECKING:
    from pandaprobe_otel.config.resolve import Config
    from pandaprobe_otel.delivery.ledger import Ledger

_FINAL_FIELDS: Final = ("status", "output", "ended_at", "session_id", "user_id", "metadata", "tags")
"""Fields that the end of a running trace changes. The name and the start stay; PATCH does not accept a start."""
_FIELDS_OF_THE_ROOT: Final = ("name", "input", "environment", "release")
"""Further fields that a root changes if it arrives after its trace was sent."""
UNFINISHED_KEY: Final = "pandaprobe_otel.unfinished"
"""Metadata key for the names of spans that had not ended when their trace was sent."""
_MOST_UNFINISHED: Final = 20
_COPIED_BELOW: Final = 16 << 10


class SegmentEncoder:
    """Encoder of a segment as the requests that deliver it. Changes only the ledger and the trace's memory."""

    def __init__(self, *, span_filter: SpanFilter, options: MappingOptions, ledger: Ledger, sample_rate: float) -> None:
        self._filter = span_filter
        self._options = options
        self._ledger = ledger
        self._sample_rate = sample_rate

    def encode(self, segment: TraceSegment) -> list[Parcel]:
        """Return the requests of a segment in sending order; none if no span is wanted."""
        if randomness(segment.trace_id) < 1.0 - self._sample_rate:
            self._ledger.dropped("sampled_out", len(segment.ended))
            return []
        ended = segment.ended
        views: list[SpanView] = []
        for span in ended:
            view = read_ended(span)
            views.append(joined(view, parent_of(span)) if view.parent_is_remote else view)
        open_views: list[SpanView] = []
        for running in segment.open:
            view = read_span(running)
            open_views.append(joined(view, running.parent) if view.parent_is_remote else view)
        if not segment.memory.posted and not self._filter.is_wanted(views + open_views):
            self._ledger.dropped("filtered", len(views))
            left_out = {view.span_id: view.parent_id for view in views}
            segment.memory.parents = {**(segment.memory.parents or {}), **left_out}
            return []
        sent = self._filter.keep(ended, views, open_views, segment.memory)
        if len(sent) < len(views):
            self._ledger.dropped("filtered", len(views) - len(sent))
        if segment.shown:
            shown = self._filter.shown([view for view in open_views if view.span_id in segment.shown], segment.memory)
            self._ledger.ended(len(shown))  # an open span is sent twice: now and at its end
            sent += shown
        if not sent:
            return []
        requests = self._requests(segment, sent)
        for body in evaluation_scores(sent, segment.logs, self._options):
            score, trace_id, name = orjson.dumps(body), body["trace_id"], body["name"]
            requests.append(Parcel(step=Step.SCORE, trace_id=trace_id, fields=score, name=name))
        return requests

    def _requests(self, segment: TraceSegment, views: Sequence[SpanView]) -> list[Parcel]:
        mapped = map_views(views, segment.logs, whole=segment.stage is Stage.WHOLE, options=self._options)
        spans = mapped.encoded_spans
        if mapped.merged:
            self._ledger.dropped("filtered", len(mapped.merged))
            segment.memory.parents = {**(segment.memory.parents or {}), **mapped.merged}
        memory, trace_id = segment.memory, mapped.trace.get("trace_id") or trace_uuid(segment.trace_id)
        is_error = mapped.trace.get("status") == "ERROR"
        name = str(mapped.trace.get("name", ""))
        memory.posted = True
        if memory.created and not segment.is_remote:
            requests = [Parcel(step=Step.APPEND, trace_id=trace_id, spans=spans, name=name, is_error=is_error)]
            if segment.stage is Stage.LAST:
                final = self._final_fields(segment, mapped)
                memory.running = memory.lacks_root = False
                requests.append(Parcel(step=Step.FINISH, trace_id=trace_id, fields=final, name=name))
            return requests
        fields = dict(mapped.trace)
        if self._sample_rate < 1.0:  # so that counts can be scaled back
            fields["metadata"] = {**(fields.get("metadata") or {}), SAMPLE_RATE_KEY: self._sample_rate}
        if segment.stage is Stage.WHOLE and (segment.open or segment.abandoned):
            # These spans did not end in time; a span that ends later is appended.
            names = [*(span.name for span in segment.open), *segment.abandoned][:_MOST_UNFINISHED]
            fields["metadata"] = {**(fields.get("metadata") or {}), UNFINISHED_KEY: names}
        if segment.stage is Stage.FIRST and not segment.is_remote:
            fields.update(status="RUNNING", ended_at=None)
            memory.running = True
        memory.created = not segment.is_remote
        memory.lacks_root = not segment.is_remote and not memory.has_root
        memory.had_input = fields.get("input") is not None
        memory.tags = tuple(fields.get("tags") or ())
        return [
            Parcel(
                step=Step.APPEND if segment.is_remote else Step.CREATE,
                trace_id=trace_id,
                fields=mapped.encoded_trace if fields == mapped.trace else _exact(orjson.dumps(fields)),
                spans=spans,
                name=name,
                is_error=is_error,
                is_remote=segment.is_remote,
                duration_s=_duration_s(views),
                sample_rate=self._sample_rate,
            )
        ]

    @staticmethod
    def _final_fields(segment: TraceSegment, mapped: MappedTrace) -> bytes:
        names = (*_FINAL_FIELDS, *_FIELDS_OF_THE_ROOT) if segment.memory.lacks_root else _FINAL_FIELDS
        fields: dict[str, Any] = {key: mapped.trace[key] for key in names if mapped.trace.get(key)}
        if segment.memory.tags and "tags" in fields:  # PATCH replaces tags
            fields["tags"] = sorted({*segment.memory.tags, *fields["tags"]})
        root = _root_of(mapped)
        if root.get("input") is not None and mapped.trace.get("input") is not None and not segment.memory.had_input:
            fields["input"] = mapped.trace["input"]
        return _exact(orjson.dumps(fields))


def _duration_s(views: Sequence[SpanView]) -> float:
    first, last = views[0].start_ns, 0
    for view in views:
        start = view.start_ns
        end = start if view.end_ns is None else view.end_ns
        if start < first:
            first = start
        if end > last:
            last = end
    return max(last - first, 0) / 1e9


def _exact(encoded: bytes) -> bytes:
    """Return a copy in memory of the exact size: orjson allocates at least 4 KB for any result (measured)."""
    return bytes(memoryview(encoded)) if len(encoded) < _COPIED_BELOW else encoded


def _root_of(mapped: MappedTrace) -> Mapping[str, Any]:
    return next((span for span in mapped.spans if span.get("parent_span_id") is None), dict[str, Any]())


def encoder_for(config: Config, options: MappingOptions, ledger: Ledger, *, is_marked: bool) -> SegmentEncoder:
    """Return an encoder for these settings."""
    return SegmentEncoder(
        span_filter=SpanFilter(config.spans, is_marked=is_marked),
        options=options,
        ledger=ledger,
        sample_rate=config.sample_rate,
    )
