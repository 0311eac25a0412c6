"""Recovery of traces whose process died: their ended spans are sent, marked as incomplete."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from pandaprobe_otel.assembly.span_record import decode_span
from pandaprobe_otel.assembly.trace_buffer import Memory, Part, Stage
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.spool.rows import JournalRow, TraceState
from pandaprobe_otel.mapping.ids import trace_uuid

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from pandaprobe_otel.assembly.encoder import PartEncoder

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
    rows: Sequence[JournalRow], states: Sequence[TraceState], encoder: Callable[[], PartEncoder]
) -> list[Parcel]:
    """Return the parcels of all traces in a journal. Never raises: unreadable traces are left out."""
    parcels: list[Parcel] = []
    for found in _by_trace(rows, states):
        try:
            parcels += _parcels(found, encoder())
        except Exception:  # protects the other traces: they must be sent even if one cannot be read
            _logger.exception("A trace of a process that died could not be read; please report this")
    return parcels


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


def _parcels(found: _Found, encoder: PartEncoder) -> list[Parcel]:
    state = found.state
    if not found.ended and not state.running:
        return []  # nothing had ended since the last part
    has_root = any(span.parent is None or span.parent.is_remote for span in found.ended)
    is_incomplete = bool(found.open or state.open_spans or state.running or not (has_root or state.posted))
    spans = (*found.ended, *(_closed(span, found) for span in found.open))
    parcels = encoder.encode(_part(state, spans)) if spans else []
    if not is_incomplete:
        return parcels
    if state.running and not any(parcel.step is Step.FINISH for parcel in parcels):
        parcels.append(Parcel(step=Step.FINISH, trace_id=trace_uuid(int(state.trace_id, 16))))
    return [_marked(parcel) for parcel in parcels]


def _part(state: TraceState, spans: tuple[ReadableSpan, ...]) -> Part:
    parents = [span.parent for span in spans]
    has_remote_root = any(parent is not None and parent.is_remote for parent in parents)
    return Part(
        trace_id=int(state.trace_id, 16),
        stage=Stage.LAST if state.running else Stage.MORE if state.posted else Stage.WHOLE,
        ended=spans,
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
    """Return an open root as ended with an error, at the last known end of a span of its trace."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Status, StatusCode

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


def _marked(parcel: Parcel) -> Parcel:
    if parcel.step is Step.APPEND and not parcel.is_remote:
        return parcel  # has no fields of the trace
    fields: Mapping[str, Any] = orjson.loads(parcel.fields)
    before: Mapping[str, Any] = fields.get("metadata") or {}
    metadata = {**before, INCOMPLETE_KEY: INCOMPLETE}
    return replace(parcel, fields=orjson.dumps({**fields, "status": "ERROR", "metadata": metadata}), is_error=True)
