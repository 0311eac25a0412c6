"""The fields of a trace, derived from its spans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pandaprobe_otel.attributes import CANCELLED, TIMED_OUT
from pandaprobe_otel.mapping.content import found_conversation
from pandaprobe_otel.mapping.exact import type_of
from pandaprobe_otel.mapping.kind_names import MODEL_KINDS, TALKING_KINDS
from pandaprobe_otel.mapping.mapped_span import MappedSpan
from pandaprobe_otel.mapping.options import MappingOptions
from pandaprobe_otel.mapping.privacy import restrict_trace
from pandaprobe_otel.mapping.status import trace_outcome
from pandaprobe_otel.mapping.text import short_text
from pandaprobe_otel.mapping.times import rfc3339
from pandaprobe_otel.mapping.values import is_absent, word
from pandaprobe_otel.mapping.view import plain_attributes

MAX_NAME: Final = 512
MAX_ID: Final = 255
_PROVIDER_TOOLS: Final = frozenset(
    {"server_tool_call", "server_tool_call_response", "server_tool_use", "web_search_tool_result"}
)
_STOPPED: Final = (CANCELLED, TIMED_OUT)
"""Outcomes of a root that a trace, which has no status for them, must not call COMPLETED."""
_QUESTION_KEYS: Final = ("input", "query", "question", "prompt", "task", "message", "text")
_ANSWER_KEYS: Final = ("output", "answer", "response", "result", "message", "text")
_RESOURCE_KEYS: Final = ("service.name", "telemetry.sdk.name", "telemetry.sdk.language", "telemetry.sdk.version")


def trace_fields(spans: Sequence[MappedSpan], root: MappedSpan, options: MappingOptions) -> dict[str, Any]:
    """Return everything of the trace but its id, times and spans. `spans` are sorted by start."""
    told = [span for span in spans if span.shape.has_context and span is not root]
    if root.shape.has_context:
        told.insert(0, root)  # of equal sources, its own counts
    fields: dict[str, Any] = {"name": _name(told, spans, root), "status": _status(told, root)}
    resource = plain_attributes(root.view.resource)  # the SDK's own answers each question by a call in Python
    for key, value in (
        ("input", _input(told, spans, root)),
        ("output", _output(told, spans, root)),
        ("session_id", _best(told, "session_id") or _from_metadata(told, _SESSION_KEYS)),
        ("user_id", _best(told, "user_id") or _from_metadata(told, _USER_KEYS)),
        ("environment", options.environment or _first(told, "environment") or _environment(resource)),
        ("release", options.release or _first(told, "release") or _text(resource.get("service.version"))),
    ):
        if value is not None:
            fields[key] = value  # noqa: PERF403 - the order of these keys after name and status is meant
    metadata = _metadata(told, resource)
    if (ended := trace_outcome(spans, root)) is not None:
        metadata["outcome"] = ended
    if len(fields["name"]) > MAX_NAME:
        metadata["full_name"] = fields["name"]
        fields["name"] = short_text(fields["name"], MAX_NAME)
    for key in ("session_id", "user_id", "environment", "release"):
        value = fields.get(key)
        if value is not None and len(value) > MAX_ID:
            fields[key] = short_text(value, MAX_ID)
            metadata[f"full_{key}"] = value
    tags = _tags(told, root)
    if tags:
        fields["tags"] = tags
    fields["metadata"] = metadata
    restrict_trace(fields, options.capture)
    return fields


def root_of(spans: Sequence[MappedSpan]) -> MappedSpan:
    """Return the root: the earliest span without a parent in this trace; a parentless one beats one with a lost parent.

    `spans` are sorted by start and not empty.
    """
    for span in spans:  # mostly the first of them, so nothing else is asked before
        if span.view.parent_id is None:
            return span
    ids = {span.view.span_id for span in spans}
    for span in spans:
        if span.view.parent_is_remote or span.view.parent_id not in ids:
            return span
    return spans[0]


def times(spans: Sequence[MappedSpan]) -> tuple[str, str | None]:
    """Return (started_at, ended_at) of the trace: the earliest start and the latest end of the spans sent.

    `spans` are sorted by start and not empty.
    """
    start = spans[0].view.start_ns
    ends = [span.view.end_ns for span in spans if span.view.end_ns is not None]
    # No end lies before its own start, hence none before the first start.
    return rfc3339(start), rfc3339(max(max(ends), start)) if ends else None


def _name(told: Sequence[MappedSpan], spans: Sequence[MappedSpan], root: MappedSpan) -> str:
    name = _first(told, "trace.name")
    if name is None:
        name = _speaker(spans, root).body["name"]
    return str(name)


def _speaker(spans: Sequence[MappedSpan], root: MappedSpan) -> MappedSpan:
    return root if root.kind != "OTHER" else _first_of_kind(spans) or root


def _first_of_kind(spans: Sequence[MappedSpan]) -> MappedSpan | None:
    for kinds in ({"AGENT", "CHAIN"}, {"LLM"}):
        for span in spans:
            if span.kind in kinds:
                return span
    return None


def _status(told: Sequence[MappedSpan], root: MappedSpan) -> str:
    explicit = _first(told, "trace.status")
    if explicit is not None:
        return str(explicit)
    if root.body["status"] == "ERROR" or root.found.get("outcome") in _STOPPED:
        return "ERROR"
    return "COMPLETED" if root.view.end_ns is not None else "RUNNING"


# -- input and output -------------------------------------------------------------------------------------------------


def _input(told: Sequence[MappedSpan], spans: Sequence[MappedSpan], root: MappedSpan) -> Any:
    explicit = _first(told, "trace.input")
    if explicit is not None:
        return _explicit(explicit, told, "input")
    own = root.body.get("input")
    found = _question(own)
    if found is not None:
        return found
    for span in spans:
        if span.kind in TALKING_KINDS and (found := _question_to(span)) is not None:
            return found
    return _whole("input", spans, root)


def _output(told: Sequence[MappedSpan], spans: Sequence[MappedSpan], root: MappedSpan) -> Any:
    explicit = _first(told, "trace.output")
    if explicit is not None:
        return _explicit(explicit, told, "output")
    own = root.body.get("output")
    found = _answer(own)
    if found is not None:
        return found
    speakers = sorted(
        (span for span in spans if span.kind in TALKING_KINDS), key=lambda span: span.view.end_ns or 0, reverse=True
    )
    for span in speakers:
        if (found := _answer_of(span)) is not None:
            return found
    for span in (root, *speakers):
        if (message := _last_call(span.body.get("output"))) is not None:
            return {"messages": [message]}
    return _whole("output", spans, root)


def _question_to(span: MappedSpan) -> Any:
    """What was asked in a span below the root: an agent's text is a question, other spans' a part of the work."""
    value = span.body.get("input")
    if span.kind == "AGENT":
        return _question(value)
    message = _last_message(value, "user")
    return None if message is None else {"messages": [message]}


def _answer_of(span: MappedSpan) -> Any:
    value = span.body.get("output")
    if span.kind == "AGENT":
        return _answer(value)
    message = _last_message(value, "assistant")
    return None if message is None else {"messages": [message]}


def _whole(side: str, spans: Sequence[MappedSpan], root: MappedSpan) -> Any:
    """Return the root's own value, for want of any message: better than nothing for who reads the trace.

    The root of a web request has none, so there it is that of the span which the trace is named after.
    """
    speaker = _speaker(spans, root)
    for span in (root,) if speaker is root else (root, speaker):
        value = span.body.get(side)
        if not (is_absent(value) or _is_talk(value) or span.kind in MODEL_KINDS):
            return value
    return None


def _explicit(value: Any, told: Sequence[MappedSpan], side: str) -> Any:
    """Return what was set by hand; our own decorators mean it as it is, others' text stands for a message."""
    if any(f"pandaprobe.trace.{side}" in span.view.attributes for span in told):
        return value
    role, pick = ("user", _question) if side == "input" else ("assistant", _answer)
    if type_of(value) is str:
        return {"messages": [{"role": role, "content": value}]}
    talk = found_conversation(value, side)
    content = talk.content() if talk is not None else None
    return (pick(content) or content) if content is not None else value


