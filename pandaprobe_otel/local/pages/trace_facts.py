"""Main facts about a trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pandaprobe_otel.traces.prompt_cache import CacheUse, cache_faults
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
    cache_faults: Sequence[CacheUse]


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
