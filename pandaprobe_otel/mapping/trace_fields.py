"""Fields of a trace, derived from its spans."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

from pandaprobe_otel.mapping.attributes import CANCELLED, TIMED_OUT
from pandaprobe_otel.mapping.content import whole_content
from pandaprobe_otel.mapping.dialect_table import MODEL_KINDS, RANKED_FIELDS, TALKING_KINDS
from pandaprobe_otel.mapping.kinds import PLUMBING_SCOPES
from pandaprobe_otel.mapping.mapped_span import MAX_ID, MAX_NAME, MappedSpan, put
from pandaprobe_otel.mapping.options import MappingOptions
from pandaprobe_otel.mapping.outcomes import trace_outcome
from pandaprobe_otel.mapping.privacy import restrict_trace
from pandaprobe_otel.mapping.span_view import plain_attributes
from pandaprobe_otel.mapping.text import short_text
from pandaprobe_otel.mapping.values import is_absent, type_of, word

_PROVIDER_TOOLS: Final = frozenset(
    {"server_tool_call", "server_tool_call_response", "server_tool_use", "web_search_tool_result"}
)
_STOPPED: Final = (CANCELLED, TIMED_OUT)
"""Outcomes of a root that make its trace an ERROR: traces have no status for them and must not be COMPLETED."""
_QUESTION_KEYS: Final = ("input", "query", "question", "prompt", "task", "message", "user_msg", "text")
_ANSWER_KEYS: Final = ("output", "answer", "response", "result", "message", "text")
_ARGUMENTS: Final = "openinference.span.kind"
"""Attribute of spans whose input consists of all arguments of a framework's method."""
_STATE: Final = frozenset(
    {
        "init_state", "cancellation_token", "run_config", "state_delta", "invocation_id", "yield_user_message",
        "stream", "reset", "return_full_result",
    }
)  # fmt: skip
"""Arguments that a framework adds to the app's."""
_OBJECT: Final = re.compile(r"[A-Z]\w+\(\w+=.*\)\Z|<[\w.]+ object at .*>\Z|id='[^']*' source='", re.DOTALL)
_RESOURCE_KEYS: Final = ("service.name", "telemetry.sdk.name", "telemetry.sdk.language", "telemetry.sdk.version")
_SESSION_KEYS: Final = ("session_id", "sessionId", "thread_id", "conversation_id")
_USER_KEYS: Final = ("user_id", "userId")
_NEVER: Final = 1 << 63
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
    naming = root if root.kind != "OTHER" else _first_of_kind(spans) or root
    fields: dict[str, Any] = {
        "name": str(told.get("trace.name", (naming if _is_transport(root) else root).body["name"])),
        "status": _status(told, root, spans),
    }
    resource = _resource_fields(root.view.resource)
    given, asked_in = (_explicit("input", told, context_spans) if told else None) or _input(spans, root, naming)
    result, answered_in = (_explicit("output", told, context_spans) if told else None) or _output(spans, root, naming)
    for key, value in (
        ("input", given),
        ("output", result),
        ("session_id", _identity("session_id", _SESSION_KEYS, told, context_spans) if told else None),
        ("user_id", _identity("user_id", _USER_KEYS, told, context_spans) if told else None),
        ("environment", options.environment or told.get("environment") or resource.environment),
        ("release", options.release or told.get("release") or resource.release),
    ):
        if value is not None:
            fields[key] = value  # noqa: PERF403 - the order of these keys after name and status is intended
    metadata: dict[str, Any] = _metadata(context_spans) if "trace.metadata" in told else {}
    metadata |= resource.metadata
    if (ended := trace_outcome(spans, root)) is not None:
        metadata["outcome"] = ended
    if options.capture == "all":
        for side, source in (("input", asked_in), ("output", answered_in)):
            if source is not None:
                metadata[f"{side}_from"] = {"span_id": source.body["span_id"], "name": source.body["name"]}
            if (under := _only_key(side, (source or root).body.get(side), fields.get(side))) is not None:
                metadata.setdefault(f"{side}_from", {})["key"] = under
    for key, most in _LONGEST:
        value = fields.get(key)
        if value is not None and len(value) > most:
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


def _is_transport(root: MappedSpan) -> bool:
    """Return whether the span is a request or similar, whose name says less than that of the work in it."""
    return root.shape.plumbing or root.view.scope_name in PLUMBING_SCOPES


