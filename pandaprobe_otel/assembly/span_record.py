"""OpenTelemetry spans as JSON, and back, for the journal of incomplete traces."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from pandaprobe_otel.mapping import SpanView
from pandaprobe_otel.mapping.secrets_in_texts import without_credentials

_BYTES: Final = "$bytes"
_STRUCTURE: Final = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.system",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.agent.name",
    "gen_ai.tool.name",
    "gen_ai.usage.",
    "openinference.span.kind",
    "pandaprobe.span.kind",
)
"""Attributes that determine the kind of a span without showing content."""


def encode_span(view: SpanView, *, content: bool, scrubs: bool = False) -> bytes:
    """Return the record of a span, ended or not. Without `content`, it has only names, times, models and usage.

    With `scrubs`, well-known credentials in its name, its errors and texts with URLs are replaced, as in traces.
    """
    attributes = view.attributes
    if not content:
        attributes = {key: value for key, value in attributes.items() if key.startswith(_STRUCTURE)}
    name, description, events = view.name, view.status_description, view.events
    if scrubs:
        name, description = _scrubbed("", name), without_credentials(description) if description else None
        attributes = {key: _scrubbed(key, value) for key, value in attributes.items()}
        events = tuple(
            replace(event, attributes={key: _scrubbed(key, value) for key, value in event.attributes.items()})
            for event in events
        )
    record: dict[str, Any] = {
        "name": name,
        "trace_id": f"{view.trace_id:032x}",
        "span_id": f"{view.span_id:016x}",
        "parent_id": None if view.parent_id is None else f"{view.parent_id:016x}",
        "parent_is_remote": view.parent_is_remote,
        "start_ns": view.start_ns,
        "end_ns": view.end_ns,
        "status": view.status_code,
        "description": description if content else None,
        "attributes": attributes,
        "events": [[event.name, event.time_ns, event.attributes] for event in events] if content else [],
        "links": [[f"{link.trace_id:032x}", f"{link.span_id:016x}"] for link in view.links],
        "scope": [view.scope_name, view.scope_version],
        "kind": view.otel_kind,
    }
    return encode_json(record)


def _scrubbed(key: str, value: Any) -> Any:
    is_scrubbed = value.__class__ is str and ("://" in value or key.startswith("exception."))
    return without_credentials(value) if is_scrubbed else value


def decode_span(data: bytes, resource: Mapping[str, Any]) -> ReadableSpan:
    """Return the span of a record. Raises ValueError if the record is invalid."""
    try:
        record: dict[str, Any] = json.loads(data, object_hook=_restore)
        trace_id = int(record["trace_id"], 16)
        parent_id = record["parent_id"]
        code = StatusCode[record["status"]]
        return ReadableSpan(
            name=record["name"],
            context=_context(trace_id, int(record["span_id"], 16)),
            parent=None if parent_id is None else _context(trace_id, int(parent_id, 16), record["parent_is_remote"]),
            resource=Resource(resource),
            attributes=record["attributes"],
            events=[Event(name, attributes, timestamp=time_ns) for name, time_ns, attributes in record["events"]],
            links=[Link(_context(int(trace, 16), int(span, 16))) for trace, span in record["links"]],
            kind=SpanKind[record["kind"]],
            instrumentation_scope=InstrumentationScope(*record["scope"]),
            status=Status(code, record["description"] if code is StatusCode.ERROR else None),
            start_time=record["start_ns"],
            end_time=record["end_ns"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a span: {error!r}") from None


def encode_json(value: Any) -> bytes:
    """Encode plain values as JSON, including bytes, lone surrogates and integers of any size."""
    try:
        return orjson.dumps(value, default=_plain)
    except (TypeError, ValueError):
        return json.dumps(value, default=_plain, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return {_BYTES: base64.b64encode(value).decode()}
    return str(value)


def _restore(value: dict[str, Any]) -> Any:
    return base64.b64decode(value[_BYTES]) if value.keys() == {_BYTES} else value


def _context(trace_id: int, span_id: int, is_remote: bool = False) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote, TraceFlags(TraceFlags.SAMPLED))
