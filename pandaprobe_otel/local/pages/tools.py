"""Tools of a trace: those offered to each model call, those it requested, and their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pandaprobe_otel.traces.conversation import ToolCall, as_messages
from pandaprobe_otel.traces.json_shapes import list_in, object_in
from pandaprobe_otel.traces.records import SpanRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedTool:
    """An offered tool. `called` is the number of times that the model requested it in this call."""

    name: str
    description: str
    called: int


@dataclass(slots=True, kw_only=True)
class ToolUse:
    """Use of a tool in a whole trace."""

    name: str
    offered: int = 0
    asked: int = 0
    ran: int = 0
    failed: int = 0
    total_ms: float = 0.0
    spans: list[str] = field(default_factory=list[str])


def calls_of(span: SpanRecord) -> tuple[ToolCall, ...]:
    """Return the tools that a model requested in its answer."""
    return tuple(call for message in as_messages(span.output, "assistant") for call in message.calls)


def offered_to(span: SpanRecord) -> list[OfferedTool]:
    """Return the tools that were offered to a model call, as recorded in its metadata, parameters or input."""
    counts: dict[str, int] = {}
    for call in calls_of(span):
        counts[call.name] = counts.get(call.name, 0) + 1
    return [
        OfferedTool(name=name, description=description, called=counts.get(name, 0))
        for name, description in _declared(span).items()
    ]


def not_offered(span: SpanRecord) -> list[str]:
    """Return the tools that a model requested without an offer."""
    declared = _declared(span)
    if not declared:
        return []
    return sorted({call.name for call in calls_of(span)} - set(declared))


def tool_uses(spans: Sequence[SpanRecord]) -> list[ToolUse]:
    """Return every tool of a trace, the most frequently run first.

    A run of a tool is a span of kind TOOL, or a span of any other kind with the name of a tool (a retriever, an agent).
    """
    uses: dict[str, ToolUse] = {}

    def use(name: str) -> ToolUse:
        return uses.setdefault(name, ToolUse(name=name))

    for span in spans:
        if span.kind == "LLM":
            for name in _declared(span):
                use(name).offered += 1
            for call in calls_of(span):
                use(call.name).asked += 1
    for span in spans:
        if span.kind == "TOOL" or (span.kind != "LLM" and span.name in uses):
            ran = use(span.name)
            ran.ran += 1
            ran.failed += span.failed
            ran.total_ms += span.duration_ms or 0.0
            ran.spans.append(span.id)
    return sorted(uses.values(), key=lambda one: (-one.ran, -one.asked, one.name))


def _declared(span: SpanRecord) -> dict[str, str]:
    declared: dict[str, str] = {}
    for holder in (span.metadata, span.body.get("model_parameters"), span.input):
        for tool in list_in((object_in(holder) or {}).get("tools")) or ():
            record = object_in(tool)
            if record is not None:
                named = object_in(record.get("function")) or record
                declared.setdefault(str(named.get("name", "?")), str(named.get("description") or ""))
            elif isinstance(tool, str):
                declared.setdefault(tool, "")
    return declared
