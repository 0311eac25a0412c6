"""Recorded spans and log records of real instrumentors, converted back to the SDK's objects.

The captures were recorded from real libraries that called a stand-in for the providers. Each file contains the output
of one instrumentor in one scenario.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry._logs import LogRecord
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

DATA = Path(__file__).parent.parent / "mapping" / "data"


@dataclass(frozen=True, slots=True)
class Capture:
    """One capture: its spans by trace, in the order in which they ended, and its log records."""

    name: str
    traces: tuple[tuple[ReadableSpan, ...], ...]
    logs: tuple[LogRecord, ...]


def names() -> list[str]:
    """Return the names of all captures, as `<instrumentor>__<scenario>`."""
    return sorted(path.stem for path in (DATA / "captures").glob("*.json"))


@cache
def capture(name: str) -> Capture:
    """Load one capture."""
    recorded = json.loads((DATA / "captures" / f"{name}.json").read_text(encoding="utf-8"))
    traces: dict[str, list[ReadableSpan]] = {}
    for span in recorded["spans"]:
        traces.setdefault(span["trace_id"], []).append(_span(span, recorded.get("resource", {})))
    return Capture(name, tuple(map(tuple, traces.values())), tuple(map(_log, recorded["logs"])))


def readable_span(
    span: Mapping[str, Any], *, resource: Mapping[str, Any], events: tuple[Event, ...] = ()
) -> ReadableSpan:
    """Make a finished span, as the SDK passes it to an exporter, from its recorded fields."""
    trace_id = int(span["trace_id"], 16)
    parent = span["parent_span_id"]
    return ReadableSpan(
        name=span["name"],
        context=_context(trace_id, span_number(span["span_id"])),
        parent=_context(trace_id, span_number(parent)) if parent else None,
        resource=Resource(dict(resource)),
        attributes={
            key: as_attribute(value, key in span.get("enums", ())) for key, value in span["attributes"].items()
        },
        events=events,
        kind=SpanKind[span["kind"]],
        status=Status(StatusCode[span["status"][0]], span["status"][1]),
        start_time=span["start"],
        end_time=span["end"],
        instrumentation_scope=InstrumentationScope(span["scope"][0] or "", span["scope"][1] or None),
    )


def as_attribute(value: Any, is_enum: bool = False) -> Any:
    """Return a recorded value as the SDK stores it: with tuples for lists, with bytes, or as a member of an enum."""
    if is_enum:
        return Enum("Recorded", {"MEMBER": value}, type=str).MEMBER  # type: ignore[attr-defined]
    if isinstance(value, list):
        return tuple(as_attribute(item) for item in value)
    if isinstance(value, dict):
        if value.keys() == {"__bytes__"}:
            return bytes.fromhex(value["__bytes__"])
        return {key: as_attribute(item) for key, item in value.items()}
    return value


def log_record(name: str | None, trace_id: int, span_id: int, body: Any, attributes: Mapping[str, Any]) -> LogRecord:
    """Make a log record that belongs to a span."""
    context = trace.set_span_in_context(NonRecordingSpan(_context(trace_id, span_id)), Context())
    return LogRecord(context=context, body=body, attributes=dict(attributes), event_name=name)


def _span(span: Mapping[str, Any], resource: Mapping[str, Any]) -> ReadableSpan:
    events = tuple(
        Event(event["name"], as_attribute(event.get("attributes") or {}), event.get("timestamp"))
        for event in span.get("events", ())
    )
    return readable_span(span, resource=span.get("resource", resource), events=events)


def _log(record: Mapping[str, Any]) -> LogRecord:
    return log_record(
        record["event_name"],
        int(record["trace_id"] or "0", 16),
        int(record["span_id"] or "0", 16),
        as_attribute(record["body"]),
        as_attribute(record["attributes"]),
    )


def _context(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def span_number(identity: str) -> int:
    """Return the number of a span id; an id that is a name in letters, as in fixtures, gets its own number."""
    try:
        return int(identity, 16)
    except ValueError:
        return int.from_bytes(identity.encode(), "big")
