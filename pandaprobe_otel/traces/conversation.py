"""Conversations inside payloads: messages in the formats of chat APIs and instrumentations.

The normal form is `{"messages": [{"role", "content", "tool_calls"}]}`. A list of messages, a single message, and
content in parts are read too. Anything else is shown as a payload.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from pandaprobe_otel.traces.json_shapes import compact_json, items, list_in, members, object_in
from pandaprobe_otel.traces.records import SpanRecord

_TEXT_KEYS: Final = ("text", "content", "input_text", "output_text", "thinking", "reasoning")
_MESSAGE_KEYS: Final = frozenset(
    {"role", "content", "parts", "text", "tool_calls", "name", "tool_call_id", "message", "type", "id"}
)
"""Keys of a message that are shown or identify it."""
_REASONING_KEYS: Final = ("reasoning_content", "reasoning", "thinking")
_REASONING_TYPES: Final = frozenset({"reasoning", "thinking"})

_CALL_TYPES: Final = frozenset({"tool_use", "tool_call", "function_call"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A tool call that a model requested. `result` is the message that answers it, if both are shown together."""

    name: str
    arguments: Any
    id: str | None = None
    result: Message | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message.

    Attributes:
        extra: Content other than text (images, files, structured parts).
        reasoning: The model's thoughts before its answer.
        answers: The id of the call whose result the message is.
        answers_name: The name of the called tool, if the call precedes the message.
    """

    role: str
    text: str
    calls: tuple[ToolCall, ...] = ()
    name: str | None = None
    extra: tuple[Any, ...] = ()
    reasoning: tuple[str, ...] = ()
    answers: str | None = None
    answers_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One model call inside a trace: its new messages and its answer."""

    span: SpanRecord
    fresh_thread: bool
    messages: tuple[Message, ...]
    answer: tuple[Message, ...]


def messages_in(payload: Any, default_role: str) -> tuple[Message, ...]:
    """Return the messages of a payload; none if it is not a conversation."""
    if (record := object_in(payload)) is not None:
        inner = list_in(record.get("messages", record.get("choices")))
        if inner is not None:
            return _all(inner, default_role)
        return (_message(record, default_role),) if _is_message(record) else ()
    items = list_in(payload)
    return _all(items, default_role) if items and all(_is_message(item) for item in items) else ()


def as_messages(payload: Any, default_role: str) -> tuple[Message, ...]:
    """Return the messages of a payload. Text becomes one message of the given role."""
    if isinstance(payload, str):
        return (Message(role=default_role, text=payload),) if payload else ()
    return messages_in(payload, default_role)


def requested_tools(span: SpanRecord) -> list[str]:
    """Return the names of the tools that a model requested in its answer."""
    names = (call.name for message in as_messages(span.output, "assistant") for call in message.calls)
    return [name for name in names if name != "?"]


def offered_tools(span: SpanRecord) -> dict[str | None, str]:
    """Return the descriptions of the tools that were offered to a model call, by their names.

    The name is None for a tool without one: a tool of the service itself, or an unknown form.
    """
    found: dict[str | None, str] = {}
    for holder in (span.metadata, members(span.body.get("model_parameters")), members(span.input)):
        for tool in items(holder.get("tools")):
            record = members(tool)
            record = members(record.get("function")) or record
            name = tool if isinstance(tool, str) else record.get("name")
            found.setdefault(name if isinstance(name, str) else None, str(record.get("description") or ""))
    return found


def rest_of_messages(payload: Any) -> dict[str, Any]:
    """Return the content of a payload other than its messages, by key; empty if it is not a conversation."""
    record = object_in(payload)
    if record is None or list_in(record.get("messages")) is None:
        return {}
    return {key: value for key, value in record.items() if key != "messages"}


