"""Cassette of a trace: model calls as requests and answers, tool calls as arguments and results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from pandaprobe_otel.protocols.conversation import mapping
from pandaprobe_otel.replay.capture.call_order import order_of
from pandaprobe_otel.replay.capture.cannot_capture import CannotCapture, check_whole
from pandaprobe_otel.replay.capture.model_calls import protocol_of, rebuilt, request_of
from pandaprobe_otel.replay.capture.requirements import with_place
from pandaprobe_otel.replay.capture.stored_trace import StoredTrace
from pandaprobe_otel.replay.interactions import Cassette, Interaction, ToolCall
from pandaprobe_otel.traces.records import SpanRecord


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


def decoded(text: Any) -> Mapping[str, Any]:
    """Parse the arguments; return an empty object if they are not a JSON object."""
    try:
        return mapping(json.loads(text)) if isinstance(text, str) else mapping(text)
    except ValueError:
        return {}