def _first_of_kind(spans: Sequence[MappedSpan]) -> MappedSpan | None:
    for kinds in (("AGENT", "CHAIN"), ("LLM",)):
        for span in spans:
            if span.kind in kinds:
                return span
    return None


def _status(told: Mapping[str, Any], root: MappedSpan, spans: Sequence[MappedSpan]) -> str:
    if "trace.status" in told:
        return str(told["trace.status"])
    if root.body["status"] == "ERROR" or root.found.get("outcome") in _STOPPED:
        return "ERROR"
    if root.view.end_ns is None:
        return "RUNNING"
    return "ERROR" if "output" not in root.body and _has_ended_in_failure(spans, root) else "COMPLETED"


def _has_ended_in_failure(spans: Sequence[MappedSpan], root: MappedSpan) -> bool:
    """Return whether a failed agent ended the run: nothing began after it, and no span above it has a result.

    Instrumentors of the OpenAI Agents SDK leave the root OK or UNSET if the run raised.
    """
    if "outcome" in root.found:
        return False
    by_id: dict[int, MappedSpan] | None = None
    for span in spans:
        if span.kind != "AGENT" or "error" not in span.body or spans[-1].view.start_ns >= (span.view.end_ns or _NEVER):
            continue
        by_id = by_id or {one.view.span_id: one for one in spans}
        above, left = by_id.get(span.view.parent_id or 0), len(spans)  # a cycle of parents must end
        while above is not None and left and above is not root and not _has_result(above):
            above, left = by_id.get(above.view.parent_id or 0), left - 1
        if above is root and not _has_result(root):
            return True
    return False


def _has_result(span: MappedSpan) -> bool:
    """Return whether the span has an output, also one that `capture` leaves out."""
    return "output" in span.body or not span.shape.contents.keys().isdisjoint(("output", "tool.output"))


Inferred: TypeAlias = tuple[Any, MappedSpan | None]
"""Value, and the span that it is inferred from; the span is None for the root's own value."""

# -- input and output -------------------------------------------------------------------------------------------------


def _input(spans: Sequence[MappedSpan], root: MappedSpan, naming: MappedSpan) -> Inferred:
    """Return the root's own input or, if it has none, the first question to a span below it."""
    own = _input_of(root)
    if own is not None and (said := _own(own, "user", _QUESTION_KEYS)) is not None:
        return said, None
    for span in spans:
        if own is None and span is root:
            continue  # its arguments have no question
        if span.kind in TALKING_KINDS and (value := span.body.get("input")) is not None:
            # Any input of an agent is a question, but only a user's message of other spans.
            asked = _in_form(value, "user", _QUESTION_KEYS) if span.kind == "AGENT" else _last_message(value, "user")
            if asked is not None:
                return asked, span
    own = root.body.get("input")
    return (own, None) if own is not None else _of_naming_span("input", naming)


def _output(spans: Sequence[MappedSpan], root: MappedSpan, naming: MappedSpan) -> Inferred:
    """Return the root's own output or, if it has none, the last answer of a span below it."""
    own = root.body.get("output")
    is_object = _ARGUMENTS in root.view.attributes and _is_object(own)
    if own is not None and not is_object and (said := _own(own, "assistant", _ANSWER_KEYS)) is not None:
        return said, None
    speakers = [span for span in spans if span.kind in TALKING_KINDS and "output" in span.body]
    if is_object:
        speakers = [span for span in speakers if span is not root]
    speakers.sort(key=_end, reverse=True)
    for span in speakers:
        value = span.body["output"]
        is_agent = span.kind == "AGENT"
        answer = _own(value, "assistant", _ANSWER_KEYS) if is_agent else _last_message(value, "assistant")
        if answer is not None:
            return answer, span
    calls = [span for span in spans if span.kind == "LLM"]
    has_ended = bool(calls) and "output" not in max(calls, key=_end).body  # by an answer that is not captured
    for span in () if has_ended else (root, *speakers):
        if (message := _last_call(span.body.get("output"))) is not None:
            return {"messages": [message]}, None if span is root else span
    return (own, None) if own is not None else _of_naming_span("output", naming)


def _end(span: MappedSpan) -> int:
    return span.view.end_ns or 0


