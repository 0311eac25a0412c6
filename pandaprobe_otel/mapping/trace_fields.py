"""Fields of a trace: its name, input, output and status, which a reader sees first, and the context of its spans.

The root span keeps all of its values. The trace shows what a person or a judge asks for: the question and the answer as
messages where they can be found in the root's values, else these values. Only a root without either gets them from the
spans below it, and the metadata says from which.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from pandaprobe_otel.mapping.attributes import CANCELLED, INTERRUPTED, TIMED_OUT
from pandaprobe_otel.mapping.content import whole_content
from pandaprobe_otel.mapping.dialect_table import MODEL_KINDS, RANKED_FIELDS, TALKING_KINDS
from pandaprobe_otel.mapping.kinds import PLUMBING_SCOPES
from pandaprobe_otel.mapping.mapped_span import MAX_ID, MAX_NAME, MappedSpan, put
from pandaprobe_otel.mapping.messages import messages_in
from pandaprobe_otel.mapping.options import MappingOptions
from pandaprobe_otel.mapping.privacy import restrict_trace
from pandaprobe_otel.mapping.span_view import plain_attributes
from pandaprobe_otel.mapping.text import short_text
from pandaprobe_otel.mapping.values import is_absent, type_of, word

_STOPPED: Final = (CANCELLED, TIMED_OUT)
"""Outcomes of a root that make its trace an ERROR: traces have no status for them and must not be COMPLETED."""
_NEVER: Final = 1 << 63
_ARGUMENTS: Final = "openinference.span.kind"
"""Attribute of spans whose input consists of all arguments of a framework's method."""
_STATE: Final = frozenset(
    {
        "init_state", "cancellation_token", "run_config", "state_delta", "invocation_id", "yield_user_message",
        "stream", "reset", "return_full_result",
    }
)  # fmt: skip
"""Arguments that a framework adds to the app's."""
_CONTENT: Final = "new_message"
"""Argument of Google ADK with the question as Gemini's content."""
_OBJECT: Final = re.compile(r"[A-Z]\w+\(\w+=.*\)\Z|<[\w.]+ object at .*>\Z|id='[^']*' source='", re.DOTALL)
_PROVIDER_TOOLS: Final = frozenset(
    {"server_tool_call", "server_tool_call_response", "server_tool_use", "web_search_tool_result"}
)


_ROLES: Final = {"input": "user", "output": "assistant"}
"""Sides of a trace, with the roles of their messages."""
_KEYS: Final = {
    "input": ("input", "query", "question", "prompt", "task", "message", "user_msg", "text"),
    "output": ("output", "answer", "response", "result", "message", "text"),
}
"""Keys of objects whose only text is that message."""


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


def _first_of_kind(spans: Sequence[MappedSpan]) -> MappedSpan | None:
    for kinds in (("AGENT", "CHAIN"), ("LLM",)):
        for span in spans:
            if span.kind in kinds:
                return span
    return None


# -- status -----------------------------------------------------------------------------------------------------------


def _ending(told: Mapping[str, Any], root: MappedSpan, spans: Sequence[MappedSpan]) -> tuple[str, str | None]:
    """Return the trace's status, and the outcome: the root's, or "interrupted" if the last span begun below it waits.

    Work that was interrupted and resumed in the same trace does not wait.
    """
    status, ended = root.body["status"], root.found.get("outcome")
    outcome = ended
    if ended is None and status != "ERROR":
        waiting = [span.view.span_id for span in spans if span.found.get("outcome") == INTERRUPTED]
        if waiting:
            last = {span.view.parent_id: span.view.span_id for span in spans}
            below: int | None = root.view.span_id
            while below is not None and below not in waiting:
                below = last.pop(below, None)
            outcome = None if below is None else INTERRUPTED
    if "trace.status" in told:
        return str(told["trace.status"]), outcome
    if status == "ERROR" or ended in _STOPPED:
        return "ERROR", outcome
    if root.view.end_ns is None:
        return "RUNNING", outcome
    failed = ended is None and "output" not in root.body and _has_ended_in_failure(spans, root)
    return "ERROR" if failed else "COMPLETED", outcome


def _has_ended_in_failure(spans: Sequence[MappedSpan], root: MappedSpan) -> bool:
    """Return whether a failed agent ended the run: nothing began after it, and no span above it has a result.

    Instrumentors of the OpenAI Agents SDK leave the root OK or UNSET if the run raised.
    """
    last = spans[-1].view.start_ns
    failed = [
        span for span in spans if span.kind == "AGENT" and "error" in span.body and last < (span.view.end_ns or _NEVER)
    ]
    by_id = {span.view.span_id: span for span in spans} if failed else {}
    for span in failed:
        for _ in spans:  # a cycle of parents must end
            above = by_id.get(span.view.parent_id or 0)
            if above is None or _has_result(above):
                break
            if above is root:
                return True
            span = above
    return False


