"""The tree of a trace as lines: the most important spans in full, the others as counted ranges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from pandaprobe_otel.compact.number_text import duration_text, kind_of, path_of, usage_text
from pandaprobe_otel.compact.tokens import tokens_in
from pandaprobe_otel.compact.value_text import clipped, one_line
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord

_DEEPEST: Final = 12
"""Maximum number of indented levels. A deeper span states its level."""
_NAME: Final = 24
_MODEL: Final = 12
_NAMES: Final = 2
"""Maximum number of names in a range. The others are counted."""


def name_of(span: SpanRecord, tokens: int = _NAME) -> str:
    """Return `kind name` within a number of tokens."""
    return f"{kind_of(span)} {clipped(one_line(span.name), tokens)}"


def span_line(span: SpanRecord) -> str:
    """Return a span as one line of the tree."""
    parts = [f"#{span.number} {name_of(span)}"]
    if span.model and span.model not in span.name:
        parts.append(clipped(one_line(str(span.model)), _MODEL))
    parts.append(duration_text(span))
    if usage := usage_text(span):
        parts.append(usage)
    if span.failed:
        parts.append("ERROR")
    if span.outcome is not None:
        parts.append(span.outcome)
    if span.depth > _DEEPEST:
        parts.append(f"(level {span.depth})")
    return _indent(span) + " ".join(parts)


class TreeText:
    """Lines of a trace's tree, each computed once."""

    def __init__(self, trace: TraceRecord) -> None:
        self._spans = trace.tree
        self._lines = [span_line(span) for span in trace.tree]
        self._costs = [tokens_in(line) + 1 for line in self._lines]
        self._short = [name_of(span, _MODEL) for span in trace.tree]

    def lines(self, shown: Collection[int]) -> Iterator[tuple[str, int]]:
        """Yield the lines of the spans with these numbers and one line for each range of others, with the tokens of
        each.
        """
        begin = 0
        for at, span in enumerate(self._spans):
            if span.number not in shown:
                continue
            if begin < at:
                yield self._range(begin, at)
            yield self._lines[at], self._costs[at]
            begin = at + 1
        if begin < len(self._spans):
            yield self._range(begin, len(self._spans))

    def fitting(self, order: Sequence[int], tokens: int) -> tuple[list[str], int]:
        """Return the lines of the first spans of an order, as many as fit, and the number of these spans.

        A line for a range is longer if it omits more spans, so more spans may need fewer tokens. The search is
        therefore only approximate.
        """
        low, high = 0, len(order)
        best = [line for line, _ in self.lines(())]
        while low < high:
            middle = (low + high + 1) // 2
            found = list(self.lines(frozenset(order[:middle])))
            if sum(cost for _, cost in found) <= tokens:
                low, best = middle, [line for line, _ in found]
            else:
                high = middle - 1
        return best, low

    def from_number(self, number: int, tokens: int) -> tuple[list[str], int]:
        """Return the lines from a number on that fit into a number of tokens, and the number of the next span."""
        found: list[str] = []
        for at in range(number - 1, len(self._lines)):
            tokens -= self._costs[at]
            if tokens < 0 and found:
                return found, at + 1
            found.append(self._lines[at])
        return found, len(self._lines) + 1

    def _range(self, begin: int, end: int) -> tuple[str, int]:
        first = self._spans[begin].number
        which = f"#{first}" if end - begin == 1 else f"#{first}–#{first + end - begin - 1}"
        counted = Counter(self._short[begin:end]).most_common()
        told = [f"{count}× {name}" for name, count in counted[:_NAMES]]
        if len(counted) > _NAMES:
            told.append(f"+{len(counted) - _NAMES} names")
        line = f"{_indent(self._spans[begin])}… {which}: {', '.join(told)}"
        return line, tokens_in(line) + 1


def by_weight(trace: TraceRecord, marked: Sequence[SpanRecord]) -> list[int]:
    """Return the numbers of the spans, the most important for a reader first.

    The order is: roots and marked spans with their parents, their siblings, agents, then the spans nearest to a marked
    one.
    """
    order: dict[int, None] = {span.number: None for span in trace.tree if not span.parent}
    order |= {span.number: None for span in marked}
    order |= {span.parent.number: None for span in marked if span.parent}
    for span in marked:
        order |= {near: None for near in (span.number - 1, span.number + 1) if 0 < near <= len(trace.tree)}
    order |= {parent.number: None for span in marked for parent in path_of(span)[-6:]}
    order |= {span.number: None for span in trace.tree if kind_of(span) == "agent"}
    places = [span.number for span in marked] or [1]
    rest = (span.number for span in trace.tree if span.number not in order)
    nearest = sorted(rest, key=lambda number: (_distance(number, places), number))
    return [*order, *nearest]


def _distance(number: int, places: Sequence[int]) -> int:
    return min(abs(number - place) for place in places[:20])


def _indent(span: SpanRecord) -> str:
    return " " * min(span.depth, _DEEPEST)
