"""Fields of a trace, derived from its spans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from pandaprobe_otel.mapping.attributes import CANCELLED, TIMED_OUT
from pandaprobe_otel.mapping.content import whole_content
from pandaprobe_otel.mapping.exact_types import type_of
from pandaprobe_otel.mapping.kind_names import MODEL_KINDS, TALKING_KINDS
from pandaprobe_otel.mapping.mapped_span import MappedSpan
from pandaprobe_otel.mapping.options import MappingOptions
from pandaprobe_otel.mapping.privacy import restrict_trace
from pandaprobe_otel.mapping.span_fields import put
from pandaprobe_otel.mapping.span_view import plain_attributes
from pandaprobe_otel.mapping.status import trace_outcome
from pandaprobe_otel.mapping.text import short_text
from pandaprobe_otel.mapping.times import rfc3339
from pandaprobe_otel.mapping.values import is_absent, word

MAX_NAME: Final = 512
MAX_ID: Final = 255
_PROVIDER_TOOLS: Final = frozenset(
    {"server_tool_call", "server_tool_call_response", "server_tool_use", "web_search_tool_result"}
)
_STOPPED: Final = (CANCELLED, TIMED_OUT)
"""Outcomes of a root that make its trace an ERROR: traces have no status for them and must not be COMPLETED."""
_QUESTION_KEYS: Final = ("input", "query", "question", "prompt", "task", "message", "text")
_ANSWER_KEYS: Final = ("output", "answer", "response", "result", "message", "text")
_RESOURCE_KEYS: Final = ("service.name", "telemetry.sdk.name", "telemetry.sdk.language", "telemetry.sdk.version")


def trace_fields(spans: Sequence[MappedSpan], root: MappedSpan, options: MappingOptions) -> dict[str, Any]:
    """Return all fields of the trace except its id, times and spans. `spans` is sorted by start."""
    context_spans = [span for span in spans if span.shape.has_context and span is not root]
    if root.shape.has_context:
        context_spans.insert(0, root)  # first, so that the root wins among equal sources
    fields: dict[str, Any] = {"name": _name(context_spans, spans, root), "status": _status(context_spans, root)}
    resource = _resource_fields(root.view.resource)
    given, asked_in = _input(context_spans, spans, root)
    result, answered_in = _output(context_spans, spans, root)
    for key, value in (
        ("input", given),
        ("output", result),
        ("session_id", _best(context_spans, "session_id") or _from_metadata(context_spans, _SESSION_KEYS)),
        ("user_id", _best(context_spans, "user_id") or _from_metadata(context_spans, _USER_KEYS)),
        ("environment", options.environment or _first(context_spans, "environment") or resource.environment),
        ("release", options.release or _first(context_spans, "release") or resource.release),
    ):
        if value is not None:
            fields[key] = value  # noqa: PERF403 - the order of these keys after name and status is intended
    metadata = {**_metadata(context_spans), **resource.metadata}
    if (ended := trace_outcome(spans, root)) is not None:
        metadata["outcome"] = ended
    for key, span in (("input_from", asked_in), ("output_from", answered_in)):
        if span is not None and options.capture == "all":
            metadata[key] = {"span_id": span.body["span_id"], "name": span.body["name"]}
    if len(fields["name"]) > MAX_NAME:
        metadata["full_name"] = fields["name"]
        fields["name"] = short_text(fields["name"], MAX_NAME)
    for key in ("session_id", "user_id", "environment", "release"):
        value = fields.get(key)
        if value is not None and len(value) > MAX_ID:
            fields[key] = short_text(value, MAX_ID)
            metadata[f"full_{key}"] = value
    if len(context_spans) > 1:
        _keep_others(context_spans, fields)
    tags = _tags(context_spans, root)
    if tags:
        fields["tags"] = tags
    fields["metadata"] = metadata
    restrict_trace(fields, options.capture)
    return fields


def root_of(spans: Sequence[MappedSpan]) -> MappedSpan:
    """Return the root: the earliest span without a parent, else the earliest whose parent is not in this trace.

    `spans` is sorted by start and not empty.
    """
    for span in spans:  # checked first, because it is usually the first span
        if span.view.parent_id is None:
            return span
    ids = {span.view.span_id for span in spans}
    for span in spans:
        if span.view.parent_is_remote or span.view.parent_id not in ids:
            return span
    return spans[0]


def times(spans: Sequence[MappedSpan]) -> tuple[str, str | None]:
    """Return (started_at, ended_at) of the trace: the earliest start and the latest end of the spans sent.

    `spans` is sorted by start and not empty.
    """
    start = spans[0].view.start_ns
    ends = [span.view.end_ns for span in spans if span.view.end_ns is not None]
    # No end is earlier than its own start, so no end is earlier than the first start.
    return rfc3339(start), rfc3339(max(max(ends), start)) if ends else None


def _name(context_spans: Sequence[MappedSpan], spans: Sequence[MappedSpan], root: MappedSpan) -> str:
    name = _first(context_spans, "trace.name")
    if name is None:
        name = _naming_span(spans, root).body["name"]
    return str(name)


def _naming_span(spans: Sequence[MappedSpan], root: MappedSpan) -> MappedSpan:
    return root if root.kind != "OTHER" else _first_of_kind(spans) or root


def _first_of_kind(spans: Sequence[MappedSpan]) -> MappedSpan | None:
    for kinds in ({"AGENT", "CHAIN"}, {"LLM"}):
        for span in spans:
            if span.kind in kinds:
                return span
    return None


def _status(context_spans: Sequence[MappedSpan], root: MappedSpan) -> str:
    explicit = _first(context_spans, "trace.status")
    if explicit is not None:
        return str(explicit)
    if root.body["status"] == "ERROR" or root.found.get("outcome") in _STOPPED:
        return "ERROR"
    return "COMPLETED" if root.view.end_ns is not None else "RUNNING"


Inferred: TypeAlias = tuple[Any, MappedSpan | None]
"""Value, and the span that it is inferred from; the span is None for the root's own value."""

