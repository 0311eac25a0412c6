"""A trace, or a part of it by the handles in its overview, within a token budget."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, cast

from pandaprobe_otel.compact.values import (
    Fence,
    Shown,
    clipped,
    fitting,
    inert,
    inert_trace,
    inert_value,
    last_of,
    one_line,
    readable,
    text_of,
    tokens_in,
    tokens_of,
)
from pandaprobe_otel.failures.find import find_failures
from pandaprobe_otel.replay.capture.findings import findings
from pandaprobe_otel.replay.capture.stored_trace import StoredTrace
from pandaprobe_otel.traces.prompt_cache import cache_faults
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord
from pandaprobe_otel.traces.text import duration

KINDS: Final = ("llm", "tool", "agent", "retriever", "chain", "embedding")


def kind_of(span: SpanRecord) -> str:
    """Return the kind of a span in lower case; `other` for an unknown kind, which may be any text."""
    kind = span.kind.lower()
    return kind if kind in KINDS else "other"


def path_of(span: SpanRecord) -> list[SpanRecord]:
    """Return the spans from the root to a span, including it."""
    return [span, *span.above][::-1]


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
    parts.append(duration(span.duration_ms))
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
    lines = [f"FAILED #{span.number} {name_of(span)} {duration(span.duration_ms)}", f"  path: {path_text(span)}"]
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


_MOST_SPANS: Final = 300
"""Maximum number of spans for which the program's actions are compared with the model's requests, since that takes
quadratic time.
"""


_LEAST_SIGN: Final = 48
"""Minimum number of tokens of a suspect."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A sign of a problem, and the spans that show it; without spans, it concerns the whole trace."""

    sign: str
    spans: tuple[SpanRecord, ...] = ()

    @property
    def place(self) -> str:
        """Place of the sign: `#4 tool refund`, or several numbers."""
        if not self.spans:
            return "trace"
        first = self.spans[0]
        return f"{some_ranges(span.number for span in self.spans)} {kind_of(first)} {first.name}"


def suspects(trace: TraceRecord, scores: Sequence[Mapping[str, Any]] = ()) -> list[Suspect]:
    """Return the suspects of a trace, the most informative first. `scores` are the latest of each name."""
    found = [*_of_the_program(trace), *_by_rules(trace, scores), *_unfinished(trace), *_silent(trace)]
    return found + [Suspect(f"prompt cache: {fault}", (fault.span,)) for fault in cache_faults([trace])]