def _has_result(span: MappedSpan) -> bool:
    """Return whether the span has an output, also one that `capture` leaves out."""
    return "output" in span.body or not span.shape.contents.keys().isdisjoint(("output", "tool.output"))


# -- input and output -------------------------------------------------------------------------------------------------


def _found(
    side: str, spans: Sequence[MappedSpan], root: MappedSpan, naming: MappedSpan
) -> tuple[Any, MappedSpan | None]:
    """Return the root's own value or, if it has none, the first question to, or the last answer of, a span below it.

    The second item is the span that the value is inferred from, and None for the root's own value.
    """
    whole: Any = root.body.get(side)
    own = _of_the_app(whole, side) if _ARGUMENTS in root.view.attributes else whole
    if own is not None and (said := _message(own, side)) is not None:
        return said, None
    speakers = [
        span
        for span in spans
        # Without an own value, neither a framework's state nor the text of an object in the root has a message.
        if span.kind in TALKING_KINDS and side in span.body and not (own is None and span is root)
    ]
    if side == "output":
        speakers.sort(key=_end, reverse=True)
    for span in speakers:
        value = span.body[side]
        # Any value of an agent is a question or an answer, but only a message of the right role of other spans.
        said = _message(value, side) if span.kind == "AGENT" else _last_message(value, side)
        if said is not None:
            return said, span
    if side == "output":
        calls = [span for span in spans if span.kind == "LLM"]
        has_ended = bool(calls) and "output" not in max(calls, key=_end).body  # by an answer that is not captured
        for span in () if has_ended else (root, *speakers):
            for message in reversed(messages_in(span.body.get("output"))):
                if message.get("role") == "assistant" and message.get("tool_calls"):
                    return {"messages": [dict(message)]}, None if span is root else span
    if whole is not None:
        return whole, None
    # The root of a web request has no value of its own, so the span that names the trace has it.
    named: Any = naming.body.get(side)
    is_talk = type_of(named) is dict and type_of(named.get("messages")) is list
    return (None, None) if named is None or is_talk or naming.kind in MODEL_KINDS else (named, naming)


def _end(span: MappedSpan) -> int:
    return span.view.end_ns or 0


def _of_the_app(own: Any, side: str) -> Any:
    """Return of the arguments of a framework's method only those that the app gave; no text of an object as an answer.

    None if nothing is left.
    """
    if side == "output":
        return None if _is_object(own) else own
    if type_of(own) is not dict or ("messages" in own and len(own) == 1):
        return own
    left = {
        key: value for key, value in own.items() if key not in _STATE and value is not None and not _is_object(value)
    }
    message: Any = left.get(_CONTENT)
    if type_of(message) is dict and type_of(message.get("parts")) is list:
        content = whole_content([{"role": "user", **message}], "input", is_call=True)
        return own if content is None else content.value
    return left or None


def _is_object(value: Any, levels: int = 4) -> bool:
    """Return whether the value is Python's text of an object, or consists of such texts (Haystack's answers)."""
    inside: Any = value if type_of(value) is list else list(value.values()) if type_of(value) is dict else None
    if inside is not None:
        return bool(inside) and levels > 0 and all(_is_object(each, levels - 1) for each in inside)
    return type_of(value) is str and _OBJECT.match(value) is not None


def _explicit(value: Any, side: str) -> Any:
    """Return a value that was set for the trace, with text as a message."""
    content = whole_content(value, side, is_call=False)
    value = value if content is None else content.value
    said = _message(value, side, ())
    return value if said is None else said


def _message(value: Any, side: str, keys: Sequence[str] | None = None) -> Any:
    """Return a value in the form for a trace: the last message of the role, or text as a message.

    An object with a single text under one of the keys, by default the side's, counts as that text. Any other value is
    returned whole. The result is None if the value consists of messages, and none of them has this role and content.
    """
    text = value
    if type_of(value) is dict and len(value) == 1:
        ((key, text),) = value.items()
        if key == "messages" and type_of(text) is list:
            return _last_message(value, side)
        if key not in (_KEYS[side] if keys is None else keys):
            return value
    return {"messages": [{"role": _ROLES[side], "content": text}]} if type_of(text) is str and text else value


def _last_message(value: Any, side: str) -> dict[str, Any] | None:
    """Return the last message of the role that has content, without its tool calls, in the form for a trace."""
    for message in reversed(messages_in(value)):
        content: Any = message.get("content")
        if message.get("role") != _ROLES[side] or is_absent(content):
            continue
        if type_of(content) is list and all(map(_is_of_provider, content)):
            continue  # a search by the provider is not an answer
        return {"messages": [{key: item for key, item in message.items() if key != "tool_calls"}]}
    return None


