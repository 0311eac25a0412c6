"""Main facts about a trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pandaprobe_otel.local.models.fields import token_count
from pandaprobe_otel.local.pages.tree import Node, Tree
from pandaprobe_otel.local.sealing.facets import ERROR_TYPES

_BOTTLENECKS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottleneck:
    """A span on the critical path, and its share of the trace's time."""

    node: Node
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
    errors: Sequence[Node]
    bottlenecks: Sequence[Bottleneck]


def tokens_of(span: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the prompt and completion tokens of a span; None if it has neither."""
    usage: Mapping[str, Any] = span["token_usage"] or {}
    prompt, completion = token_count(usage.get("prompt_tokens")), token_count(usage.get("completion_tokens"))
    return None if prompt is None and completion is None else (prompt or 0, completion or 0)


def error_of(span: Mapping[str, Any]) -> str | None:
    """Return the error of a span, beginning with its type if the span names one; None without an error."""
    error: str | None = span["error"]
    kind = error_type_of(span)
    if kind is None or (error is not None and kind.rpartition(".")[2] in error.partition(":")[0]):
        return error
    return kind if not error else f"{kind}: {error}"


def error_type_of(span: Mapping[str, Any]) -> str | None:
    """Return the type of a span's error as its metadata names it; None if it has none."""
    metadata: Mapping[str, Any] = span["metadata"] or {}
    return next((kind for key in ERROR_TYPES if isinstance(kind := metadata.get(key), str) and kind), None)


def facts_of(trace: Mapping[str, Any], tree: Tree) -> Facts:
    """Return the facts of a trace."""
    spans = [node.span for node in tree.rows]
    usages = [used for span in spans if (used := tokens_of(span)) is not None]
    own = None if trace["ended_at"] is None else trace["latency_ms"]
    tokens = [node.first_token_ms for node in tree.rows if node.first_token_ms is not None]
    return Facts(
        duration_ms=own if own is not None else (tree.length_ms or None),
        llm_calls=sum(span["kind"] == "LLM" for span in spans),
        tool_calls=sum(span["kind"] == "TOOL" for span in spans),
        prompt_tokens=sum(prompt for prompt, _ in usages),
        completion_tokens=sum(completion for _, completion in usages),
        tokens=trace["total_tokens"] if usages or trace["total_tokens"] else None,
        cost=trace["total_cost"] if trace["total_cost"] or any(span["cost"] for span in spans) else None,
        models=sorted({span["model"] for span in spans if span["model"]}),
        first_token_ms=min(tokens) if tokens else None,
        errors=[node for node in tree.rows if node.span["status"] == "ERROR" or node.span["error"]],
        bottlenecks=_bottlenecks(tree),
    )


def _bottlenecks(tree: Tree) -> list[Bottleneck]:
    critical = sorted((node for node in tree.rows if node.critical), key=lambda node: -node.self_ms)
    if not tree.length_ms:
        return []
    return [
        Bottleneck(node=node, share=node.self_ms / tree.length_ms)
        for node in critical[:_BOTTLENECKS]
        if node.self_ms / tree.length_ms >= 0.01
    ]