# -- input and output -------------------------------------------------------------------------------------------------


def _input(context_spans: Sequence[MappedSpan], spans: Sequence[MappedSpan], root: MappedSpan) -> Inferred:
    """Return the root's own input or, if it has none, the first question to a span below it."""
    explicit = _first(context_spans, "trace.input")
    if explicit is not None:
        return _explicit(explicit, context_spans, "input"), None
    own = root.body.get("input")
    if (said := _own(own, "user", _QUESTION_KEYS)) is not None:
        return said, None
    for span in spans:
        if span.kind in TALKING_KINDS and (found := _question_to(span)) is not None:
            return found, span
    return (own, None) if own is not None else _of_naming_span("input", spans, root)


def _output(context_spans: Sequence[MappedSpan], spans: Sequence[MappedSpan], root: MappedSpan) -> Inferred:
    """Return the root's own output or, if it has none, the last answer of a span below it."""
    explicit = _first(context_spans, "trace.output")
    if explicit is not None:
        return _explicit(explicit, context_spans, "output"), None
    own = root.body.get("output")
    if (said := _own(own, "assistant", _ANSWER_KEYS)) is not None:
        return said, None
    speakers = sorted(
        (span for span in spans if span.kind in TALKING_KINDS), key=lambda span: span.view.end_ns or 0, reverse=True
    )
    for span in speakers:
        if (found := _answer_of(span)) is not None:
            return found, span
    for span in (root, *speakers):
        if (message := _last_call(span.body.get("output"))) is not None:
            return {"messages": [message]}, None if span is root else span
    return (own, None) if own is not None else _of_naming_span("output", spans, root)


def _question_to(span: MappedSpan) -> Any:
    """Return the question to a span below the root: any input of an agent, but only a user's message of other spans."""
    value = span.body.get("input")
    if span.kind == "AGENT":
        return None if value is None else _said(value, "user", _QUESTION_KEYS)
    message = _last_message(value, "user")
    return None if message is None else {"messages": [message]}


def _answer_of(span: MappedSpan) -> Any:
    value = span.body.get("output")
    if span.kind == "AGENT":
        said = _own(value, "assistant", _ANSWER_KEYS)
        if value is None or said is not None:
            return said
    message = _last_message(value, "assistant")
    return None if message is None else {"messages": [message]}


def _own(value: Any, role: str, keys: Iterable[str]) -> Any:
    """Return a span's own value in the form for a trace; None if none of its messages has this role and content."""
    if _is_talk(value) and len(value) == 1:
        message = _last_message(value, role)
        return None if message is None else {"messages": [message]}
    return _said(value, role, keys)