def suspect_lines(found: Sequence[Suspect], tokens: int) -> list[str]:
    """Return the suspects of a trace without a failure, in at most this many tokens."""
    each = max(tokens // max(len(found), 1), _LEAST_SIGN)
    lines: list[str] = []
    for place, suspect in enumerate(found):
        line = clipped(f"SUSPECT {one_line(suspect.place)}: {one_line(suspect.sign)}", each)
        cost = tokens_in(line) + 1
        if cost > tokens and lines:
            return [*lines, f"and {len(found) - place} more signs"]
        tokens -= cost
        lines.append(line)
    return lines


def _of_the_program(trace: TraceRecord) -> Iterator[Suspect]:
    """Yield the program's deviations from its model's requests."""
    if not trace.tree:
        return
    if len(trace.tree) > _MOST_SPANS:
        yield Suspect(f"not compared with the model's requests: over {_MOST_SPANS} spans")
        return
    stored = StoredTrace(trace.body)
    try:
        found = findings(stored)
        calls = [span.body for span in stored.model_calls]
    except (ValueError, TypeError, KeyError, AttributeError):  # Traces of other senders may have any form.
        return
    for one in found:
        call = _named(trace, calls[one.after - 1].get("span_id")) if 0 < one.after <= len(calls) else ()
        yield Suspect(inert(one.told), call)


def _by_rules(trace: TraceRecord, scores: Sequence[Mapping[str, Any]]) -> Iterator[Suspect]:
    for finding in find_failures(trace.body, inert_value(list(scores))):
        if not finding.recovered:
            text = f": {finding.text}" if finding.text and finding.text not in finding.title else ""
            yield Suspect(f"{finding.kind} · {finding.title}{text}", _named(trace, finding.span_id))


def _named(trace: TraceRecord, span_id: object) -> tuple[SpanRecord, ...]:
    return tuple(span for span in trace.tree if span_id and span.body.get("span_id") == span_id)[:1]


def _unfinished(trace: TraceRecord) -> Iterator[Suspect]:
    found = [span for span in trace.tree if span.outcome is not None]
    if found:
        yield Suspect(f"{found[-1].outcome}", tuple(found))


def _silent(trace: TraceRecord) -> Iterator[Suspect]:
    found = [
        span
        for span in trace.tree
        if kind_of(span) in ("tool", "retriever") and not span.failed and span.output in (None, "", [], {})
    ]
    if found:
        yield Suspect("a call without a result", tuple(found))


LEAST_BUDGET: Final = 800
MOST_BUDGET: Final = 20_000
_FAILURES: Final = 0.42
"""Share of the budget for failures."""
_CONTENT: Final = 0.2
"""Share of the budget for input and output."""
_FACTS: Final = ("name", "session_id", "user_id", "release", "environment", "tags")
_MORE: Final = 'more: part="tree" with cursor · a value: part="#15.input[4000:]" · a span: part="#15"'


FIELDS: Final = ("input", "output", "error", "metadata", "model_parameters")
_HANDLE: Final = re.compile(
    r"(?:#(?P<number>\d{1,9})(?:\.(?P<of_span>\w+))?|(?P<of_trace>\w+))(?:\[(?P<begin>\d{1,12}):\])?"
)
_CURSOR: Final = re.compile(r"(\d{1,9})\.(\d{1,9})")


class NoPart(ValueError):
    """A handle or cursor that does not exist in this trace. The text names valid ones."""


class StaleCursor(NoPart):
    """A cursor that was issued before the trace got more spans."""


def overview(body: Mapping[str, Any], budget: int, fence: Fence, *, scores: Sequence[Mapping[str, Any]] = ()) -> Shown:
    """Return a trace in at most `budget` tokens (at least `LEAST_BUDGET`).

    The numbers are those of its `spans`, of those `shown` with lines of their own, of the first 50 spans in which
    failures originated (`failed`), and the cursor or part to continue with (`next`), None at the end.
    """
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
        f"trace {trace.trace_id} {trace.body.get('status')} {duration(trace.duration_ms)}",
        f"{len(trace.tree)} spans ({kinds})" if kinds else "no spans",
        f"{trace.body.get('total_tokens') or 0} tokens",
        f"{errors} {'error' if errors == 1 else 'errors'}",
    ]
    return " · ".join(parts)


def cursor_at(number: int, count: int) -> str:
    """Return a cursor to one of several things, from 1. It is invalid once there are more."""
    return f"{number}.{count}"


def start_at(cursor: str | None, count: int, things: str) -> int:
    """Return the number that a cursor points at; 1 without one. Raises StaleCursor."""
    if cursor is None:
        return 1
    found = _CURSOR.fullmatch(cursor)
    if found is None or int(found[2]) != count or not 1 <= int(found[1]) <= count:
        raise StaleCursor(f"this cursor was not issued for these {count} {things}: leave it out")
    return int(found[1])


