"""`POST /v1/messages`."""

from __future__ import annotations

import re
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body, Failure
from pandaprobe_otel_integrations._shape import integer, number, obj, objects, string, strings
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events

from .blocks import input_messages, output_message, system_parts, tool_definition
from .stream import merged_events

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
"""Anthropic's stop reasons in the conventions' words; others are kept."""


class Messages:
    """Messages of Anthropic's API."""

    operation = "chat"
    last_event: LastEvent | None = _LAST_EVENT

    def request_attributes(self, body: Body) -> Attributes:
        """Model and parameters."""
        return {
            names.REQUEST_MODEL: string(body.get("model")),
            names.MAX_TOKENS: integer(body.get("max_tokens")),
            names.TEMPERATURE: number(body.get("temperature")),
            names.TOP_P: number(body.get("top_p")),
            names.TOP_K: number(body.get("top_k")),
            names.STOP_SEQUENCES: strings(body.get("stop_sequences")),
            names.STREAM: True if body.get("stream") is True else None,
            names.REASONING_LEVEL: string(obj(body.get("output_config")).get("effort")),
            names.OUTPUT_TYPE: "json" if _wants_json(body) else None,
        }

    def request_content(self, body: Body) -> Content:
        """Messages, system prompt and tools."""
        return {
            names.SYSTEM_INSTRUCTIONS: system_parts(body.get("system")),
            names.INPUT_MESSAGES: input_messages(objects(body.get("messages"))),
            names.TOOL_DEFINITIONS: [tool_definition(tool) for tool in objects(body.get("tools"))],
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """The message, why it ended, and its usage."""
        stop_reason = string(body.get("stop_reason"))
        reason = FINISH_REASONS.get(stop_reason, stop_reason) if stop_reason is not None else None
        attributes: Attributes = {
            names.RESPONSE_ID: string(body.get("id")),
            names.RESPONSE_MODEL: string(body.get("model")),
            names.FINISH_REASONS: [reason] if reason is not None else None,
            **usage_attributes(body.get("usage")),
        }
        content: Content = {names.OUTPUT_MESSAGES: output_message(body, reason)} if with_content else {}
        return Answer(attributes=attributes, content=content, failure=failure_in(body.get("error")))

    def merged(self, events: Events) -> Body:
        """The events as one message."""
        return merged_events(obj(event.data) for event in events.items)

    def is_output(self, event: Event) -> bool:
        """The first content; `message_start` and `ping` only announce it."""
        return obj(event.data).get("type") in ("content_block_start", "content_block_delta")


def _wants_json(body: Body) -> bool:
    wanted = obj(body.get("output_format")) or obj(obj(body.get("output_config")).get("format"))
    return wanted.get("type") == "json_schema"


def usage_attributes(usage: Any) -> Attributes:
    """Anthropic counts cached tokens beside the input, the conventions inside it."""
    counts = obj(usage)
    fresh = integer(counts.get("input_tokens"))
    read = integer(counts.get("cache_read_input_tokens"))
    written = integer(counts.get("cache_creation_input_tokens"))
    return {
        names.INPUT_TOKENS: fresh + (read or 0) + (written or 0) if fresh is not None else None,
        names.OUTPUT_TOKENS: integer(counts.get("output_tokens")),
        names.CACHE_READ_TOKENS: read,
        names.CACHE_WRITE_TOKENS: written,
        names.REASONING_TOKENS: integer(obj(counts.get("output_tokens_details")).get("thinking_tokens")),
    }


def failure_in(error: Any) -> Failure | None:
    """The error of a body, where it has one."""
    found = obj(error)
    if not found:
        return None
    kind = string(found.get("type")) or "error"
    return Failure(type=kind, message=string(found.get("message")) or kind)
