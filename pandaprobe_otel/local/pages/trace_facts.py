"""Facts about a trace beyond its spans: counts and sums, bottlenecks, and the use of tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pandaprobe_otel.traces.conversation import ToolCall, as_messages
from pandaprobe_otel.traces.json_shapes import list_in, object_in
from pandaprobe_otel.traces.prompt_cache import CacheFault, cache_faults
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord

_BOTTLENECKS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottleneck:
    """A span on the critical path, and its share of the trace's time."""

    node: SpanRecord
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Counts and sums of a trace. None: no span states the value."""

    duration_ms: float | None
    llm_calls: int
    tool_calls: int
    prompt_tokens: int
    completion_tokens: int
    tokens: int | None
    cost: float | None
    models: Sequence[str]
    first_token_ms: float | None
    errors: Sequence[SpanRecord]
    bottlenecks: Sequence[Bottleneck]
    cache_faults: Sequence[CacheFault]


def facts_of(record: TraceRecord) -> Facts:
    """Return the facts of a trace."""
    trace, spans = record.body, record.tree
    usages = [span.usage for span in spans if span.usage is not None]
    first_tokens = [span.first_token_ms for span in spans if span.first_token_ms is not None]
    return Facts(
        duration_ms=record.length_ms or None if record.duration_ms is None else record.duration_ms,
        llm_calls=sum(span.kind == "LLM" for span in spans),
        tool_calls=sum(span.kind == "TOOL" for span in spans),
        prompt_tokens=sum(prompt for prompt, _ in usages),
        completion_tokens=sum(completion for _, completion in usages),
        tokens=trace["total_tokens"] if usages or trace["total_tokens"] else None,
        cost=trace["total_cost"] if trace["total_cost"] or any(span.body["cost"] for span in spans) else None,
        models=sorted({span.model for span in spans if span.model}),
        first_token_ms=min(first_tokens, default=None),
        errors=[span for span in spans if span.failed or span.body["error"]],
        bottlenecks=_bottlenecks(record),
        cache_faults=cache_faults([record]),
    )


def _bottlenecks(record: TraceRecord) -> list[Bottleneck]:
    if not record.length_ms:
        return []
    critical = sorted((span for span in record.tree if span in record.critical_path), key=lambda span: -span.self_ms)
    shares = [Bottleneck(node=span, share=span.self_ms / record.length_ms) for span in critical[:_BOTTLENECKS]]
    return [one for one in shares if one.share >= 0.01]


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
