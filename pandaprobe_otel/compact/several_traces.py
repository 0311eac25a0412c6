"""Several traces within a token budget: the turns of a session, and the comparison of two traces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pandaprobe_otel.compact.overview import cursor_at, head_of, start_at
from pandaprobe_otel.compact.values import (
    Fence,
    Shown,
    clipped,
    inert,
    inert_trace,
    last_of,
    one_line,
    tokens_in,
    tokens_of,
)
from pandaprobe_otel.traces.comparison import SpanPair, first_difference, paired_spans
from pandaprobe_otel.traces.conversation import shared_start
from pandaprobe_otel.traces.records import TraceRecord
from pandaprobe_otel.traces.text import duration, json_text, span_line

_LEAST: Final = 120
"""Minimum number of tokens of a turn. Turns that do not fit are in the next answer."""
_MOST: Final = 600


def turns_text(
    session_id: str, traces: Sequence[Mapping[str, Any]], budget: int, fence: Fence, *, cursor: str | None = None
) -> Shown:
    """Return the traces of a session in order, in at most `budget` tokens. Raises StaleCursor."""
    start = start_at(cursor, len(traces), "turns") - 1
    frame = (f"{len(traces)} turns", fence.begin, fence.end, 'next: cursor="123456.123456"')
    name = f"session {clipped(inert(one_line(session_id)), 40)}"
    room = budget - tokens_of((*frame, name))
    each = min(max(room // max(len(traces) - start, 1), _LEAST), _MOST)
    lines: list[str] = []
    at = start
    while at < len(traces):
        turn = _turn(at + 1, inert_trace(traces[at]), each)
        room -= tokens_in(turn) + 1
        if room < 0 and lines:
            break
        lines.append(turn)
        at += 1
    following = cursor_at(at + 1, len(traces)) if at < len(traces) else None
    note = [f'next: cursor="{following}"'] if following else []
    failed = [str(one["trace_id"]) for one in traces if _is_failed(one)][:50]
    text = "\n".join([f"{len(traces)} turns", fence.around("\n".join([name, *lines])), *note])
    return Shown(text, {"turns": len(traces), "shown": at - start, "failed": failed, "next": following})


def _turn(number: int, trace: TraceRecord, tokens: int) -> str:
    failed = f" · failed: {', '.join(_failed(trace))}" if trace.origins else ""
    head = f"{number}. {trace.trace_id} {trace.body.get('status')} {duration(trace.duration_ms)}{failed}"
    left = max(tokens - tokens_in(head) - 8, 24)
    asked = clipped(one_line(last_of(trace.body.get("input"), "user")), left * 2 // 5)
    answered = clipped(one_line(last_of(trace.body.get("output"), "assistant")), left - tokens_in(asked))
    return f"{head}\n   {asked or 'no input'}\n   {answered or 'no output'}"


def _is_failed(trace: Mapping[str, Any]) -> bool:
    """Return whether a trace has failed, by its own status or because a span failed."""
    return trace.get("status") == "ERROR" or bool(TraceRecord(trace).origins)


def _failed(trace: TraceRecord) -> list[str]:
    return [f"#{span.number} {clipped(one_line(span.name), 10)}" for span in trace.origins[:2]]


_MARKS: Final = {"same": "=", "changed": "~", "left": "a", "right": "b"}
_ALONE: Final = {"left": ", only in a", "right": ", only in b"}
_FIRST: Final = 0.5
"""Share of the budget for the first difference."""
_LINE: Final = 60


def compared(a: Mapping[str, Any], b: Mapping[str, Any], budget: int, fence: Fence) -> Shown:
    """Return the differences of trace b from trace a, in at most `budget` tokens."""
    left, right = inert_trace(a), inert_trace(b)
    pairs = paired_spans(left, right)
    differing = [pair for pair in pairs if pair.change != "same"]
    first = first_difference([pairs])
    frame = [f"a {head_of(left)}", f"b {head_of(right)}", f"{len(differing)} of {len(pairs)} spans differ"]
    room = budget - tokens_of((*frame, fence.begin, fence.end))
    lines = [] if first is None else list(_first(first, int(room * _FIRST)))
    room -= tokens_of(lines)
    lines += _spans(pairs, room)
    inside = "\n".join(lines) or "no difference"
    return Shown("\n".join([*frame, fence.around(inside)]), {"differing": len(differing)})


def _first(pair: SpanPair, tokens: int) -> Iterator[str]:
    record = pair.span
    yield clipped(f"first difference: {record.kind} {one_line(record.name)}{_ALONE.get(pair.change, '')}", _LINE)
    fields = [name for name in pair.fields if name != "order"]
    if pair.before is None or pair.after is None or not fields:
        return
    each = (tokens - _LINE) // (2 * len(fields)) - 8
    for name in fields:
        texts = [one_line(json_text(one.body.get(name))) for one in (pair.before, pair.after)]
        begin = max(shared_start(*texts) - 40, 0)
        for mark, text in zip("ab", texts, strict=True):
            shown = clipped(text[begin:], max(each, 12))
            yield f"  {mark} {name}: {f'…+{begin}…' if begin else ''}{shown}"


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