def _is_of_provider(part: Any) -> bool:
    return type_of(part) is dict and word(part.get("type")) in _PROVIDER_TOOLS


_RESOURCE_KEYS: Final = ("service.name", "telemetry.sdk.name", "telemetry.sdk.language", "telemetry.sdk.version")
_SESSION_KEYS: Final = ("session_id", "sessionId", "thread_id", "conversation_id")
_USER_KEYS: Final = ("user_id", "userId")
_IDS: Final = ("session_id", "user_id", "environment", "release")
_OF_ONE_SPAN: Final = (*_IDS, "trace.name", "trace.input", "trace.output", "trace.status")
"""Fields that a trace takes from a single span."""


def trace_fields(spans: Sequence[MappedSpan], root: MappedSpan, options: MappingOptions) -> dict[str, Any]:
    """Return all fields of the trace except its id, times and spans. `spans` is sorted by start."""
    context_spans: list[MappedSpan] = []
    told: dict[str, Any] = {}  # what these spans say about the trace; the first one wins
    for span in (root, *spans):  # the root first, so that it wins among equal sources
        if span.shape.has_context and (span is not root or not context_spans):
            context_spans.append(span)
            told = {**span.found, **told}
    naming = root if root.kind != "OTHER" else _first_of_kind(spans) or root
    # A request or similar has a name that says less than that of the work in it.
    is_transport = root.shape.plumbing or root.view.scope_name in PLUMBING_SCOPES
    status, outcome = _ending(told, root, spans)
    fields: dict[str, Any] = {
        "name": str(told.get("trace.name", (naming if is_transport else root).body["name"])),
        "status": status,
    }
    about: dict[str, Any] = {} if outcome is None else {"outcome": outcome}
    for side in _ROLES:
        source = None
        value = told.get(f"trace.{side}") if told else None
        if value is None:
            value, source = _found(side, spans, root, naming)
        elif not any(f"pandaprobe.trace.{side}" in span.view.attributes for span in context_spans):
            value = _explicit(value, side)  # another library has set it
        if value is None:
            continue
        fields[side] = value
        origin: dict[str, Any] = {}
        if source is not None:
            origin = {"span_id": source.body["span_id"], "name": source.body["name"]}
        whole: Any = (source or root).body.get(side)
        if type_of(value) is dict and "messages" in value and type_of(whole) is dict and "messages" not in whole:
            # The key whose only text or message is shown as a message.
            keys = [key for key in whole if key in _KEYS[side] or (key == _CONTENT and side == "input")]
            origin |= {"key": keys[0]} if keys else {}
        if origin:
            about[f"{side}_from"] = origin
    environment, release, of_resource = _resource_fields(root.view.resource)
    metadata: dict[str, Any] = _metadata(context_spans) if "trace.metadata" in told else {}
    metadata |= of_resource
    metadata |= about
    context = {
        "name": fields["name"],
        "session_id": _identity("session_id", _SESSION_KEYS, told, context_spans) if told else None,
        "user_id": _identity("user_id", _USER_KEYS, told, context_spans) if told else None,
        "environment": options.environment or told.get("environment") or environment,
        "release": options.release or told.get("release") or release,
    }
    for key, value in context.items():
        if value is not None:
            fields[key] = short = short_text(value, MAX_NAME if key == "name" else MAX_ID)
            if short is not value:
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
            bag = span.found.get(field, {})
            for key in keys:
                if text := _text(bag.get(key)):
                    return text
    return None


def _text(value: Any) -> str | None:
    kind = type_of(value)
    if kind is int:
        return str(value)
    return value if kind is str and value else None


_newest: tuple[Any, tuple[str | None, str | None, dict[str, str]]] = (None, (None, None, {}))
"""The newest resource of the SDK and its fields. A process has one resource, whose attributes never change."""


def _resource_fields(resource: Mapping[str, Any]) -> tuple[str | None, str | None, dict[str, str]]:
    """Return (environment, release, metadata) of a resource."""
    global _newest  # replaced as a whole, so every thread reads a consistent pair
    known, fields = _newest
    if known is not resource:
        plain = plain_attributes(resource)  # a plain dict, because each access to the SDK's own is a Python call
        texts = {key: text for key, value in plain.items() if (text := _text(value))}
        fields = (
            texts.get("deployment.environment.name", texts.get("deployment.environment")),
            texts.get("service.version"),
            {key: texts[key] for key in _RESOURCE_KEYS if key in texts},
        )
        if type_of(resource) is not dict:  # the SDK's attributes cannot be changed
            _newest = resource, fields
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
