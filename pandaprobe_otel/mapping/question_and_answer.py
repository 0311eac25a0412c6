"""Question and answer: the name, the input, the output and the status that a reader of a trace sees first.

The root span keeps all of its values. The trace shows what a person or a judge asks for: the question and the answer as
messages where they can be found in the root's values, else these values. Only a root without either gets them from the
spans below it, and the metadata says from which.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pandaprobe_otel.mapping.attributes import CANCELLED, INTERRUPTED, TIMED_OUT
from pandaprobe_otel.mapping.content import whole_content
from pandaprobe_otel.mapping.dialect_table import MODEL_KINDS, TALKING_KINDS
from pandaprobe_otel.mapping.kinds import PLUMBING_SCOPES
from pandaprobe_otel.mapping.mapped_span import MappedSpan
from pandaprobe_otel.mapping.messages import messages_in
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


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of a trace: the role of its message, and the keys of objects whose only text is that message."""

    field: str
    role: str
    keys: tuple[str, ...]


_QUESTION: Final = _Side(
    "input", "user", ("input", "query", "question", "prompt", "task", "message", "user_msg", "text")
)
_ANSWER: Final = _Side("output", "assistant", ("output", "answer", "response", "result", "message", "text"))


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


def question_and_answer(
    spans: Sequence[MappedSpan], root: MappedSpan, told: Mapping[str, Any], context_spans: Sequence[MappedSpan]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the trace's name, status, input and output, and metadata about them.

    `spans` is sorted by start. `told` has the fields that the spans with context set for the trace.
    """
    naming = root if root.kind != "OTHER" else _first_of_kind(spans) or root
    # A request or similar has a name that says less than that of the work in it.
    is_transport = root.shape.plumbing or root.view.scope_name in PLUMBING_SCOPES
    fields: dict[str, Any] = {
        "name": str(told.get("trace.name", (naming if is_transport else root).body["name"])),
        "status": _status(told, root, spans),
    }
    about: dict[str, Any] = {}
    if (ended := _outcome(spans, root)) is not None:
        about["outcome"] = ended
    for side in (_QUESTION, _ANSWER):
        field, source = side.field, None
        value = told.get(f"trace.{field}") if told else None
        if value is None:
            value, source = _found(side, spans, root, naming)
        elif not any(f"pandaprobe.trace.{field}" in span.view.attributes for span in context_spans):
            value = _explicit(value, side)  # another library has set it
        if value is None:
            continue
        fields[field] = value
        if source is not None:
            about[f"{field}_from"] = {"span_id": source.body["span_id"], "name": source.body["name"]}
        if type_of(value) is dict and "messages" in value:
            key = _only_key(side, (source or root).body.get(field))
            if key is not None:
                about.setdefault(f"{field}_from", {})["key"] = key
    return fields, about


def _first_of_kind(spans: Sequence[MappedSpan]) -> MappedSpan | None:
    for kinds in (("AGENT", "CHAIN"), ("LLM",)):
        for span in spans:
            if span.kind in kinds:
                return span
    return None


# -- status -----------------------------------------------------------------------------------------------------------


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


def _outcome(spans: Sequence[MappedSpan], root: MappedSpan) -> str | None:
    """Return the root's own outcome, or "interrupted" if the last span that began below it waits.

    Work that was interrupted and resumed in the same trace does not wait.
    """
    if "outcome" in root.found or root.body["status"] == "ERROR":
        return root.found.get("outcome")
    waiting = {span.view.span_id for span in spans if span.found.get("outcome") == INTERRUPTED}
    if not waiting:
        return None
    last = {span.view.parent_id: span.view.span_id for span in spans}
    below: int | None = root.view.span_id
    while below is not None and below not in waiting:
        below = last.pop(below, None)
    return INTERRUPTED if below is not None else None


# -- input and output -------------------------------------------------------------------------------------------------


def _found(
    side: _Side, spans: Sequence[MappedSpan], root: MappedSpan, naming: MappedSpan
) -> tuple[Any, MappedSpan | None]:
    """Return the root's own value or, if it has none, the first question to, or the last answer of, a span below it.

    The second item is the span that the value is inferred from, and None for the root's own value.
    """
    own: Any = root.body.get(side.field)
    if _ARGUMENTS in root.view.attributes:
        own = _of_the_app(own, side)
    if own is not None and (said := _message(own, side)) is not None:
        return said, None
    speakers = [span for span in spans if span.kind in TALKING_KINDS and side.field in span.body]
    if own is None:  # neither a framework's state nor the text of an object has a message
        speakers = [span for span in speakers if span is not root]
    if side is _ANSWER:
        speakers.sort(key=_end, reverse=True)
    for span in speakers:
        value = span.body[side.field]
        # Any value of an agent is a question or an answer, but only a message of the right role of other spans.
        said = _message(value, side) if span.kind == "AGENT" else _last_message(value, side.role)
        if said is not None:
            return said, span
    if side is _ANSWER:
        calls = [span for span in spans if span.kind == "LLM"]
        has_ended = bool(calls) and "output" not in max(calls, key=_end).body  # by an answer that is not captured
        for span in () if has_ended else (root, *speakers):
            for message in reversed(messages_in(span.body.get("output"))):
                if message.get("role") == "assistant" and message.get("tool_calls"):
                    return {"messages": [dict(message)]}, None if span is root else span
    whole = root.body.get(side.field)
    if whole is not None:
        return whole, None
    # The root of a web request has no value of its own, so the span that names the trace has it.
    named: Any = naming.body.get(side.field)
    is_talk = type_of(named) is dict and type_of(named.get("messages")) is list
    return (None, None) if named is None or is_talk or naming.kind in MODEL_KINDS else (named, naming)


def _end(span: MappedSpan) -> int:
    return span.view.end_ns or 0


def _of_the_app(own: Any, side: _Side) -> Any:
    """Return of the arguments of a framework's method only those that the app gave; no text of an object as an answer.

    None if nothing is left.
    """
    if side is _ANSWER:
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


def _explicit(value: Any, side: _Side) -> Any:
    """Return a value that was set for the trace, with text as a message."""
    content = whole_content(value, side.field, is_call=False)
    value = value if content is None else content.value
    said = _message(value, replace(side, keys=()))
    return value if said is None else said


def _only_key(side: _Side, whole: Any) -> str | None:
    """Return the key of an object whose only text or message is shown as a message; None for any other value."""
    if type_of(whole) is not dict or "messages" in whole:
        return None
    return next((key for key in whole if key in side.keys or (key == _CONTENT and side is _QUESTION)), None)


def _message(value: Any, side: _Side) -> Any:
    """Return a value in the form for a trace: the last message of the role, or text as a message.

    An object with a single text under one of the side's keys counts as that text. Any other value is returned whole.
    The result is None if the value consists of messages, and none of them has this role and content.
    """
    kind = type_of(value)
    if kind is dict and len(value) == 1:
        if type_of(value.get("messages")) is list:
            return _last_message(value, side.role)
        text = next((value[key] for key in side.keys if type_of(value.get(key)) is str and value[key]), None)
        return value if text is None else {"messages": [{"role": side.role, "content": text}]}
    return {"messages": [{"role": side.role, "content": value}]} if kind is str and value else value


def _last_message(value: Any, role: str) -> dict[str, Any] | None:
    """Return the last message of the role that has content, without its tool calls, in the form for a trace."""
    for message in reversed(messages_in(value)):
        content: Any = message.get("content")
        if message.get("role") != role or is_absent(content):
            continue
        if type_of(content) is list and all(map(_is_of_provider, content)):
            continue  # a search by the provider is not an answer
        return {"messages": [{key: item for key, item in message.items() if key != "tool_calls"}]}
    return None


def _is_of_provider(part: Any) -> bool:
    return type_of(part) is dict and word(part.get("type")) in _PROVIDER_TOOLS
