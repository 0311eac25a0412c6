"""Recovery of traces after their process died: their ended spans are sent and marked as incomplete."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import orjson
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Status, StatusCode

from pandaprobe_otel.assembly.span_record import decode_span
from pandaprobe_otel.assembly.trace_buffer import Memory, Stage, TraceSegment
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.spool.rows import JournalRow, TraceState
from pandaprobe_otel.mapping.ids import trace_uuid
from pandaprobe_otel.mapping.sdk_span import fields_of

if TYPE_CHECKING:
    from pandaprobe_otel.assembly.encoder import SegmentEncoder

INCOMPLETE_KEY: Final = "pandaprobe_otel.incomplete"
INCOMPLETE: Final = "process died"

_logger = logging.getLogger("pandaprobe_otel")


@dataclass(slots=True, eq=False)
class _Found:
    """Entries of the journal for one trace."""

    state: TraceState
    ended: list[ReadableSpan] = field(default_factory=list["ReadableSpan"])
    open: list[ReadableSpan] = field(default_factory=list["ReadableSpan"])


def recovered(
    rows: Sequence[JournalRow], states: Sequence[TraceState], encoder: Callable[[], SegmentEncoder]
) -> list[Parcel]:
    """Return the requests of all traces in a journal. Never raises: unreadable traces are left out."""
    requests: list[Parcel] = []
    for found in _by_trace(rows, states):
        try:
            requests += _requests(found, encoder())
        except Exception:  # protects the other traces: they must be sent even if one cannot be read
            _logger.exception("A trace of a process that died could not be read; please report this")
    return requests


def _by_trace(rows: Iterable[JournalRow], states: Iterable[TraceState]) -> list[_Found]:
    found = {state.trace_id: _Found(state) for state in states}
    for row in rows:
        trace = found.setdefault(row.trace_id, _Found(TraceState(trace_id=row.trace_id)))
        try:
            span = decode_span(row.data, json.loads(trace.state.resource))
        except ValueError:
            continue
        (trace.open if row.is_open else trace.ended).append(span)
    return list(found.values())


def _requests(found: _Found, encoder: SegmentEncoder) -> list[Parcel]:
    state = found.state
    if not found.ended and not state.running:
        return []  # nothing had ended since the last segment
    has_root = any(span.parent is None or span.parent.is_remote for span in found.ended)
    is_incomplete = bool(found.open or state.open_spans or state.running or not (has_root or state.posted))
    spans = (*found.ended, *(_closed(span, found) for span in found.open))
    requests = encoder.encode(_segment(state, spans)) if spans else []
    if not is_incomplete:
        return requests
    if state.running and not any(request.step is Step.FINISH for request in requests):
        requests.append(Parcel(step=Step.FINISH, trace_id=trace_uuid(int(state.trace_id, 16))))
    return [_marked(request) for request in requests]


def _segment(state: TraceState, spans: tuple[ReadableSpan, ...]) -> TraceSegment:
    parents = [span.parent for span in spans]
    has_remote_root = any(parent is not None and parent.is_remote for parent in parents)
    return TraceSegment(
        trace_id=int(state.trace_id, 16),
        stage=Stage.LAST if state.running else Stage.MORE if state.posted else Stage.WHOLE,
        ended=tuple(map(fields_of, spans)),
        open=(),
        is_remote=state.is_remote or (has_remote_root and None not in parents),
        memory=Memory(
            posted=state.posted,
            created=state.posted and not state.is_remote,
            running=state.running,
            had_input=state.had_input,
            tags=state.tags,
        ),
    )


def _closed(root: ReadableSpan, found: _Found) -> ReadableSpan:
    """Return an open root as if it had ended with an error, at the last known end of a span of its trace."""
    return ReadableSpan(
        name=root.name,
        context=root.context,
        parent=root.parent,
        resource=root.resource,
        attributes=root.attributes,
        events=root.events,
        links=root.links,
        kind=root.kind,
        instrumentation_scope=root.instrumentation_scope,
        status=Status(StatusCode.ERROR, INCOMPLETE),
        start_time=root.start_time,
        end_time=max([root.start_time or 0, *(span.end_time or 0 for span in found.ended)]),
    )


def _marked(request: Parcel) -> Parcel:
    if request.step is Step.APPEND and not request.is_remote:
        return request  # contains no fields of the trace
    fields: Mapping[str, Any] = orjson.loads(request.fields)
    before: Mapping[str, Any] = fields.get("metadata") or {}
    metadata = {**before, INCOMPLETE_KEY: INCOMPLETE}
    return replace(request, fields=orjson.dumps({**fields, "status": "ERROR", "metadata": metadata}), is_error=True)
