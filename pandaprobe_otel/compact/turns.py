"""Turns of a session within a token budget: the input and output of each of its traces."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.compact.fences import Fence, inert, inert_trace
from pandaprobe_otel.compact.number_text import seconds_text
from pandaprobe_otel.compact.tokens import tokens_in
from pandaprobe_otel.compact.trace_parts import StaleCursor
from pandaprobe_otel.compact.value_text import clipped, last_of, one_line
from pandaprobe_otel.traces.records import TraceRecord

_LEAST: Final = 120
"""Minimum number of tokens of a turn. Turns that do not fit are in the next answer."""
_MOST: Final = 600
_CURSOR: Final = re.compile(r"(\d{1,9})\.(\d{1,9})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """Turns as text. `next` continues with those that did not fit."""

    text: str
    turns: int
    shown: int
    failed: tuple[str, ...]
    next: str | None


def turns_text(
    session_id: str, traces: Sequence[Mapping[str, Any]], budget: int, fence: Fence, *, cursor: str | None = None
) -> Turns:
    """Return the traces of a session in order, in at most `budget` tokens. Raises StaleCursor."""
    start = _start(len(traces), cursor)
    frame = (f"{len(traces)} turns", fence.begin, fence.end, 'next: cursor="123456.123456"')
    name = f"session {clipped(inert(one_line(session_id)), 40)}"
    room = budget - sum(tokens_in(line) + 1 for line in (*frame, name))
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
    following = f"{at}.{len(traces)}" if at < len(traces) else None
    note = [f'next: cursor="{following}"'] if following else []
    return Turns(
        text="\n".join([f"{len(traces)} turns", fence.around("\n".join([name, *lines])), *note]),
        turns=len(traces),
        shown=at - start,
        failed=tuple(str(one["trace_id"]) for one in traces if _is_failed(one))[:50],
        next=following,
    )


def _start(count: int, cursor: str | None) -> int:
    if cursor is None:
        return 0
    found = _CURSOR.fullmatch(cursor)
    if found is None or int(found[2]) != count or int(found[1]) >= count:
        raise StaleCursor("the session has other turns than when this cursor was issued: leave it out")
    return int(found[1])


def _turn(number: int, trace: TraceRecord, tokens: int) -> str:
    failed = f" · failed: {', '.join(_failed(trace))}" if trace.origins else ""
    head = f"{number}. {trace.trace_id} {trace.body.get('status')} {seconds_text(trace.seconds)}{failed}"
    left = max(tokens - tokens_in(head) - 8, 24)
    asked = clipped(one_line(last_of(trace.body.get("input"), "user")), left * 2 // 5)
    answered = clipped(one_line(last_of(trace.body.get("output"), "assistant")), left - tokens_in(asked))
    return f"{head}\n   {asked or 'no input'}\n   {answered or 'no output'}"


def _is_failed(trace: Mapping[str, Any]) -> bool:
    """Return whether a trace has failed, by its own status or because a span failed."""
    return trace.get("status") == "ERROR" or bool(TraceRecord(trace).origins)


def _failed(trace: TraceRecord) -> list[str]:
    return [f"#{span.number} {clipped(one_line(span.name), 10)}" for span in trace.origins[:2]]
