"""Requirements of a trace that becomes a test. Each refusal names the missing part and its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from pandaprobe_otel.protocols.conversation import mapping
from pandaprobe_otel.replay.capture.model_calls import protocol_of
from pandaprobe_otel.replay.capture.stored_trace import CannotCapture, StoredTrace, check_whole
from pandaprobe_otel.traces.records import SpanRecord

REPR: Final = re.compile(r"<[\w.]+ object at 0x[0-9a-f]+>|<function .* at 0x[0-9a-f]+>")
"""Texts of values that JSON cannot express."""
_LEFT_OUT: Final = re.compile(r"left_out|dropped_")


def check(trace: StoredTrace) -> None:
    """Raise CannotCapture unless a test can be made of a trace."""
    if not trace.spans:
        raise CannotCapture("it has no spans: they were sampled out or have not arrived yet")
    _check_whole(trace)
    if not trace.model_calls and not trace.played_tools:
        raise CannotCapture("it has no model or tool call that could be played back")
    for span in trace.model_calls:
        with_place(span, partial(_check_call, span))
    for span in trace.spans:
        if span.kind == "EMBEDDING" and not any(one.kind == "TOOL" for one in span.above):
            raise CannotCapture(f"{place(span)}: a trace does not have the vectors of an embedding")


def with_place(span: SpanRecord, read: Any) -> Any:
    """Return the result of a function about a span. Its CannotCapture gets the name of the span."""
    try:
        return read()
    except CannotCapture as error:
        raise CannotCapture(f"{place(span)}: {error}") from None


def place(span: SpanRecord) -> str:
    """Return the name of a span for a refusal."""
    return f"span {span.name!r} ({span.id[-12:]})"


def _check_whole(trace: StoredTrace) -> None:
    known = {span.id for span in trace.spans}
    roots = 0
    for span in trace.spans:
        if not span.body.get("ended_at"):
            raise CannotCapture(f"{place(span)} has not ended: its process died or is still running")
        parent = span.body.get("parent_span_id")
        roots += parent is None
        if parent is not None and str(parent) not in known:
            raise CannotCapture(f"{place(span)} has a parent span that is missing: it belongs to another process")
    if roots > 1:
        raise CannotCapture("it has several roots: it crosses processes or was sent in parts")
    services = {str(span.metadata["service.name"]) for span in trace.spans if "service.name" in span.metadata}
    if len(services) > 1:
        raise CannotCapture(f"it crosses processes ({', '.join(sorted(services))}): a test runs in one")


def _check_call(span: SpanRecord) -> None:
    if protocol_of(span.body) is None:
        provider = span.metadata.get("provider") or "unknown"
        raise CannotCapture(f"its answer cannot be rebuilt, since its protocol is not supported (provider: {provider})")
    if span.error is None and not span.output and not span.metadata.get("finish_reasons"):
        raise CannotCapture("its content was not captured (check capture= and the switches of its instrumentation)")
    asked: Any = mapping(span.input).get("messages")
    if not asked and not (isinstance(span.input, str) and span.input):
        raise CannotCapture("it has no messages: its content was not captured")


def warnings_of(trace: StoredTrace) -> Iterator[str]:
    """Yield the reasons why a test may differ from its trace."""
    for span in trace.model_calls:
        try:
            check_whole(span.input, "its request")
        except CannotCapture as error:
            yield f"{place(span)}: {error}: the test cannot compare it"
    encrypted = [span for span in trace.model_calls if "reasoning_summary" in span.metadata]
    if encrypted and not any("replay" in span.metadata for span in encrypted):
        yield (
            "the signatures of thoughts are invented. Playback works, but services refuse live calls after them. "
            "init(replayable=True) saves the real ones"
        )
