"""Comparison of two traces within a token budget: first where they diverge, then which spans differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.compact.fences import Fence, inert_trace
from pandaprobe_otel.compact.overview import head_of
from pandaprobe_otel.compact.tokens import tokens_in
from pandaprobe_otel.compact.value_text import clipped, one_line
from pandaprobe_otel.traces.comparison import SpanPair, first_difference, paired_spans
from pandaprobe_otel.traces.text import json_text, span_line

_MARKS: Final = {"same": "=", "changed": "~", "left": "a", "right": "b"}
_ALONE: Final = {"left": ", only in a", "right": ", only in b"}
_FIRST: Final = 0.5
"""Share of the budget for the first difference."""
_LINE: Final = 60


@dataclass(frozen=True, slots=True)
class Compared:
    """Comparison of two traces, as text. `first_difference` is kind and name of the span at which they diverge."""

    text: str
    differing: int
    first_difference: tuple[str, str] | None


def compared(a: Mapping[str, Any], b: Mapping[str, Any], budget: int, fence: Fence) -> Compared:
    """Return the differences of trace b from trace a, in at most `budget` tokens."""
    left, right = inert_trace(a), inert_trace(b)
    pairs = paired_spans(left, right)
    differing = [pair for pair in pairs if pair.change != "same"]
    first = first_difference([pairs])
    frame = [f"a {head_of(left)}", f"b {head_of(right)}", f"{len(differing)} of {len(pairs)} spans differ"]
    room = budget - sum(tokens_in(line) + 1 for line in (*frame, fence.begin, fence.end))
    lines = [] if first is None else list(_first(first, int(room * _FIRST)))
    room -= sum(tokens_in(line) + 1 for line in lines)
    lines += _spans(pairs, room)
    inside = "\n".join(lines) or "no difference"
    return Compared(
        text="\n".join([*frame, fence.around(inside)]),
        differing=len(differing),
        first_difference=None if first is None else (first.span.kind, first.span.name),
    )


def _first(pair: SpanPair, tokens: int) -> Iterator[str]:
    record = pair.span
    yield clipped(f"first difference: {record.kind} {one_line(record.name)}{_ALONE.get(pair.change, '')}", _LINE)
    fields = [name for name in pair.fields if name != "order"]
    if pair.before is None or pair.after is None or not fields:
        return
    each = (tokens - _LINE) // (2 * len(fields)) - 8
    for name in fields:
        texts = [one_line(json_text(one.body.get(name))) for one in (pair.before, pair.after)]
        begin = max(_common(*texts) - 40, 0)
        for mark, text in zip("ab", texts, strict=True):
            shown = clipped(text[begin:], max(each, 12))
            yield f"  {mark} {name}: {f'…+{begin}…' if begin else ''}{shown}"


def _common(one: str, other: str) -> int:
    """Return the length of the beginning that both texts share."""
    return next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)


def _spans(pairs: Sequence[SpanPair], tokens: int) -> Iterator[str]:
    """Yield the spans that differ, with counts of the equal ones between them."""
    same = 0
    for place, pair in enumerate(pairs):
        if pair.change == "same":
            same += 1
            continue
        fields = f" [{', '.join(pair.fields)}]" if pair.fields else ""
        line = (
            f"{_MARKS[pair.change]} {' ' * min(pair.depth, 12)}{clipped(one_line(span_line(pair.span)), _LINE)}{fields}"
        )
        before = f"= {same} equal\n" if same else ""
        tokens -= tokens_in(before + line) + 2
        if tokens < 16:
            yield f"and {sum(one.change != 'same' for one in pairs[place:])} more that differ"
            return
        yield before + line
        same = 0
