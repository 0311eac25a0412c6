"""Fields of a trace, derived from its spans: what `question_and_answer` decides, and the context of the spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

from pandaprobe_otel.mapping.dialect_table import RANKED_FIELDS
from pandaprobe_otel.mapping.mapped_span import MAX_ID, MAX_NAME, MappedSpan, put
from pandaprobe_otel.mapping.options import MappingOptions
from pandaprobe_otel.mapping.privacy import restrict_trace
from pandaprobe_otel.mapping.question_and_answer import question_and_answer
from pandaprobe_otel.mapping.span_view import plain_attributes
from pandaprobe_otel.mapping.text import short_text
from pandaprobe_otel.mapping.values import type_of

_RESOURCE_KEYS: Final = ("service.name", "telemetry.sdk.name", "telemetry.sdk.language", "telemetry.sdk.version")
_SESSION_KEYS: Final = ("session_id", "sessionId", "thread_id", "conversation_id")
_USER_KEYS: Final = ("user_id", "userId")
_NO_METADATA: Final[Mapping[str, Any]] = {}
_IDS: Final = ("session_id", "user_id", "environment", "release")
_LONGEST: Final = (("name", MAX_NAME), *((key, MAX_ID) for key in _IDS))
_OF_ONE_SPAN: Final = (*_IDS, "trace.name", "trace.input", "trace.output", "trace.status")
"""Fields that a trace takes from a single span."""


def trace_fields(spans: Sequence[MappedSpan], root: MappedSpan, options: MappingOptions) -> dict[str, Any]:
    """Return all fields of the trace except its id, times and spans. `spans` is sorted by start."""
    context_spans = [span for span in spans if span.shape.has_context and span is not root]
    if root.shape.has_context:
        context_spans.insert(0, root)  # first, so that the root wins among equal sources
    told: dict[str, Any] = {}  # what these spans say about the trace; the first one wins
    for span in reversed(context_spans):
        told |= span.found
    fields, about = question_and_answer(spans, root, told, context_spans)
    resource = _resource_fields(root.view.resource)
    for key, value in (
        ("session_id", _identity("session_id", _SESSION_KEYS, told, context_spans) if told else None),
        ("user_id", _identity("user_id", _USER_KEYS, told, context_spans) if told else None),
        ("environment", options.environment or told.get("environment") or resource.environment),
        ("release", options.release or told.get("release") or resource.release),
    ):
        if value is not None:
            fields[key] = value
    metadata: dict[str, Any] = _metadata(context_spans) if "trace.metadata" in told else {}
    metadata |= resource.metadata
    metadata |= about
    for key, most in _LONGEST:
        value = fields.get(key, "")
        if len(value) > most:
            fields[key] = short_text(value, most)
            metadata[f"full_{key}"] = value
    if len(context_spans) > 1:
        _keep_others(told, context_spans, fields)
    if tags := _tags(context_spans, root) if "tags" in told or "root_tags" in told else ():
        fields["tags"] = tags
    fields["metadata"] = metadata
    if options.capture != "all":
        restrict_trace(fields, options.capture)
    return fields


def _keep_others(told: Mapping[str, Any], context_spans: Sequence[MappedSpan], fields: Mapping[str, Any]) -> None:
    """Keep a span's values for trace fields in its metadata if they differ from the trace's."""
    for key in _OF_ONE_SPAN:
        if key not in told:
            continue
        sent = told[key] if key.startswith("trace.") else fields.get(key)
        for span in context_spans:
            if key in span.found:
                said = span.found[key][1] if key in RANKED_FIELDS else span.found[key]
                if said != sent:
                    put(span, key.replace(".", "_"), said)


def _identity(
    field: str, keys: Sequence[str], told: Mapping[str, Any], context_spans: Sequence[MappedSpan]
) -> str | None:
    """Return the value from the best attribute of any span, or from the metadata of the first span with such a key.

    Among equal attributes, the root's or the earliest span's wins.
    """
    if field in told:
        best: tuple[int, str] = min(
            [span.found[field] for span in context_spans if field in span.found], key=itemgetter(0)
        )
        return best[1]
    if "metadata" not in told and "trace.metadata" not in told:
        return None
    for span in context_spans:
        for field in ("trace.metadata", "metadata"):
            bag = span.found.get(field, _NO_METADATA)
            for key in keys:
                if text := _text(bag.get(key)):
                    return text
    return None


def _text(value: Any) -> str | None:
    kind = type_of(value)
    if kind is int:
        return str(value)
    return value if kind is str and value else None


class _ResourceFields(NamedTuple):
    """Fields of a trace that come from its resource."""

    resource: Mapping[str, Any]
    environment: str | None
    release: str | None
    metadata: Mapping[str, str]


_newest: _ResourceFields | None = None
"""Fields of the newest resource. A process has one resource, whose attributes never change."""


def _resource_fields(resource: Mapping[str, Any]) -> _ResourceFields:
    global _newest
    known = _newest  # read once, because another thread may replace it
    if known is not None and known.resource is resource:
        return known
    plain = plain_attributes(resource)  # a plain dict, because each access to the SDK's own is a Python call
    environment = _text(plain.get("deployment.environment.name")) or _text(plain.get("deployment.environment"))
    metadata = {key: text for key in _RESOURCE_KEYS if (text := _text(plain.get(key)))}
    fields = _ResourceFields(resource, environment, _text(plain.get("service.version")), metadata)
    if type_of(resource) is not dict:  # the SDK's attributes cannot be changed
        _newest = fields
    return fields


def _tags(context_spans: Sequence[MappedSpan], root: MappedSpan) -> list[str]:
    tags: list[str] = []
    for span in context_spans:
        for field in ("tags", "root_tags") if span is root else ("tags",):
            tags.extend(tag for tag in span.found.get(field, ()) if tag not in tags)
    return tags


def _metadata(context_spans: Sequence[MappedSpan]) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for span in context_spans:
        bag: Mapping[str, Any] = span.found.get("trace.metadata") or {}
        for key, value in bag.items():
            if metadata.setdefault(key, value) != value:
                put(span, f"trace_metadata.{key}", value)
    return metadata
