"""Content in events: span events, or log records joined by span id, one per message or one per side.

Reads OpenTelemetry's per-message events (conventions 1.28 to 1.36), the older `gen_ai.content.*`, and the variants of
Strands, Semantic Kernel and Google ADK under the same names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

from pandaprobe_otel.mapping.dialect_table import Dialect, EventRow
from pandaprobe_otel.mapping.dialects.otel_genai import finish_reasons
from pandaprobe_otel.mapping.messages import typed_parts
from pandaprobe_otel.mapping.span_view import EventView, SpanView
from pandaprobe_otel.mapping.values import decoded, is_absent, type_of

_INPUTS: Final = {
    "gen_ai.system.message": "system",
    "gen_ai.developer.message": "developer",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
_CHOICE: Final = "gen_ai.choice"


def from_events(entries: Any, side: str) -> list[Any] | None:
    """Return the messages of one side from event bodies that carry their name as `event.name`."""
    found: list[Any] = []
    for entry in entries if type_of(entries) is list else ():
        name = entry.get("event.name") if type_of(entry) is dict else None
        if side == "input" and name in _INPUTS:
            found.append(message(entry, _INPUTS[name]))
        elif side == "output" and name == _CHOICE:
            found.extend(choice(entry))
    return found or None


def message(body: Any, role: str) -> dict[str, Any]:
    """Return the message in an event's body. Its role is the body's role, else `role`."""
    result: dict[str, Any] = {"role": body.get("role") or role, "content": _content(body.get("content"))}
    for key in ("tool_calls", "name"):
        if not is_absent(body.get(key)):
            result[key] = body[key]
    identity = body.get("tool_call_id") or body.get("id")
    if role == "tool" and identity:
        result["tool_call_id"] = identity
    return result


def choice(body: Any) -> list[dict[str, Any]]:
    """Return the message in a choice's body, and the tool results that Strands adds to it."""
    inner = body.get("message")
    alone = {"content": inner if inner is not None else body.get("content")}
    source: Any = inner if type_of(inner) is dict else alone
    if is_absent(source.get("tool_calls")) and not is_absent(body.get("tool_calls")):
        source = {**source, "tool_calls": body["tool_calls"]}
    messages = [message(source, "assistant")]
    if reasons := finish_reasons(body.get("finish_reason")):
        messages[0]["finish_reason"] = reasons[0]
    results = decoded(body.get("tool.result"))
    if type_of(results) is list:
        messages.append({"role": "tool", "content": results})
    return messages


def _content(value: Any) -> Any:
    if value == "<elided>":
        return None
    if type_of(value) is dict and type_of(value.get("parts")) is list:  # Gemini content, as Google ADK logs it
        return value["parts"]
    if type_of(value) is str:
        return typed_parts(value) or value
    return value


def first_time(events: list[EventView], _: SpanView) -> int | None:
    """Return the time of the first event."""
    return events[0].time_ns


def _body(event: EventView) -> Any:
    """Return the body of a log record, or the attributes of a span event."""
    body = decoded(event.body)
    if type_of(body) is dict:
        return body
    return dict(event.attributes)


def _inputs(events: list[EventView], view: SpanView) -> list[Any] | None:
    return [message(_body(event), _INPUTS[event.name]) for event in events] or None


def _outputs(events: list[EventView], _: SpanView) -> list[Any] | None:
    return [one for event in events for one in choice(_body(event))] or None


def _joined(attribute: str) -> Callable[[list[EventView], SpanView], list[Any] | None]:
    def convert(events: list[EventView], _: SpanView) -> list[Any] | None:
        joined: list[Any] = []
        for event in events:
            value = decoded(event.attributes.get(attribute))
            joined.extend(value if type_of(value) is list else [] if is_absent(value) else [value])
        return joined or None

    return convert


def _tool_input(events: list[EventView], _: SpanView) -> Any:
    return _body(events[0]).get("content")


def _tool_output(events: list[EventView], _: SpanView) -> Any:
    body = _body(events[-1])
    return body.get("message", body.get("content"))


# -- details events ---------------------------------------------------------------------------------------------------

DETAILS: Final = "gen_ai.client.inference.operation.details"
"""Name of events with the same attributes as the span.

Often one event has the input and another the output. So they are merged into the span's attributes. If both have an
attribute, the span's value is used and the event's value is kept under the event's name. Token counts of several calls
are added up.
"""


_OF_CALL: Final = ("gcp.vertex.agent.event_id", "gen_ai.response.id")
"""Attributes that distinguish the calls of one span, as OpenInference makes one for all calls of an ADK agent."""


def with_details(view: SpanView) -> SpanView:
    """Return the view with the attributes of its details events, or the view itself if it has none."""
    folded: dict[str, Any] = {}
    others: dict[str, list[Any]] = {}
    calls: dict[Any, dict[str, int]] = {}  # counts of each call, if the events are of several
    for event in view.events:
        if event.name == DETAILS:
            call = next((event.attributes[name] for name in _OF_CALL if name in event.attributes), None)
            for key, value in event.attributes.items():
                if key.startswith("gen_ai.usage.") and type_of(value) is int:
                    calls.setdefault(call, {})[key] = value
                elif key in folded:
                    value = _both(key, folded[key], value, others)
                folded[key] = value
    if not folded:
        return view
    own = {key: value for key, value in view.attributes.items() if not is_absent(value)}
    if len(calls) > 1:
        for key in {key for counts in calls.values() for key in counts}:
            numbers = [counts[key] for counts in calls.values() if key in counts]
            folded[key] = sum(numbers)
            if own.get(key) in numbers:
                del own[key]  # of the last call
    for key, value in own.items():
        if key in folded and decoded(folded[key]) != decoded(value):
            others.setdefault(f"{DETAILS}:{key}", []).append(folded[key])
    return dataclasses.replace(view, attributes={**folded, **own, **others})


def _both(key: str, earlier: Any, later: Any, others: dict[str, list[Any]]) -> Any:
    """Return both values joined if they are lists. Else return the later one and add the earlier one to `others`."""
    first, second = decoded(earlier), decoded(later)
    if first == second:
        return later
    if type_of(first) is list and type_of(second) is list:
        return [*first, *second]
    others.setdefault(f"{DETAILS}:{key}", []).append(earlier)
    return later


DIALECT: Final = Dialect(
    name="events",
    title="Content in span events and log records",
    events=(
        EventRow("input", tuple(_INPUTS), _inputs),
        EventRow("output", (_CHOICE,), _outputs, "one per choice"),
        EventRow("input", ("gen_ai.content.prompt",), _joined("gen_ai.prompt"), "attribute `gen_ai.prompt`"),
        EventRow(
            "output", ("gen_ai.content.completion",), _joined("gen_ai.completion"), "attribute `gen_ai.completion`"
        ),
        EventRow("tool.input", ("gen_ai.tool.message",), _tool_input, "on a TOOL span (Strands)"),
        EventRow("tool.output", (_CHOICE,), _tool_output, "on a TOOL span (Strands)"),
    ),
    note="Attributes of the event `gen_ai.client.inference.operation.details` are first added to those of the span.",
)