def _of_naming_span(side: str, spans: Sequence[MappedSpan], root: MappedSpan) -> Inferred:
    """Return the value of the span that names the trace, because the root of a web request has no value of its own."""
    naming = _naming_span(spans, root)
    value = naming.body.get(side)
    return (None, None) if value is None or _is_talk(value) or naming.kind in MODEL_KINDS else (value, naming)


def _explicit(value: Any, context_spans: Sequence[MappedSpan], side: str) -> Any:
    """Return an explicitly set value: unchanged if our decorators set it, else with text as a message."""
    if any(f"pandaprobe.trace.{side}" in span.view.attributes for span in context_spans):
        return value
    content = whole_content(value, side, is_call=False)
    role, keys = ("user", ()) if side == "input" else ("assistant", ())
    return _said(value if content is None else content.value, role, keys)


def _said(value: Any, role: str, keys: Iterable[str]) -> Any:
    """Return a value in the form for a trace: the last message of the role, or text as a message.

    An object with a single text under one of these keys counts as that text. Any other value is returned whole.
    """
    if type_of(value) is str:
        return {"messages": [{"role": role, "content": value}]} if value else value
    if _is_talk(value) and len(value) == 1:
        message = _last_message(value, role)
        return value if message is None else {"messages": [message]}
    if type_of(value) is dict and len(value) == 1:
        for key in keys:
            if type_of(value.get(key)) is str and value[key]:
                return {"messages": [{"role": role, "content": value[key]}]}
    return value


def _is_talk(value: Any) -> bool:
    return type_of(value) is dict and type_of(value.get("messages")) is list


def _last_message(value: Any, role: str) -> dict[str, Any] | None:
    """Return the last message of the role that has content, without its tool calls."""
    if not _is_talk(value):
        return None
    for message in reversed(value["messages"]):
        if type_of(message) is dict and message.get("role") == role and _says_something(message.get("content")):
            return {key: item for key, item in message.items() if key != "tool_calls"}
    return None


def _says_something(content: Any) -> bool:
    if type_of(content) is list:  # a search by the provider is not an answer
        return any(type_of(part) is not dict or word(part.get("type")) not in _PROVIDER_TOOLS for part in content)
    return not is_absent(content)


def _last_call(value: Any) -> dict[str, Any] | None:
    if not _is_talk(value):
        return None
    for message in reversed(value["messages"]):
        if type_of(message) is dict and message.get("role") == "assistant" and message.get("tool_calls"):
            return dict(message)
    return None


def _keep_others(context_spans: Sequence[MappedSpan], fields: Mapping[str, Any]) -> None:
    """Keep a span's values for trace fields in its metadata if they differ from the trace's."""
    for key in ("session_id", "user_id"):
        for span in context_spans:
            found = span.found.get(key)
            if found is not None and found[1] != fields.get(key):
                put(span, key, found[1])
    for key in ("environment", "release"):
        for span in context_spans:
            if span.found.get(key, fields.get(key)) != fields.get(key):
                put(span, key, span.found[key])
    for key in ("trace.name", "trace.input", "trace.output", "trace.status"):
        said = [span for span in context_spans if key in span.found]
        for span in said[1:]:
            if span.found[key] != said[0].found[key]:
                put(span, key.replace(".", "_"), span.found[key])


# -- context ----------------------------------------------------------------------------------------------------------

_SESSION_KEYS: Final = ("session_id", "sessionId", "thread_id", "conversation_id")
_USER_KEYS: Final = ("user_id", "userId")


def _first(context_spans: Sequence[MappedSpan], field: str) -> Any:
    for span in context_spans:
        value = span.found.get(field)
        if value is not None:
            return value
    return None


def _best(context_spans: Sequence[MappedSpan], field: str) -> Any:
    """Return the value from the best attribute of any span; among equals, from the root or the earliest span."""
    ranked = [found for span in context_spans if (found := span.found.get(field)) is not None]
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


def _from_metadata(context_spans: Sequence[MappedSpan], keys: Iterable[str]) -> str | None:
    for span in context_spans:
        for field in ("trace.metadata", "metadata"):
            bag = span.found.get(field)
            if bag is not None:
                for key in keys:
                    if value := _text(bag.get(key)):
                        return value
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
