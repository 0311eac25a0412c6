"""Facts about a trace beyond its spans: counts and sums, bottlenecks, and the use of tools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pandaprobe_otel.traces.conversation import offered_tools, requested_tools
from pandaprobe_otel.traces.prompt_cache import cache_faults
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord

_BOTTLENECKS: Final = 5


def facts_of(record: TraceRecord) -> dict[str, Any]:
    """Return counts and sums of a trace; None where no span states the value.

    `bottlenecks` are spans on the critical path, each with its share of the trace's time.
    """
    trace, spans, length = record.body, record.tree, record.length_ms
    usages = [span.usage for span in spans if span.usage is not None]
    first_tokens = [span.first_token_ms for span in spans if span.first_token_ms is not None]
    critical = sorted((span for span in spans if span in record.critical_path), key=lambda span: -span.self_ms)
    shares = [(span, span.self_ms / length) for span in critical[:_BOTTLENECKS] if length]
    return {
        "duration_ms": length or None if record.duration_ms is None else record.duration_ms,
        "llm_calls": sum(span.kind == "LLM" for span in spans),
        "tool_calls": sum(span.kind == "TOOL" for span in spans),
        "prompt_tokens": sum(prompt for prompt, _ in usages),
        "completion_tokens": sum(completion for _, completion in usages),
        "tokens": trace["total_tokens"] if usages or trace["total_tokens"] else None,
        "cost": trace["total_cost"] if trace["total_cost"] or any(span.body["cost"] for span in spans) else None,
        "models": sorted({span.model for span in spans if span.model}),
        "first_token_ms": min(first_tokens, default=None),
        "errors": [span for span in spans if span.failed or span.body["error"]],
        "bottlenecks": [(span, share) for span, share in shares if share >= 0.01],
        "cache_faults": cache_faults([record]),
    }


def tools_of(span: SpanRecord) -> tuple[list[tuple[str, str, int]], list[str]]:
    """Return the tools that were offered to a model call, and those that the model requested without an offer.

    An offered tool has a name, a description, and the number of times that the model requested it.
    """
    offered, called = offered_tools(span), Counter(requested_tools(span))
    shown = [(name or "?", text, called[name or "?"]) for name, text in offered.items()]
    return shown, sorted(called.keys() - offered.keys()) if offered else []


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


def tool_uses(spans: Sequence[SpanRecord]) -> list[ToolUse]:
    """Return every tool of a trace, the most frequently run first.

    A run of a tool is a span of kind TOOL, or a span of any other kind with the name of a tool (a retriever, an agent).
    """
    uses: dict[str, ToolUse] = {}

    def use(name: str | None) -> ToolUse:
        return uses.setdefault(name or "?", ToolUse(name=name or "?"))

    for span in spans:
        if span.kind == "LLM":
            for offered in offered_tools(span):
                use(offered).offered += 1
            for name in requested_tools(span):
                use(name).asked += 1
    for span in spans:
        if span.kind == "TOOL" or (span.kind != "LLM" and span.name in uses):
            ran = use(span.name)
            ran.ran += 1
            ran.failed += span.failed
            ran.total_ms += span.duration_ms or 0.0
            ran.spans.append(span.id)
    return sorted(uses.values(), key=lambda one: (-one.ran, -one.asked, one.name))
