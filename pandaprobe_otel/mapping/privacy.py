"""Removal of data that `capture` forbids, before anything is derived from a span."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel.mapping.mapped_span import MappedSpan, name_of
from pandaprobe_otel.mapping.options import Capture
from pandaprobe_otel.mapping.values import type_of

_TELLING: Final = frozenset(
    {
        "agent_description", "full_name", "rendered_name", "reasoning_summary", "replay", "stack_trace",
        "tool_description", "tools", "prompt_template", "db.query.text", "attributes", "cost_details", "events",
        "input_reasoning", "response", "status_message", "trace_input", "trace_output", "url.full", "url.path",
    }
)  # fmt: skip
"""Metadata with texts of the app or its users. URLs contain queries and the names of requested things."""


_NUMBERS: Final = frozenset({int, float, bool})


def restrict(span: MappedSpan, capture: Capture) -> None:
    """Remove everything that `capture` forbids from a span's body; the content of the span was never read."""
    if capture == "all":
        return
    body, metadata = span.body, span.metadata
    if "rendered_name" in span.found:
        span.found = {field: value for field, value in span.found.items() if field != "rendered_name"}
        body["name"] = name_of(span)
    if "error" in body:
        body["error"] = str(metadata.get("exception_type") or metadata.get("error_type") or "error")
    parameters = body.get("model_parameters")
    if parameters is not None:
        body["model_parameters"] = {key: item for key, item in parameters.items() if type_of(item) in _NUMBERS}
    body["metadata"] = {} if capture == "off" else {k: v for k, v in metadata.items() if k not in _TELLING}


def restrict_trace(fields: dict[str, Any], capture: Capture) -> None:
    """Remove everything that `capture` forbids from a trace's fields, if it is not `all`."""
    for side in ("input", "output"):
        fields.pop(side, None)
        fields["metadata"].pop(f"{side}_from", None)
    if capture == "off":
        fields["metadata"] = {}
        fields.pop("tags", None)


def silence_tools(value: Any) -> Any:
    """Return a conversation without the arguments and results of tools."""
    if type_of(value) is not dict:
        return value
    messages = value.get("messages")
    if type_of(messages) is not list:
        return value
    return {**value, "messages": [_without_tools(message) for message in messages]}


_OF_ANY_RESULT: Final = ("role", "tool_call_id", "name", "is_error")
"""Keys of a removed tool result that are still sent. Other keys may contain part of it."""


def _without_tools(message: Any) -> Any:
    if type_of(message) is not dict:
        return message
    if message.get("role") == "tool":
        return {"content": None, **{key: message[key] for key in _OF_ANY_RESULT if key in message}}
    if "tool_calls" in message:
        calls = [
            {**call, "function": {"name": call["function"].get("name"), "arguments": "{}"}}
            for call in message["tool_calls"]
        ]
        return {**message, "tool_calls": calls}
    return message
