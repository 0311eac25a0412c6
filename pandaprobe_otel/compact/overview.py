"""A trace, or a part of it by the handles in its overview, within a token budget."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.compact.fences import Fence, inert_trace
from pandaprobe_otel.compact.span_lines import (
    TreeText,
    by_weight,
    failure_lines,
    kind_of,
    path_text,
    seconds_text,
    span_line,
)
from pandaprobe_otel.compact.suspects import Suspect, suspect_lines, suspects
from pandaprobe_otel.compact.values import clipped, fitting, last_of, one_line, text_of, tokens_in, tokens_of
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord

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
) -> Compact:
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


@dataclass(frozen=True, slots=True)
class _Handle:
    number: int | None
    field: str | None
    begin: int


def part_of(body: Mapping[str, Any], part: str, budget: int, fence: Fence, *, cursor: str | None = None) -> Compact:
    """Return a part of a trace in at most `budget` tokens. Raises NoPart, which names the existing parts."""
    trace = inert_trace(body)
    if part == "tree":
        return _tree(trace, budget, fence, start_at(cursor, len(trace.tree), "spans"))
    handle = _read(part)
    if handle.number is None:
        if handle.field not in FIELDS:
            raise NoPart(
                f"a trace has no part {part!r}, only input, output and metadata; write a span as #15 and its input as "
                "#15.input"
            )
        return _value(trace, trace.body.get(str(handle.field)), part, handle.begin, budget, fence)
    if not 1 <= handle.number <= len(trace.tree):
        raise NoPart(f"the trace has no span #{handle.number}, only #1 to #{len(trace.tree)}")
    span = trace.tree[handle.number - 1]
    if handle.field is None:
        return _span(trace, span, budget, fence)
    if handle.field not in FIELDS:
        raise NoPart(f"a span has no field {handle.field!r}, only {', '.join(FIELDS)}")
    return _value(trace, span.body.get(handle.field), part, handle.begin, budget, fence)


def _read(part: str) -> _Handle:
    found = _HANDLE.fullmatch(part.strip().strip("⟨⟩"))
    if found is None:
        raise NoPart("write a part as tree, input, output, #15, #15.input or #15.input[4000:]")
    number = found["number"]
    field = found["of_span"] if number else found["of_trace"]
    return _Handle(int(number) if number else None, field, int(found["begin"] or 0))


def _tree(trace: TraceRecord, budget: int, fence: Fence, start: int) -> Compact:
    lines, following = TreeText(trace).from_number(start, _room(trace, budget, fence) - 20)
    ends = following > len(trace.tree)
    cursor = None if ends else cursor_at(following, len(trace.tree))
    note = "the end of the tree" if ends else f'next: part="tree", cursor="{cursor}"'
    return _compact(trace, "\n".join(lines), note, fence, shown=len(lines), following=cursor)


def _span(trace: TraceRecord, span: SpanRecord, budget: int, fence: Fence) -> Compact:
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


def _value(trace: TraceRecord, value: Any, part: str, begin: int, budget: int, fence: Fence) -> Compact:
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
) -> Compact:
    return Compact(
        text="\n".join([head_of(trace), fence.around(inside), note]),
        spans=len(trace.tree),
        shown=shown,
        failed=tuple(span.number for span in trace.origins[:50]),
        next=following,
    )
