"""A trace, or a part of it by the handles in its overview, within a token budget."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

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
LEAST_BUDGET: Final = 800
MOST_BUDGET: Final = 20_000
FIELDS: Final = ("input", "output", "error", "metadata", "model_parameters")
_EMPTY: Final[tuple[Any, ...]] = (None, "", {}, [])
_NAME: Final = 24
_MODEL: Final = 12


def kind_of(span: SpanRecord) -> str:
    """Return the kind of a span in lower case; `other` for an unknown kind, which may be any text."""
    kind = span.kind.lower()
    return kind if kind in KINDS else "other"


def path_of(span: SpanRecord) -> list[SpanRecord]:
    """Return the spans from the root to a span, including it."""
    return [span, *span.above][::-1]


def some_ranges(numbers: Iterable[int], most: int = 8) -> str:
    """Return the first ranges of ascending numbers, as `#3` and `#5–#9`, and the number of the others."""
    runs = [[number for _, number in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    found = [f"#{run[0]}" if len(run) == 1 else f"#{run[0]}–#{run[-1]}" for run in runs]
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")


def name_of(span: SpanRecord, tokens: int = _NAME) -> str:
    """Return `kind name` within a number of tokens."""
    return f"{kind_of(span)} {clipped(one_line(span.name), tokens)}"


def _fields(values: Sequence[tuple[str, str, str, str]], tokens: int) -> list[str]:
    """Return values within a number of tokens, each with its title. Short values leave room for long ones.

    values: title, text for a reader, whole text, and the handle that is shown beside anything but the whole text.
    """
    lines: dict[str, str] = {}
    for place, (title, text, whole, handle) in enumerate(sorted(values, key=lambda value: len(value[1]))):
        shown = clipped(one_line(text), max(tokens // (len(values) - place) - _MODEL, _MODEL))
        lines[title] = title + shown + ("" if shown == whole else f" ⟨{handle}⟩")
        tokens -= tokens_in(lines[title]) + 1
    return [lines[title] for title, *_ in values]


# -- the tree ----------------------------------------------------------------------------------------------------------

_DEEPEST: Final = 12
"""Maximum number of indented levels. A deeper span states its level."""
_NAMES: Final = 2
"""Maximum number of names in a range. The others are counted."""


def span_line(span: SpanRecord) -> str:
    """Return a span as one line of the tree."""
    parts = [f"#{span.number} {name_of(span)}"]
    if span.model and span.model not in span.name:
        parts.append(clipped(one_line(str(span.model)), _MODEL))
    parts.append(duration(span.duration_ms))
    parts += [] if span.usage is None else ["{}→{}t".format(*span.usage)]
    parts += ["ERROR"] if span.failed else []
    parts += [span.outcome] if span.outcome is not None else []
    parts += [f"(level {span.depth})"] if span.depth > _DEEPEST else []
    return _indent(span) + " ".join(parts)


class TreeText:
    """Lines of a trace's tree, each computed once, with its tokens."""

    def __init__(self, trace: TraceRecord) -> None:
        self._spans = trace.tree
        self._lines = [(line, tokens_in(line) + 1) for line in map(span_line, trace.tree)]
        self._short = [name_of(span, _MODEL) for span in trace.tree]

    def fitting(self, order: Sequence[int], tokens: int) -> tuple[list[str], int]:
        """Return the lines of the first spans of an order, as many as fit, and the number of these spans.

        A line for a range is longer if it omits more spans, so more spans may need fewer tokens. The search is
        therefore only approximate.
        """
        low, high = 0, len(order)
        best = [*self._some(())]
        while low < high:
            middle = (low + high + 1) // 2
            found = [*self._some(frozenset(order[:middle]))]
            if sum(cost for _, cost in found) <= tokens:
                low, best = middle, found
            else:
                high = middle - 1
        return [line for line, _ in best], low

    def from_number(self, number: int, tokens: int) -> tuple[list[str], int]:
        """Return the lines from a number on that fit into a number of tokens, and the number of the next span."""
        found: list[str] = []
        for line, cost in self._lines[number - 1 :]:
            tokens -= cost
            if tokens < 0 and found:
                break
            found.append(line)
        return found, number + len(found)

    def _some(self, shown: Collection[int]) -> Iterator[tuple[str, int]]:
        """Yield the lines of the spans with these numbers, and one line for each range of others."""
        for is_shown, run in groupby(self._spans, lambda span: span.number in shown):
            spans = [*run]
            first, last = spans[0].number - 1, spans[-1].number
            if is_shown:
                yield from self._lines[first:last]
                continue
            counted = Counter(self._short[first:last]).most_common()
            names = [f"{count}× {name}" for name, count in counted[:_NAMES]]
            names += [f"+{len(counted) - _NAMES} names"] if len(counted) > _NAMES else []
            line = f"{_indent(spans[0])}… {some_ranges(range(first + 1, last + 1))}: {', '.join(names)}"
            yield line, tokens_in(line) + 1


