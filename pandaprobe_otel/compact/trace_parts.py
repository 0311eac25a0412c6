"""Parts of a trace, by the handles in its overview: `tree`, `#15`, `#15.input[4000:]`, `output`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.compact.failed_spans import path_text
from pandaprobe_otel.compact.fences import Fence, inert_trace
from pandaprobe_otel.compact.overview import Compact, cursor_at, head_of
from pandaprobe_otel.compact.tokens import tokens_in
from pandaprobe_otel.compact.tree_lines import TreeText, span_line
from pandaprobe_otel.compact.value_text import clipped, fitting, one_line, text_of
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord

FIELDS: Final = ("input", "output", "error", "metadata", "model_parameters")
_HANDLE: Final = re.compile(
    r"(?:#(?P<number>\d{1,9})(?:\.(?P<of_span>\w+))?|(?P<of_trace>\w+))(?:\[(?P<begin>\d{1,12}):\])?"
)
_CURSOR: Final = re.compile(r"(\d{1,9})\.(\d{1,9})")


class NoPart(ValueError):
    """A handle or cursor that does not exist in this trace. The text names valid ones."""


class StaleCursor(NoPart):
    """A cursor that was issued before the trace got more spans."""


@dataclass(frozen=True, slots=True)
class _Handle:
    number: int | None
    field: str | None
    begin: int


def part_of(body: Mapping[str, Any], part: str, budget: int, fence: Fence, *, cursor: str | None = None) -> Compact:
    """Return a part of a trace in at most `budget` tokens. Raises NoPart, which names the existing parts."""
    trace = inert_trace(body)
    if part == "tree":
        return _tree(trace, budget, fence, _start(trace, cursor))
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


def _start(trace: TraceRecord, cursor: str | None) -> int:
    if cursor is None:
        return 1
    found = _CURSOR.fullmatch(cursor)
    if found is None or not 1 <= int(found[1]) <= len(trace.tree):
        raise StaleCursor("this cursor does not belong to this trace: leave it out")
    if int(found[2]) != len(trace.tree):
        raise StaleCursor("the trace has more spans now than when this cursor was issued: leave it out")
    return int(found[1])


def _tree(trace: TraceRecord, budget: int, fence: Fence, start: int) -> Compact:
    lines, following = TreeText(trace).from_number(start, _room(trace, budget, fence) - 20)
    ends = following > len(trace.tree)
    cursor = None if ends else cursor_at(trace, following)
    note = "the end of the tree" if ends else f'next: part="tree", cursor="{cursor}"'
    return _compact(trace, "\n".join(lines), note, fence, shown=len(lines), following=cursor)


def _span(trace: TraceRecord, span: SpanRecord, budget: int, fence: Fence) -> Compact:
    room = _room(trace, budget, fence) - 20
    lines = [span_line(span).strip(), f"path: {path_text(span)}"]
    told = [name for name in FIELDS if span.body.get(name) not in (None, "", {}, [])]
    room -= sum(tokens_in(line) + 1 for line in lines)
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
    return budget - sum(tokens_in(line) + 1 for line in (head_of(trace), fence.begin, fence.end))


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
