"""Arguments and results of tool spans that have none, from the model calls of the trace, by the id of the tool call.

Google ADK 2 and AutoGen record both only there, and evaluations read the spans of tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pandaprobe_otel.mapping.exact_types import type_of
from pandaprobe_otel.mapping.mapped_span import MappedSpan
from pandaprobe_otel.mapping.span_fields import put
from pandaprobe_otel.mapping.values import decoded


def fill_tools(spans: Sequence[MappedSpan]) -> None:
    """Set the missing inputs and outputs of tools, and note in the metadata from which span they are."""
    called = [span for span in spans if span.kind == "TOOL" and "tool_call_id" in span.metadata]
    empty = [span for span in called if not ("input" in span.body and "output" in span.body)]
    if not empty:
        return
    asked: dict[Any, tuple[Any, MappedSpan]] = {}
    answered: dict[Any, tuple[Any, MappedSpan]] = {}
    for span in spans:
        if span.kind != "LLM":
            continue
        for message in _messages(span, "output"):
            for call in message.get("tool_calls") or ():
                asked.setdefault(call.get("id"), (decoded(call["function"].get("arguments")), span))
        for message in _messages(span, "input"):
            if message.get("role") == "tool":
                answered.setdefault(message.get("tool_call_id"), (message.get("content"), span))
    for span in empty:
        for side, known in (("input", asked), ("output", answered)):
            value, source = known.get(span.metadata["tool_call_id"], (None, span))
            if value not in (None, {}) and side not in span.body:
                span.body[side] = value
                put(span, f"{side}_from", {"span_id": source.body["span_id"], "name": source.body["name"]})


def _messages(span: MappedSpan, side: str) -> list[Any]:
    value: Any = span.body.get(side)
    messages: Any = value.get("messages") if type_of(value) is dict else None
    return [one for one in messages if type_of(one) is dict] if type_of(messages) is list else []