def _written(
    trace: TraceRecord, tree: TreeText, found: Sequence[Suspect], budget: int, fence: Fence, *, spread: float
) -> Shown:
    frame = [head_of(trace), fence.begin, fence.end, _MORE]
    facts = _facts(trace)
    room = int((budget - tokens_of((*frame, facts, "TREE"))) * spread)
    marked = list(trace.origins) or [span for suspect in found for span in suspect.spans[:2]]
    order = by_weight(trace, marked[:40])
    failed = _trouble(trace, found, int(room * _FAILURES))
    content = _content(trace, int(room * _CONTENT))
    lines, shown = tree.fitting(order, room - tokens_of(failed) - tokens_of(content))
    spare = room - tokens_of(failed) - tokens_of(content) - tokens_of(lines)
    if spare > 40 and shown == len(trace.tree):  # The tree is complete, so values get the rest.
        failed = _trouble(trace, found, tokens_of(failed) + int(spare * 0.5))
        content = _content(trace, room - tokens_of(failed) - tokens_of(lines))
    inside = "\n".join([facts, *failed, *content, "TREE", *lines])
    following = None if shown == len(trace.tree) else cursor_at(1, len(trace.tree))
    return _compact(trace, inside, _MORE, fence, shown=shown, following=following)


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
        left = tokens - tokens_of(lines)
        whole = one_line(last_of(value, role))
        text = clipped(whole, max((left if place else left // 2) - 14, 12))
        lines.append(f"{title}  {text}" + ("" if text == text_of(value) else f" ⟨{handle}⟩"))
    return lines


def part_of(body: Mapping[str, Any], part: str, budget: int, fence: Fence, *, cursor: str | None = None) -> Shown:
    """Return a part of a trace in at most `budget` tokens. Raises NoPart, which names the existing parts."""
    trace = inert_trace(body)
    if part == "tree":
        return _tree(trace, budget, fence, start_at(cursor, len(trace.tree), "spans"))
    found = _HANDLE.fullmatch(part.strip().strip("⟨⟩"))
    if found is None:
        raise NoPart("write a part as tree, input, output, #15, #15.input or #15.input[4000:]")
    number, of_span, of_trace = found["number"], found["of_span"], found["of_trace"]
    begin = int(found["begin"] or 0)
    if number is None:
        if of_trace not in FIELDS:
            raise NoPart(
                f"a trace has no part {part!r}, only input, output and metadata; write a span as #15 and its input as "
                "#15.input"
            )
        return _value(trace, trace.body.get(of_trace), part, begin, budget, fence)
    if not 1 <= int(number) <= len(trace.tree):
        raise NoPart(f"the trace has no span #{number}, only #1 to #{len(trace.tree)}")
    span = trace.tree[int(number) - 1]
    if of_span is None:
        return _span(trace, span, budget, fence)
    if of_span not in FIELDS:
        raise NoPart(f"a span has no field {of_span!r}, only {', '.join(FIELDS)}")
    return _value(trace, span.body.get(of_span), part, begin, budget, fence)


def _tree(trace: TraceRecord, budget: int, fence: Fence, start: int) -> Shown:
    lines, following = TreeText(trace).from_number(start, _room(trace, budget, fence) - 20)
    ends = following > len(trace.tree)
    cursor = None if ends else cursor_at(following, len(trace.tree))
    note = "the end of the tree" if ends else f'next: part="tree", cursor="{cursor}"'
    return _compact(trace, "\n".join(lines), note, fence, shown=len(lines), following=cursor)


def _span(trace: TraceRecord, span: SpanRecord, budget: int, fence: Fence) -> Shown:
    room = _room(trace, budget, fence) - 20
    lines = [span_line(span).strip(), f"path: {path_text(span)}"]
    told = [name for name in FIELDS if span.body.get(name) not in (None, "", {}, [])]
    room -= tokens_of(lines)
    for place, name in enumerate(reversed(told)):  # Short values leave room for the next ones.
        whole = one_line(text_of(span.body[name]))
        text = clipped(whole, max(room // (len(told) - place) - 14, 12))
        handle = "" if text == whole else f" ⟨#{span.number}.{name}⟩"
        lines.insert(2, f"{name}: {text}{handle}")
        room -= tokens_in(lines[2]) + 1
    return _compact(trace, "\n".join(lines), 'a value from a character on: part="#15.input[4000:]"', fence, shown=1)


def _value(trace: TraceRecord, value: Any, part: str, begin: int, budget: int, fence: Fence) -> Shown:
    text = text_of(value)
    if begin > len(text) or (begin and begin == len(text)):
        raise NoPart(f"there is nothing from character {begin} on: this value has {len(text)} characters")
    length = fitting(text[begin:], _room(trace, budget, fence) - 40)
    end = begin + max(length, 1)
    following = f"{part.partition('[')[0]}[{end}:]" if end < len(text) else None
    told = f"characters {begin} to {min(end, len(text))} of {len(text)}"
    note = f'{told} · next: part="{following}"' if following else told
    return _compact(trace, text[begin:end], note, fence, shown=0, following=following)


def _room(trace: TraceRecord, budget: int, fence: Fence) -> int:
    return budget - tokens_of((head_of(trace), fence.begin, fence.end))


def _compact(
    trace: TraceRecord, inside: str, note: str, fence: Fence, *, shown: int, following: str | None = None
) -> Shown:
    numbers: dict[str, Any] = {"spans": len(trace.tree), "shown": shown}
    numbers |= {"failed": [span.number for span in trace.origins[:50]], "next": following}
    return Shown("\n".join([head_of(trace), fence.around(inside), note]), numbers)