def _input_of(root: MappedSpan) -> Any:
    """Return the root's own input: of the arguments of a framework's method, only those that the app gave."""
    own: Any = root.body.get("input")
    if type_of(own) is not dict or _ARGUMENTS not in root.view.attributes or ("messages" in own and len(own) == 1):
        return own
    left = {
        key: value for key, value in own.items() if key not in _STATE and value is not None and not _is_object(value)
    }
    message: Any = left.get("new_message")
    if type_of(message) is dict and type_of(message.get("parts")) is list:  # Google ADK's content
        content = whole_content([{"role": "user", **message}], "input", is_call=True)
        return own if content is None else content.value
    return left or None


def _is_object(value: Any, levels: int = 4) -> bool:
    """Return whether the value is Python's text of an object, or consists of such texts (Haystack's answers)."""
    inside: Any = value if type_of(value) is list else list(value.values()) if type_of(value) is dict else None
    if inside is not None:
        return bool(inside) and levels > 0 and all(_is_object(each, levels - 1) for each in inside)
    return type_of(value) is str and _OBJECT.match(value) is not None


def _of_naming_span(side: str, naming: MappedSpan) -> Inferred:
    """Return the value of the span that names the trace, because the root of a web request has no value of its own."""
    value: Any = naming.body.get(side)
    is_talk = type_of(value) is dict and type_of(value.get("messages")) is list
    return (None, None) if value is None or is_talk or naming.kind in MODEL_KINDS else (value, naming)


def _explicit(side: str, told: Mapping[str, Any], context_spans: Sequence[MappedSpan]) -> Inferred | None:
    """Return a value set for the trace, if any: unchanged if our decorators set it, else with text as a message."""
    value = told.get(f"trace.{side}")
    if value is None or any(f"pandaprobe.trace.{side}" in span.view.attributes for span in context_spans):
        return None if value is None else (value, None)
    content = whole_content(value, side, is_call=False)
    role, keys = ("user", ()) if side == "input" else ("assistant", ())
    return _in_form(value if content is None else content.value, role, keys), None


def _only_key(side: str, whole: Any, shown: Any) -> str | None:
    """Return the key of an object whose only text or message is shown as a message; None for any other value."""
    if type_of(whole) is not dict or type_of(shown) is not dict or "messages" in whole or "messages" not in shown:
        return None
    keys = (*_QUESTION_KEYS, "new_message") if side == "input" else _ANSWER_KEYS
    return next((key for key in whole if key in keys), None)


def _in_form(value: Any, role: str, keys: Sequence[str]) -> Any:
    """Return a value in the form for a trace, or the whole value if it has no message of this role with content."""
    said = _own(value, role, keys)
    return value if said is None else said


def _own(value: Any, role: str, keys: Sequence[str]) -> Any:
    """Return a value in the form for a trace: the last message of the role, or text as a message.

    An object with a single text under one of these keys counts as that text. Any other value is returned whole. The
    result is None if the value consists of messages, and none of them has this role and content.
    """
    kind = type_of(value)
    if kind is str:
        return {"messages": [{"role": role, "content": value}]} if value else value
    if kind is not dict or len(value) != 1:
        return value
    if type_of(value.get("messages")) is list:
        return _last_message(value, role)
    for key in keys:
        if type_of(value.get(key)) is str and value[key]:
            return {"messages": [{"role": role, "content": value[key]}]}
    return value


def _last_message(value: Any, role: str) -> dict[str, Any] | None:
    """Return the last message of the role that has content, without its tool calls, in the form for a trace."""
    messages: Any = value.get("messages") if type_of(value) is dict else None
    for message in reversed(messages) if type_of(messages) is list else ():
        if type_of(message) is not dict or message.get("role") != role or is_absent(message.get("content")):
            continue
        if type_of(message["content"]) is list and all(map(_is_of_provider, message["content"])):
            continue  # a search by the provider is not an answer
        said = {**message}
        said.pop("tool_calls", None)
        return {"messages": [said]}
    return None


def _is_of_provider(part: Any) -> bool:
    return type_of(part) is dict and word(part.get("type")) in _PROVIDER_TOOLS


def _last_call(value: Any) -> dict[str, Any] | None:
    messages: Any = value.get("messages") if type_of(value) is dict else None
    for message in reversed(messages) if type_of(messages) is list else ():
        if type_of(message) is dict and message.get("role") == "assistant" and message.get("tool_calls"):
            return dict(message)
    return None


# -- context ----------------------------------------------------------------------------------------------------------


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
