"""Placement of token counts and costs in the tree of spans, so that each model call is counted exactly once.

PandaProbe adds up the tokens of all spans, whatever their kind. So the sums of agents, chains and outer
instrumentations go into the metadata, unless there are no other numbers. So do the numbers of an answer from a cache,
which cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pandaprobe_otel.mapping.attributes import TOKEN_USAGE
from pandaprobe_otel.mapping.dialect_table import MODEL_KINDS
from pandaprobe_otel.mapping.mapped_span import MappedSpan, put
from pandaprobe_otel.mapping.usage import Price

_ANY: Final = 1
_CALLS: Final = {"LLM": 2, "EMBEDDING": 4}
_YIELDS_TO: Final = {"LLM": 2, "EMBEDDING": 4, "RETRIEVER": 6}
"""For each kind of span, the marks of the calls below it whose numbers it repeats. Other kinds repeat all numbers
below.
"""

_STEPS: Final = frozenset({"CHAIN", "OTHER"})
"""Kinds that call no model themselves. Agents and tools may: a remote agent, whose calls are not traced, has a sum."""

_BORDERS: Final = frozenset({"TOOL", "AGENT"})
"""Kinds that separate model calls: Google ADK 1 nests tools and sub-agents, with calls of their own, in `call_llm`."""


def place_numbers(spans: Sequence[MappedSpan], *, whole: bool) -> None:
    """Set `token_usage` and `cost` on the spans that count, and put all other sums into the metadata.

    If the spans are only part of a trace (`whole` false), sums never count, because the calls may be in another part.
    """
    counted: list[MappedSpan] = []
    charged: list[MappedSpan] = []
    for span in spans:
        if span.shape.counts:
            if span.usage is not None or span.aggregated is not None:
                counted.append(span)
            if span.cost is not None:
                charged.append(span)
    repeated = _repeated(counted, spans) | _echoes(counted) if len(counted) > 1 else frozenset[MappedSpan]()
    if counted:
        counting = _counting(counted, spans, whole) - repeated
        for span in counted:
            if span.usage is not None and span not in counting:
                put(span, "aggregated_token_usage", span.usage)
            elif span in counting and "cached" not in span.found:
                span.body["token_usage"] = span.usage or span.aggregated
            elif span in counting:
                put(span, "cached_token_usage", span.usage or span.aggregated)
            if span.aggregated is not None:
                put(span, "aggregated_token_usage", span.aggregated)
    if charged:
        counting = _counting(charged, spans, whole) - repeated
        for span in charged:
            if span in counting and "cached" not in span.found:
                span.body["cost"] = span.cost
            elif span in counting:
                put(span, "cached_cost", span.cost)
            else:
                put(span, "aggregated_cost", span.cost)


def _repeated(counted: Sequence[MappedSpan], spans: Sequence[MappedSpan]) -> frozenset[MappedSpan]:
    """Return the counted spans that repeat another instrumentation's span: the same response at the same time.

    The id of a response alone does not prove a repetition, because mock providers reuse ids. If one span is inside the
    other, the tree decides.
    """
    first: dict[str, MappedSpan] = {}
    repeated: set[MappedSpan] = set()
    for span in counted:
        response = span.metadata.get("response_id")
        if response is None or span.usage is None or span.kind not in _CALLS:
            continue
        known = first.setdefault(response, span)
        overlap = span.view.start_ns <= (known.view.end_ns or 0)  # the known one has started first
        if known.view.scope_name != span.view.scope_name and overlap and not _is_above(known, span, spans):
            repeated.add(span)
    return frozenset(repeated)


def _echoes(counted: Sequence[MappedSpan]) -> frozenset[MappedSpan]:
    """Return the steps that repeat an earlier call's counts, because they got its answer (LangSmith's export).

    Counts that the app itself has set on a step stay.
    """
    steps = [span for span in counted if span.kind in _STEPS and TOKEN_USAGE not in span.view.attributes]
    if not steps:
        return frozenset()
    begun: dict[tuple[int | None, int | None], int] = {}  # `counted` is sorted by start
    for span in counted:
        if span.kind in _CALLS and span.usage is not None:
            begun.setdefault(_sides(span.usage), span.view.start_ns)
    return frozenset(span for span in steps if begun.get(_sides(span.usage or {}), _NEVER) <= span.view.start_ns)


def _sides(usage: Mapping[str, int]) -> tuple[int | None, int | None]:
    return usage.get("prompt_tokens"), usage.get("completion_tokens")


_NEVER: Final = 1 << 63


def _is_above(first: MappedSpan, second: MappedSpan, spans: Sequence[MappedSpan]) -> bool:
    parents = {span.view.span_id: span.view.parent_id for span in spans}
    seen: set[int] = set()
    parent = second.view.parent_id
    while parent is not None and parent not in seen:
        if parent == first.view.span_id:
            return True
        seen.add(parent)
        parent = parents.get(parent)
    return False


def _counting(numbered: Sequence[MappedSpan], spans: Sequence[MappedSpan], whole: bool) -> set[MappedSpan]:
    """Return the spans whose numbers do not repeat those of calls below them."""
    by_id = {span.view.span_id: span for span in spans}
    marks: dict[int, int] = {}  # by span id: `_ANY` for numbers below it, of `_CALLS` for a call without a border
    for span in numbered:
        mark = _ANY | _CALLS.get(span.kind, 0)
        parent = by_id.get(span.view.parent_id or 0)
        # The loop stops at existing marks, so the total is linear, and a cycle of parents is safe.
        while parent is not None:
            known = marks.get(parent.view.span_id, 0)
            if known | mark == known:
                break
            marks[parent.view.span_id] = known | mark
            if parent.kind in _BORDERS:
                mark = _ANY
            parent = by_id.get(parent.view.parent_id or 0)
    counting: set[MappedSpan] = set()
    for span in numbered:
        below, yields_to = marks.get(span.view.span_id, 0), _YIELDS_TO.get(span.kind)
        if (whole and not below) if yields_to is None else not below & yields_to:
            counting.add(span)
    return counting


# -- costs that no span states ----------------------------------------------------------------------------------------

MARK: Final = "cost_computed_by"
"""Metadata key of spans whose cost was computed; its value names the price list."""


def add_computed_costs(spans: Sequence[MappedSpan], price: Price) -> None:
    """Set the cost of every counted model call, unless a span of the trace states a cost, which may be the sum of these
    calls.
    """
    if any(span.cost is not None for span in spans):
        return
    for span in spans:
        body = span.body
        usage, model = body.get("token_usage"), body.get("model")
        if usage is None or model is None or span.kind not in MODEL_KINDS:
            continue
        priced = price(model, span.metadata.get("provider"), usage, span.view.start_ns)
        if priced is not None:
            body["cost"] = priced.amounts
            body["metadata"] = {**body["metadata"], MARK: priced.by}