def _question(value: Any) -> Any:
    if type_of(value) is str and value:
        return {"messages": [{"role": "user", "content": value}]}
    if _is_talk(value):
        message = _last_message(value, "user")
        return None if message is None else {"messages": [message]}
    return _said(value, _QUESTION_KEYS, "user")


def _answer(value: Any) -> Any:
    if type_of(value) is str and value:
        return {"messages": [{"role": "assistant", "content": value}]}
    if _is_talk(value):
        message = _last_message(value, "assistant")
        return None if message is None else {"messages": [message]}
    return _said(value, _ANSWER_KEYS, "assistant")


def _said(value: Any, keys: Iterable[str], role: str) -> Any:
    if type_of(value) is dict:
        for key in keys:
            if type_of(value.get(key)) is str and value[key]:
                return {"messages": [{"role": role, "content": value[key]}]}
    return None


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
    if type_of(content) is list:  # a search that the provider ran itself is no answer
        return any(type_of(part) is not dict or word(part.get("type")) not in _PROVIDER_TOOLS for part in content)
    return not is_absent(content)


def _last_call(value: Any) -> dict[str, Any] | None:
    if not _is_talk(value):
        return None
    for message in reversed(value["messages"]):
        if type_of(message) is dict and message.get("role") == "assistant" and message.get("tool_calls"):
            return dict(message)
    return None


# -- context ----------------------------------------------------------------------------------------------------------

_SESSION_KEYS: Final = ("session_id", "sessionId", "thread_id", "conversation_id")
_USER_KEYS: Final = ("user_id", "userId")


def _first(told: Sequence[MappedSpan], field: str) -> Any:
    for span in told:
        value = span.found.get(field)
        if value is not None:
            return value
    return None


def _best(told: Sequence[MappedSpan], field: str) -> Any:
    """Return the value from the best attribute of any span; of equally good ones, the root's or the earliest."""
    ranked = [found for span in told if (found := span.found.get(field)) is not None]
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


def _from_metadata(told: Sequence[MappedSpan], keys: Iterable[str]) -> str | None:
    for span in told:
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


def _environment(resource: Mapping[str, Any]) -> str | None:
    return _text(resource.get("deployment.environment.name")) or _text(resource.get("deployment.environment"))


def _tags(told: Sequence[MappedSpan], root: MappedSpan) -> list[str]:
    tags: list[str] = []
    for span in told:
        for field in ("tags", "root_tags") if span is root else ("tags",):
            tags.extend(tag for tag in span.found.get(field, ()) if tag not in tags)
    return tags


def _metadata(told: Sequence[MappedSpan], resource: Mapping[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for span in told:
        bag: Mapping[str, Any] = span.found.get("trace.metadata") or {}
        for key, value in bag.items():
            metadata.setdefault(key, value)
    for key in _RESOURCE_KEYS:
        if value := _text(resource.get(key)):
            metadata[key] = value
    return metadata
