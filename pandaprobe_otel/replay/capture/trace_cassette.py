"""Cassette of a trace: model calls as requests and answers in their order, tool calls as arguments and results.

Each call comes after those that it must have waited for, as far as spans show this. Times alone are not enough: a
branch may have ended by chance before another one began. Steps below one span that overlap, directly or through steps
between them, are branches. Calls in one branch do not wait for those in another. Secrets are removed by the rules of
recordings, so new requests match the cassette.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pandaprobe_otel.replay.capture.model_calls import protocol_of, rebuilt, request_of
from pandaprobe_otel.replay.capture.requirements import with_place
from pandaprobe_otel.replay.capture.stored_trace import CannotCapture, StoredTrace, check_whole
from pandaprobe_otel.replay.interactions import Cassette, Interaction, ToolCall
from pandaprobe_otel.replay.scrubbing import Scrubber
from pandaprobe_otel.traces.records import SpanRecord

_ROOTS = ""


def order_of(trace: StoredTrace) -> Mapping[int, tuple[int, ...]]:
    """Return for each model call, by number, the calls that directly precede it."""
    calls = trace.model_calls
    groups = _groups(trace)
    ways = [[one.id for one in (*reversed(list(call.above)), call)] for call in calls]
    implied: dict[int, set[int]] = {}
    found: dict[int, tuple[int, ...]] = {}
    for number, call in enumerate(calls, 1):
        direct: list[int] = []
        known: set[int] = set()
        for one in range(number - 1, 0, -1):
            is_before = calls[one - 1].ended <= call.started and one not in known
            if is_before and not _are_branches(ways[one - 1], ways[number - 1], groups):
                direct.append(one)
                known |= {one, *implied[one]}
        implied[number] = known
        found[number] = tuple(sorted(direct))
    return found


def _are_branches(way: Sequence[str], other: Sequence[str], groups: Mapping[str, int]) -> bool:
    """Return whether two paths from the root separate at concurrent steps."""
    for one, two in zip(way, other, strict=False):
        if one != two:
            return groups[one] == groups[two]
    return False


def _groups(trace: StoredTrace) -> Mapping[str, int]:
    """Return for each span id its group of overlapping steps below the same parent."""
    below: dict[str, list[SpanRecord]] = {}
    for span in trace.spans:
        parent = span.parent
        below.setdefault(_ROOTS if parent is None else parent.id, []).append(span)
    found: dict[str, int] = {}
    for steps in below.values():
        found.update(_overlapping(steps))
    return found


def _overlapping(steps: Iterable[SpanRecord]) -> Mapping[str, int]:
    found: dict[str, int] = {}
    group, last = 0, None
    for step in steps:
        if last is not None and step.started >= last:
            group += 1
        last = step.ended if last is None else max(last, step.ended)
        found[step.id] = group
    return found


def scrubbed(cassette: Cassette, cleaner: Scrubber) -> Cassette:
    """Return the cassette without secrets."""
    interactions = tuple(map(cleaner.interaction, cassette.interactions))
    tools = tuple(map(cleaner.tool, cassette.tools))
    return replace(cassette, interactions=interactions, tools=tools)


def cassette_of(trace: StoredTrace, *, plays_tools: bool = True) -> Cassette:
    """Return the cassette that answers as the trace did. The text of a CannotCapture names the span."""
    after = order_of(trace)
    return Cassette(
        interactions=tuple(
            with_place(span, partial(_interaction, trace, number, span, after[number]))
            for number, span in enumerate(trace.model_calls, 1)
        ),
        tools=tuple(with_place(span, partial(tool_call, trace, span)) for span in trace.played_tools)
        if plays_tools
        else (),
        made_from=trace.trace_id,
        started_at=str(trace.body.get("started_at") or "") or None,
    )


def _interaction(trace: StoredTrace, number: int, span: SpanRecord, after: tuple[int, ...]) -> Interaction:
    protocol = protocol_of(span.body)
    if protocol is None:
        raise CannotCapture("its answer cannot be rebuilt, since its protocol is not supported")
    return Interaction(
        call=number,
        request=request_of(span.body, protocol),
        answer=rebuilt(span.body, protocol),
        at=trace.place_of(span),
        after=after,
    )


def tool_call(trace: StoredTrace, span: SpanRecord) -> ToolCall:
    """Return a tool call. Raises CannotCapture for a result that is masked or cut."""
    check_whole(span.output, "its result")
    check_whole(span.input, "its arguments")
    metadata = span.metadata
    error = span.error
    call_id: Any = metadata.get("tool_call_id")
    return ToolCall(
        name=span.name,
        arguments=dict(span.arguments),
        result=None if error is not None else span.output,
        error=error,
        error_type=span.error_type,
        at=trace.place_of(span),
        call_id=None if call_id is None else str(call_id),
    )