def with_results(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return messages in which each tool result is moved to its call, if the call precedes it."""
    return _with_results([messages])[0]


def turns_of(spans: Sequence[SpanRecord]) -> list[Turn]:
    """Return the model calls of a trace in order, each with only the new messages of its thread.

    A call belongs to the thread whose messages it begins with. A call that begins differently starts a new thread. Tool
    results are moved to their calls.
    """
    turns = _turns(spans)
    said = iter(_with_results([part for turn in turns for part in (turn.messages, turn.answer)]))
    return [replace(turn, messages=next(said), answer=next(said)) for turn in turns]


def _with_results(groups: Sequence[Sequence[Message]]) -> list[tuple[Message, ...]]:
    """Move each result to its call, which precedes it in the same or an earlier group."""
    calls: dict[str, tuple[int, int, int]] = {}
    kept: list[list[Message]] = []
    for group in groups:
        kept.append([])
        for message in group:
            place = calls.get(message.answers) if message.answers is not None else None
            if place is not None:
                holder = kept[place[0]][place[1]]
                call = holder.calls[place[2]]
                named = replace(message, answers_name=call.name)
                if call.result is None:
                    answered = (*holder.calls[: place[2]], replace(call, result=named), *holder.calls[place[2] + 1 :])
                    kept[place[0]][place[1]] = replace(holder, calls=answered)
                    continue
                message = named
            at = (len(kept) - 1, len(kept[-1]))
            calls.update({call.id: (*at, number) for number, call in enumerate(message.calls) if call.id is not None})
            kept[-1].append(message)
    return [tuple(group) for group in kept]


def _turns(spans: Sequence[SpanRecord]) -> list[Turn]:
    turns: list[Turn] = []
    threads: list[list[str]] = []
    for span in spans:
        if span.kind != "LLM":
            continue
        given = as_messages(span.input, "user")
        answer = as_messages(span.output, "assistant")
        if not given and not answer:
            continue
        marks = [_mark(message) for message in given]
        thread: list[str] = max(threads, key=partial(shared_start, marks), default=list[str]())
        known = shared_start(marks, thread)
        # A shared system message alone does not make two calls one conversation.
        fresh = known < min(2, len(marks)) or not thread
        if fresh:
            known, thread = 0, list[str]()
            threads.append(thread)
        thread[:] = [*marks, *(_mark(message) for message in answer)]
        turns.append(Turn(span=span, fresh_thread=fresh, messages=given[known:], answer=answer))
    return turns


def preview(payload: Any, length: int = 160) -> str:
    """Return a summary of a payload on one line."""
    if payload is None:
        return ""
    if isinstance(payload, str):
        text = payload
    else:
        found = messages_in(payload, "user")
        said = next((message for message in reversed(found) if message.text or message.calls), None)
        if said is None:
            text = compact_json(payload)
        else:
            text = said.text or ", ".join(f"{call.name}()" for call in said.calls)
    line = " ".join(text[: length * 4].split())
    return line if len(line) <= length else line[: length - 1] + "…"


def _all(items: Sequence[Any], default_role: str) -> tuple[Message, ...]:
    return tuple(_message(item, default_role) for item in items)


def _is_message(item: Any) -> bool:
    record = object_in(item)
    return record is not None and ("role" in record or "message" in record)


def _message(item: Any, default_role: str) -> Message:
    record = object_in(item)
    if record is None:
        return Message(role=default_role, text=item if isinstance(item, str) else compact_json(item))
    record = object_in(record.get("message")) or record
    calls = [_call(call) for call in list_in(record.get("tool_calls")) or ()]
    texts: list[str] = []
    thoughts: list[str] = []
    extra: list[Any] = []
    content = record.get("content", record.get("parts", record.get("text")))
    parts: Sequence[Any] = [content] if isinstance(content, str) else list_in(content) or ()
    if content is not None and not parts and content != []:
        extra.append(content)
    for part in parts:
        found = object_in(part)
        if isinstance(part, str):
            texts.append(part)
        elif found is not None and found.get("type") in _CALL_TYPES:
            calls.append(_call(found))
        elif found is not None and (key := _text_key(found)) is not None:
            is_thought = found.get("type") in _REASONING_TYPES or key in _REASONING_TYPES
            (thoughts if is_thought else texts).append(found[key])
            extra += _beside(found, {key, "type"})  # such as citations
        else:
            extra.append(part)
    thoughts += [record[key] for key in _REASONING_KEYS if isinstance(record.get(key), str) and record[key]]
    extra += _beside(record, _MESSAGE_KEYS | {key for key in _REASONING_KEYS if isinstance(record.get(key), str)})
    role, name, answers = record.get("role"), record.get("name"), record.get("tool_call_id")
    return Message(
        role=role if isinstance(role, str) else default_role,
        text="\n".join(texts),
        calls=tuple(calls),
        name=name if isinstance(name, str) else None,
        extra=tuple(extra),
        reasoning=tuple(thoughts),
        answers=answers if isinstance(answers, str) else None,
    )


def _beside(record: Mapping[str, Any], shown: Container[str]) -> list[dict[str, Any]]:
    """Return the members of an object that are not shown otherwise, as one object; nothing if there are none."""
    rest = {key: value for key, value in record.items() if key not in shown and value is not None}
    return [rest] if rest else []


def _text_key(part: Mapping[str, Any]) -> str | None:
    return next((key for key in _TEXT_KEYS if isinstance(part.get(key), str)), None)


def _call(raw: Any) -> ToolCall:
    record = object_in(raw) or {}
    named = object_in(record.get("function")) or record
    arguments = named.get("arguments", named.get("input", named.get("args")))
    if isinstance(arguments, str):
        # Models may write arguments that are not JSON. These are shown unchanged.
        with suppress(ValueError):
            arguments = json.loads(arguments)
    identity = record.get("id", record.get("call_id"))
    return ToolCall(
        name=str(named.get("name", "?")), arguments=arguments, id=identity if isinstance(identity, str) else None
    )


def _mark(message: Message) -> str:
    calls = [(call.name, call.arguments) for call in message.calls]
    return json.dumps([message.role, message.text, calls, message.extra], default=str, sort_keys=True)


def shared_start(left: Sequence[Any], right: Sequence[Any]) -> int:
    """Return the number of items with which both begin."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(left), len(right)))
