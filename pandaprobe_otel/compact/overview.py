"""A trace within a token budget: first failures, then input and output, then as much of the tree as fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.compact.failed_spans import failure_lines, suspect_lines
from pandaprobe_otel.compact.fences import Fence, inert_trace
from pandaprobe_otel.compact.number_text import kind_of, seconds_text
from pandaprobe_otel.compact.suspects import Suspect, suspects
from pandaprobe_otel.compact.tokens import tokens_in
from pandaprobe_otel.compact.tree_lines import TreeText, by_weight
from pandaprobe_otel.compact.value_text import clipped, last_of, one_line, text_of
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord

LEAST_BUDGET: Final = 800
MOST_BUDGET: Final = 20_000
_FAILURES: Final = 0.42
"""Share of the budget for failures."""
_CONTENT: Final = 0.2
"""Share of the budget for input and output."""
_FACTS: Final = ("name", "session_id", "user_id", "release", "environment", "tags")
_MORE: Final = 'more: part="tree" with cursor · a value: part="#15.input[4000:]" · a span: part="#15"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Compact:
    """A trace, or part of one, as text.

    Attributes:
        text: The text. Recorded content is inside the fence.
        spans: The number of spans of the trace.
        shown: The number of spans with lines of their own.
        failed: Numbers of the first 50 spans in which failures originated.
        next: The cursor or part to continue with; None at the end.
    """

    text: str
    spans: int
    shown: int
    failed: tuple[int, ...]
    next: str | None = None


def overview(
    body: Mapping[str, Any], budget: int, fence: Fence, *, scores: Sequence[Mapping[str, Any]] = ()
) -> Compact:
    """Return a trace in at most `budget` tokens (at least `LEAST_BUDGET`)."""
    trace = inert_trace(body)
    found = [] if trace.origins else suspects(trace, scores)
    tree = TreeText(trace)
    spread = 1.0
    best = _written(trace, tree, found, budget, fence, spread=spread)
    while tokens_in(best.text) > budget and spread > 0.05:  # A range of the tree may be longer than estimated.
        spread *= 0.85
        best = _written(trace, tree, found, budget, fence, spread=spread)
    return best


def head_of(trace: TraceRecord) -> str:
    """Return the line of numbers about a trace, without any content of the traced program."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(map(kind_of, trace.tree)).most_common())
    errors = len([span for span in trace.tree if span.failed])
    parts = [
        f"trace {trace.trace_id} {trace.body.get('status')} {seconds_text(trace.seconds)}",
        f"{len(trace.tree)} spans ({kinds})" if kinds else "no spans",
        f"{trace.body.get('total_tokens') or 0} tokens",
        f"{errors} {'error' if errors == 1 else 'errors'}",
    ]
    return " · ".join(parts)


def cursor_at(trace: TraceRecord, number: int) -> str:
    """Return a cursor to the span at which the tree continues. It is invalid once the trace has grown."""
    return f"{number}.{len(trace.tree)}"


def _written(
    trace: TraceRecord, tree: TreeText, found: Sequence[Suspect], budget: int, fence: Fence, *, spread: float
) -> Compact:
    frame = [head_of(trace), fence.begin, fence.end, _MORE]
    facts = _facts(trace)
    room = int((budget - sum(tokens_in(line) + 1 for line in (*frame, facts, "TREE"))) * spread)
    marked = list(trace.origins) or [span for suspect in found for span in suspect.spans[:2]]
    order = by_weight(trace, marked[:40])
    failed = _trouble(trace, found, int(room * _FAILURES))
    content = _content(trace, int(room * _CONTENT))
    lines, shown = tree.fitting(order, room - _tokens(failed) - _tokens(content))
    spare = room - _tokens(failed) - _tokens(content) - _tokens(lines)
    if spare > 40 and shown == len(trace.tree):  # The tree is complete, so values get the rest.
        failed = _trouble(trace, found, _tokens(failed) + int(spare * 0.5))
        content = _content(trace, room - _tokens(failed) - _tokens(lines))
    inside = "\n".join([facts, *failed, *content, "TREE", *lines])
    text = "\n".join([head_of(trace), fence.around(inside), _MORE])
    return Compact(
        text=text,
        spans=len(trace.tree),
        shown=shown,
        failed=tuple(span.number for span in trace.origins[:50]),
        next=None if shown == len(trace.tree) else cursor_at(trace, 1),
    )


def _facts(trace: TraceRecord) -> str:
    told = {name: trace.body.get(name) for name in _FACTS}
    parts = [
        f"{name.removesuffix('_id')} {clipped(one_line(text_of(value)), 16)}" for name, value in told.items() if value
    ]
    return " · ".join(parts)


def _trouble(trace: TraceRecord, found: Sequence[Suspect], tokens: int) -> list[str]:
    return failure_lines(trace, tokens) if trace.origins else suspect_lines(found, tokens)


def _content(trace: TraceRecord, tokens: int) -> list[str]:
    """Return input and output of the trace, or those of its root if it has none."""
    root: SpanRecord | None = trace.tree[0] if trace.tree else None
    lines: list[str] = []
    wanted = (("INPUT", "input", "user"), ("OUTPUT", "output", "assistant"))
    for place, (title, name, role) in enumerate(wanted):
        handle, value = name, trace.body.get(name)
        if value is None and root is not None:
            handle, value = f"#1.{name}", root.body.get(name)
        if value is None:
            lines.append(f"{title}  none")
            continue
        left = tokens - _tokens(lines)
        whole = one_line(last_of(value, role))
        text = clipped(whole, max((left if place else left // 2) - 14, 12))
        lines.append(f"{title}  {text}" + ("" if text == text_of(value) else f" ⟨{handle}⟩"))
    return lines


def _tokens(lines: Sequence[str]) -> int:
    return sum(tokens_in(line) + 1 for line in lines)