def by_weight(trace: TraceRecord, marked: Sequence[SpanRecord]) -> list[int]:
    """Return the numbers of the spans, the most important for a reader first.

    The order is: marked spans with those above them, roots, then by the distance from a marked span. Agents count as
    nearer, since they structure the trace.
    """
    places = [span.number for span in marked[:20]] or [1]
    near = {one.number for span in marked for one in path_of(span)[-6:]}

    def rank(span: SpanRecord) -> float:
        if span.number in near or span.parent is None:
            return -1 if span.number in near else 0
        distance = min(abs(span.number - place) for place in places)
        return distance / 4 if kind_of(span) == "agent" else distance

    return [span.number for span in sorted(trace.tree, key=rank)]


def _indent(span: SpanRecord) -> str:
    return " " * min(span.depth, _DEEPEST)


# -- failures ----------------------------------------------------------------------------------------------------------

_PATH: Final = 3
"""Spans at each end of a long path that are shown."""
_EACH: Final = 120
"""Tokens from which a failure is shown in full. The others are listed by number."""
_NUMBERS: Final = re.compile(r"\d+")


def failure_lines(trace: TraceRecord, tokens: int) -> list[str]:
    """Return the failures of a trace in about this many tokens: in full as long as they fit, the others by number.

    Failures of the same kind and name, and with the same error except for numbers, are shown once.
    """
    alike: dict[tuple[str, str, str], list[SpanRecord]] = {}
    for span in trace.origins:
        error = _NUMBERS.sub("#", (span.error or "").split("\n")[0][:200])
        alike.setdefault((kind_of(span), span.name, error), []).append(span)
    groups = list(alike.values())
    in_full = max(min(len(groups), tokens // _EACH), 1)
    rest = sorted(span.number for group in groups[in_full:] for span in group)
    last = [f"FAILED as well: {some_ranges(rest)}"] if rest else []
    heads = [_head(group) for group in groups[:in_full]]
    each = (tokens - tokens_of((*last, *(line for head in heads for line in head)))) // in_full
    values = (_fields([*_values(group[0], "  ", FIELDS[:3])], max(each, _EACH // 3)) for group in groups)
    return [line for head, found in zip(heads, values, strict=False) for line in (*head, *found)] + last


def path_text(span: SpanRecord) -> str:
    """Return the path from the root to a span. Of a long path, only both ends."""
    path = [f"#{one.number} {clipped(one_line(one.name), 12)}" for one in path_of(span)]
    if len(path) > 2 * _PATH + 1:
        path[_PATH:-_PATH] = [f"… {len(path) - 2 * _PATH} spans …"]
    return " › ".join(path)


def _head(group: Sequence[SpanRecord]) -> list[str]:
    span = group[0]
    lines = [f"FAILED #{span.number} {name_of(span)} {duration(span.duration_ms)}", f"  path: {path_text(span)}"]
    if len(group) > 1:
        lines.append(f"  alike: {len(group) - 1} more, {some_ranges(one.number for one in group[1:])}")
    return lines


def _values(span: SpanRecord, before: str, names: Iterable[str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the fields of a span that are not empty, for `_fields`; the error comes first, with its type."""
    error = span.described_error or span.error
    for name in sorted(names, key=lambda name: name != "error"):
        value = error if name == "error" else span.body.get(name)
        if value not in _EMPTY:
            yield f"{before}{name}: ", readable(value), text_of(value), f"#{span.number}.{name}"


# -- suspects ----------------------------------------------------------------------------------------------------------

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
    found = [*_of_the_program(trace)]
    for finding in find_failures(trace.body, inert_value(list(scores))):
        if not finding.recovered:
            text = f": {finding.text}" if finding.text and finding.text not in finding.title else ""
            found.append(Suspect(f"{finding.kind} · {finding.title}{text}", _named(trace, finding.span_id)))
    unfinished = [span for span in trace.tree if span.outcome is not None]
    silent = [
        span
        for span in trace.tree
        if kind_of(span) in ("tool", "retriever") and not span.failed and span.output in _EMPTY
    ]
    found += [Suspect(str(unfinished[-1].outcome), tuple(unfinished))] if unfinished else []
    found += [Suspect("a call without a result", tuple(silent))] if silent else []
    return found + [Suspect(f"prompt cache: {fault}", (fault.span,)) for fault in cache_faults([trace])]


def suspect_lines(found: Sequence[Suspect], tokens: int) -> list[str]:
    """Return the suspects of a trace without a failure, in at most this many tokens."""
    each = max(tokens // max(len(found), 1), _LEAST_SIGN)
    lines: list[str] = []
    for place, suspect in enumerate(found):
        line = clipped(f"SUSPECT {one_line(suspect.place)}: {one_line(suspect.sign)}", each)
        tokens -= tokens_in(line) + 1
        if tokens < 0 and lines:
            return [*lines, f"and {len(found) - place} more signs"]
        lines.append(line)
    return lines


def _of_the_program(trace: TraceRecord) -> Iterator[Suspect]:
    """Yield the program's deviations from its model's requests."""
    if len(trace.tree) > _MOST_SPANS:
        yield Suspect(f"not compared with the model's requests: over {_MOST_SPANS} spans")
        return
    try:
        stored = StoredTrace(trace.body)
        found, calls = findings(stored), [span.body for span in stored.model_calls]
    except (ValueError, TypeError, LookupError, AttributeError):  # Traces of other senders may have any form.
        return
    for one in found:
        call = _named(trace, calls[one.after - 1].get("span_id")) if 0 < one.after <= len(calls) else ()
        yield Suspect(inert(one.told), call)


def _named(trace: TraceRecord, span_id: object) -> tuple[SpanRecord, ...]:
    return tuple(span for span in trace.tree if span_id and span.body.get("span_id") == span_id)[:1]


# -- the whole trace ---------------------------------------------------------------------------------------------------

_TROUBLE: Final = 0.42
"""Share of the budget for failures or suspects."""
_CONTENT: Final = 0.2
"""Share of the budget for input and output."""
_FACTS: Final = ("name", "session_id", "user_id", "release", "environment", "tags")
_MORE: Final = 'more: part="tree" with cursor · a value: part="#15.input[4000:]" · a span: part="#15"'
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
    order = by_weight(trace, (list(trace.origins) or [span for suspect in found for span in suspect.spans[:2]])[:40])
    facts = _facts(trace)
    room = _room(trace, budget, fence) - tokens_of((_MORE, facts, "TREE"))

    def trouble(tokens: float) -> list[str]:
        return failure_lines(trace, int(tokens)) if trace.origins else suspect_lines(found, int(tokens))

    while True:
        failed, content = trouble(room * _TROUBLE), _content(trace, int(room * _CONTENT))
        left = room - tokens_of((*failed, *content))
        lines, shown = tree.fitting(order, left)
        spare = left - tokens_of(lines)
        if spare > 40 and shown == len(trace.tree):  # The tree is complete, so values get the rest.
            failed = trouble(tokens_of(failed) + spare / 2)
            content = _content(trace, room - tokens_of((*failed, *lines)))
        following = None if shown == len(trace.tree) else cursor_at(1, len(trace.tree))
        inside = "\n".join([facts, *failed, *content, "TREE", *lines])
        made = _compact(trace, inside, _MORE, fence, shown=shown, following=following)
        if tokens_in(made.text) <= budget or room < budget // 20:
            return made
        room = int(room * 0.85)  # A line may be longer than estimated.


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


def _facts(trace: TraceRecord) -> str:
    values = ((name.removesuffix("_id"), trace.body.get(name)) for name in _FACTS)
    return " · ".join(f"{name} {clipped(one_line(text_of(value)), 16)}" for name, value in values if value)


def _content(trace: TraceRecord, tokens: int) -> list[str]:
    """Return input and output of the trace, or those of its root if it has none."""
    root: Mapping[str, Any] = trace.tree[0].body if trace.tree else {}
    values: list[tuple[str, str, str, str]] = []
    for title, name, role in (("INPUT  ", "input", "user"), ("OUTPUT  ", "output", "assistant")):
        own = trace.body.get(name)
        value = root.get(name) if own is None else own
        text, whole = ("none", "none") if value is None else (last_of(value, role), text_of(value))
        values.append((title, text, whole, f"#1.{name}" if own is None else name))
    return _fields(values, tokens)


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
        lines = [span_line(span).strip(), f"path: {path_text(span)}"]
        lines += _fields([*_values(span, "", FIELDS)], _room(trace, budget, fence) - 20 - tokens_of(lines))
        note = 'a value from a character on: part="#15.input[4000:]"'
        return _compact(trace, "\n".join(lines), note, fence, shown=1)
    if of_span not in FIELDS:
        raise NoPart(f"a span has no field {of_span!r}, only {', '.join(FIELDS)}")
    return _value(trace, span.body.get(of_span), part, begin, budget, fence)


def _tree(trace: TraceRecord, budget: int, fence: Fence, start: int) -> Shown:
    lines, following = TreeText(trace).from_number(start, _room(trace, budget, fence) - 20)
    cursor = None if following > len(trace.tree) else cursor_at(following, len(trace.tree))
    note = "the end of the tree" if cursor is None else f'next: part="tree", cursor="{cursor}"'
    return _compact(trace, "\n".join(lines), note, fence, shown=len(lines), following=cursor)


def _value(trace: TraceRecord, value: Any, part: str, begin: int, budget: int, fence: Fence) -> Shown:
    text = text_of(value)
    if begin > len(text) or (begin and begin == len(text)):
        raise NoPart(f"there is nothing from character {begin} on: this value has {len(text)} characters")
    length = fitting(text[begin:], _room(trace, budget, fence) - 40)
    end = begin + max(length, 1)
    following = f"{part.partition('[')[0]}[{end}:]" if end < len(text) else None
    note = f"characters {begin} to {min(end, len(text))} of {len(text)}"
    note += f' · next: part="{following}"' if following else ""
    return _compact(trace, text[begin:end], note, fence, shown=0, following=following)


def _room(trace: TraceRecord, budget: int, fence: Fence) -> int:
    return budget - tokens_of((head_of(trace), fence.begin, fence.end))


def _compact(
    trace: TraceRecord, inside: str, note: str, fence: Fence, *, shown: int, following: str | None = None
) -> Shown:
    numbers: dict[str, Any] = {"spans": len(trace.tree), "shown": shown}
    numbers |= {"failed": [span.number for span in trace.origins[:50]], "next": following}
    return Shown("\n".join([head_of(trace), fence.around(inside), note]), numbers)
