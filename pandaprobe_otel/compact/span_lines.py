"""Spans as lines: the tree with counted ranges, and failures with path, error and input."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final, cast

from pandaprobe_otel.compact.values import clipped, one_line, readable, text_of, tokens_in, tokens_of
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord

KINDS: Final = ("llm", "tool", "agent", "retriever", "chain", "embedding")


def kind_of(span: SpanRecord) -> str:
    """Return the kind of a span in lower case; `other` for an unknown kind, which may be any text."""
    kind = span.kind.lower()
    return kind if kind in KINDS else "other"


def path_of(span: SpanRecord) -> list[SpanRecord]:
    """Return the spans from the root to a span, including it."""
    return [span, *span.above][::-1]


def duration_text(span: SpanRecord) -> str:
    """Return the duration of a span: `12ms`, `3.0s`; `running` without an end."""
    return "running" if span.duration_ms is None else seconds_text(span.duration_ms / 1000)


def seconds_text(seconds: float) -> str:
    """Return seconds as `12ms` or `3.0s`."""
    return f"{seconds * 1000:.0f}ms" if abs(seconds) < 1 else f"{seconds:.1f}s"


def usage_text(span: SpanRecord) -> str:
    """Return the tokens of a model call as `2914→85t`; empty if unknown."""
    return "" if span.usage is None else "{}→{}t".format(*span.usage)


def ranges(numbers: Iterable[int]) -> Iterator[str]:
    """Yield ascending numbers as `#3` and `#5–#9`."""
    found = list(numbers)
    if not found:
        return
    first = found[0]
    for before, after in pairwise([*found, None]):
        if after is None or after != cast("int", before) + 1:
            yield f"#{first}" if first == before else f"#{first}–#{before}"
            first = after or 0


def some_ranges(numbers: Iterable[int], most: int = 8) -> str:
    """Return the first ranges of numbers, and the number of the others."""
    found = list(ranges(numbers))
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")


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


_PATH: Final = 3
"""Spans at each end of a long path that are shown."""
_LEAST: Final = 24
"""Minimum number of tokens of each value of a failure."""
_ERROR: Final = 0.45
"""Share of a failure's tokens that its error may use. The rest is for its input and its output."""
_NUMBERS: Final = re.compile(r"\d+")


def failure_lines(trace: TraceRecord, tokens: int) -> list[str]:
    """Return the failures of a trace in about this many tokens: in full as long as they fit, the others by number."""
    groups = list(_groups(trace.origins))
    for in_full in range(min(len(groups), 12), 1, -1):
        lines = _lines(trace, groups, in_full, tokens)
        if lines is not None:
            return lines
    return _lines(trace, groups, 1, tokens) or []


def path_text(span: SpanRecord) -> str:
    """Return the path from the root to a span. Of a long path, only both ends."""
    spans = path_of(span)
    left_out = max(len(spans) - 2 * _PATH, 0) if len(spans) > 2 * _PATH + 1 else 0
    ends = [*spans[:_PATH], *spans[-_PATH:]] if left_out else spans
    path = [f"#{one.number} {clipped(one_line(one.name), 12)}" for one in ends]
    if left_out:
        path.insert(_PATH, f"… {left_out} spans …")
    return " › ".join(path)


def _groups(origins: Sequence[SpanRecord]) -> Iterator[list[SpanRecord]]:
    """Yield groups of failures that are alike: same kind and name, and same error except for numbers."""
    groups: dict[tuple[str, str, str], list[SpanRecord]] = {}
    for span in origins:
        error = _NUMBERS.sub("#", (span.error or "").split("\n")[0][:200])
        groups.setdefault((kind_of(span), span.name, error), []).append(span)
    yield from groups.values()


def _lines(trace: TraceRecord, groups: Sequence[Sequence[SpanRecord]], in_full: int, tokens: int) -> list[str] | None:
    """Return this many failures in full; None if their values would become too short. A single failure always fits."""
    rest = [span for group in groups[in_full:] for span in group]
    last = [f"FAILED as well: {some_ranges(sorted(span.number for span in rest))}"] if rest else []
    heads = [_head(group) for group in groups[:in_full]]
    room = tokens - tokens_of((*last, *(line for head in heads for line in head)))
    each = room // max(in_full, 1)
    if each < 3 * _LEAST and in_full > 1:
        return None
    lines: list[str] = []
    for group, head in zip(groups, heads, strict=False):
        lines += [*head, *_values(group[0], max(each, 2 * _LEAST))]
    return lines + last


def _head(group: Sequence[SpanRecord]) -> list[str]:
    span = group[0]
    lines = [f"FAILED #{span.number} {name_of(span)} {duration_text(span)}", f"  path: {path_text(span)}"]
    if len(group) > 1:
        lines.append(f"  alike: {len(group) - 1} more, {some_ranges(one.number for one in group[1:])}")
    return lines


def _values(span: SpanRecord, tokens: int) -> Iterator[str]:
    error = clipped(one_line(span.described_error or str(span.error)), max(int(tokens * _ERROR) - 4, _LEAST // 2))
    yield f"  error: {error}"
    left = tokens - tokens_in(error) - 8
    given = {name: span.body.get(name) for name in ("input", "output")}
    told = [name for name, value in given.items() if value not in (None, "", {}, [])]
    for place, name in enumerate(told):
        share = left // (len(told) - place) - 12
        whole = one_line(readable(given[name]))
        text = clipped(whole, max(share, _LEAST // 2))
        handle = "" if text == text_of(given[name]) else f" ⟨#{span.number}.{name}⟩"
        yield f"  {name}: {text}{handle}"
        left -= tokens_in(text) + 12
