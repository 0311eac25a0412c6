"""`POST /v1/messages`."""

from __future__ import annotations

import re
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body, Failure
from pandaprobe_otel_integrations._json_attributes import Readings, read, true
from pandaprobe_otel_integrations._other_members import Counts, beside, names_of, parameters
from pandaprobe_otel_integrations._shape import integer, number, obj, objects, string, strings
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events
from pandaprobe_otel_integrations._streams.text_runs import Place

from .blocks import input_messages, output_message, system_parts, tool_definition
from .stream import growing_text, merged_events

_LAST_EVENT: Final = LastEvent(
    hint=b"message_stop",
    mark=re.compile(rb'(?:^|[\n\r])(?:event: ?message_stop[\n\r]|data: ?\{"type": ?"message_stop")'),
)
FINISH_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_call",
    "refusal": "content_filter",
}
"""Anthropic's stop reasons in the conventions' words; all others stay unchanged."""


class Messages:
    """Messages of Anthropic's API."""

    operation = "chat"
    last_event: LastEvent | None = _LAST_EVENT

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and parameters."""
        attributes = read(body, _PARAMETERS)
        if ("output_format" in body or "output_config" in body) and _wants_json(body):
            attributes[names.OUTPUT_TYPE] = "json"
        return attributes

    def request_content(self, body: Body) -> Content:
        """Return messages, system prompt and tools."""
        found: Content = {names.INPUT_MESSAGES: input_messages(objects(body.get("messages")))}
        if "system" in body:
            found = {names.SYSTEM_INSTRUCTIONS: system_parts(body["system"]), **found}
        if "tools" in body:
            found = {**found, names.TOOL_DEFINITIONS: [tool_definition(tool) for tool in objects(body["tools"])]}
        return {**found, **parameters(body, _READ)} if body.keys() - _READ else found

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the message, its finish reason, and its usage."""
        stop_reason = body.get("stop_reason")
        reason = FINISH_REASONS.get(stop_reason, stop_reason or None) if isinstance(stop_reason, str) else None
        attributes = read(body, _ANSWERED)
        if reason is not None:
            attributes[names.FINISH_REASONS] = [reason]
        attributes.update(usage_attributes(body.get("usage")))
        content: Content = {}
        if with_content:
            content = {names.OUTPUT_MESSAGES: output_message(body, reason), **beside(body, _ANSWER, _COUNTED)}
        return Answer(
            attributes=attributes,
            content=content,
            failure=failure_in(body["error"]) if "error" in body else None,
        )

    def merged(self, events: Events) -> Body:
        """Return the events as one message."""
        return merged_events(obj(event.data) for event in events.items)

    def is_output(self, event: Event) -> bool:
        """Return whether the event is the first content; `message_start` and `ping` only announce it."""
        return obj(event.data).get("type") in ("content_block_start", "content_block_delta")

    def growing(self, event: Event) -> Place | None:
        """Return the text of a delta."""
        return growing_text(obj(event.data))


def _effort(output_config: Any) -> str | None:
    return string(obj(output_config).get("effort"))


def _previous(thread: Any) -> str | None:
    return string(obj(thread).get("previous_message_id"))


def _thoughts(details: Any) -> int | None:
    return integer(obj(details).get("thinking_tokens"))


_PARAMETERS: Final[Readings] = {
    "model": (names.REQUEST_MODEL, string),
    "max_tokens": (names.MAX_TOKENS, integer),
    "temperature": (names.TEMPERATURE, number),
    "top_p": (names.TOP_P, number),
    "top_k": (names.TOP_K, number),
    "stop_sequences": (names.STOP_SEQUENCES, strings),
    "stream": (names.STREAM, true),
    "output_config": (names.REASONING_LEVEL, _effort),
    "thread": (names.PREVIOUS_RESPONSE_ID, _previous),
}
_READ: Final = names_of(_PARAMETERS, ("messages", "system", "tools")) - {"output_config", "thread"}
"""Members of a request that are completely recorded in attributes or messages."""
_ANSWERED: Final[Readings] = {"id": (names.RESPONSE_ID, string), "model": (names.RESPONSE_MODEL, string)}
_ANSWER: Final = names_of(_ANSWERED, ("type", "role", "content", "stop_reason", "usage", "error"))
_COUNTS: Final[Readings] = {
    "input_tokens": (names.INPUT_TOKENS, integer),
    "output_tokens": (names.OUTPUT_TOKENS, integer),
    "cache_read_input_tokens": (names.CACHE_READ_TOKENS, integer),
    "cache_creation_input_tokens": (names.CACHE_WRITE_TOKENS, integer),
    "output_tokens_details": (names.REASONING_TOKENS, _thoughts),
}
_COUNTED: Final[Counts] = {**dict.fromkeys(_COUNTS), "output_tokens_details": frozenset({"thinking_tokens"})}


def _wants_json(body: Body) -> bool:
    wanted = obj(body.get("output_format")) or obj(obj(body.get("output_config")).get("format"))
    return wanted.get("type") == "json_schema"


def usage_attributes(usage: Any) -> Attributes:
    """Return the usage: Anthropic does not count cached tokens as input, but the conventions do."""
    found = read(usage if usage.__class__ is dict else obj(usage), _COUNTS)
    if names.INPUT_TOKENS in found:
        found[names.INPUT_TOKENS] += found.get(names.CACHE_READ_TOKENS, 0) + found.get(names.CACHE_WRITE_TOKENS, 0)
    return found


def failure_in(error: Any) -> Failure | None:
    """Return the error of a body, if it has one."""
    found = obj(error)
    if not found:
        return None
    kind = string(found.get("type")) or "error"
    return Failure(type=kind, message=string(found.get("message")) or kind)
