"""Requests and spans as database rows with checksums, so that damaged ones are never sent."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.mapping.encoded_spans import NO_SPANS, EncodedSpans

OWN: Final = 0
"""Number of this process's own file; files of dead processes have higher numbers."""

_BETWEEN_SPANS: Final = b"\n"
"""Separator of spans: JSON without white space contains no line break."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRow:
    """Span of an incomplete trace: ended, or a root that was still open (`is_open`)."""

    trace_id: str
    span_id: str
    is_open: bool
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceState:
    """The part of an incomplete trace that has been sent."""

    trace_id: str
    posted: bool = False
    running: bool = False
    is_remote: bool = False
    had_input: bool = False
    tags: tuple[str, ...] = ()
    open_spans: int = 0
    resource: str = "{}"
    """JSON text of the resource's attributes."""

    def encoded(self) -> str:
        """Return the state as JSON text, without the id."""
        return json.dumps({each.name: getattr(self, each.name) for each in fields(self) if each.name != "trace_id"})

    @classmethod
    def decoded(cls, trace_id: str, text: str) -> TraceState:
        """Return the state from JSON text. Raises ValueError."""
        try:
            state: dict[str, Any] = json.loads(text)
            state["tags"] = tuple(state["tags"])
            return cls(trace_id=trace_id, **state)
        except (TypeError, KeyError) as error:
            raise ValueError(str(error)) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalChange:
    """Change to the state of incomplete traces: new spans, or (`cleared`) a trace whose spans have become requests."""

    rows: Sequence[JournalRow] = ()
    states: Sequence[TraceState] = ()
    cleared: str | None = None
    """Id of the trace to clear. If `states` has its state, the trace goes on."""
    open_roots: Sequence[str] = ()
    """Ids of the open roots that stay when their trace is cleared."""


def joined(spans: EncodedSpans) -> bytes:
    """Return the spans of a request as one value."""
    return _BETWEEN_SPANS.join(spans)


def checksum(request: Parcel, spans: bytes) -> int:
    """Return the checksum over everything in the request that the server sees."""
    head = f"{request.step}\0{request.trace_id}\0{request.name}\0{request.is_error:d}{request.is_remote:d}"
    return zlib.crc32(spans, zlib.crc32(request.fields, zlib.crc32(head.encode("utf-8", "surrogatepass"))))


def head_of(request: Parcel) -> tuple[Any, ...]:
    """Return the columns step, trace_id, name, is_error and is_remote of a request."""
    name = request.name.encode("utf-8", "surrogatepass")
    return request.step.value, request.trace_id, name, request.is_error, request.is_remote


def request_head(row: tuple[Any, ...]) -> Parcel | None:
    """Return the request of the columns of `head_of`, without its content; None if they are damaged."""
    step, trace_id, name, is_error, is_remote = row
    try:
        return Parcel(
            step=Step(step),
            trace_id=trace_id,
            name=name.decode("utf-8", "surrogatepass"),
            is_error=bool(is_error),
            is_remote=bool(is_remote),
        )
    except (AttributeError, TypeError, ValueError):
        return None


def request_of(row: tuple[Any, ...]) -> Parcel | None:
    """Return the request of a row (`head_of`, crc, fields, spans); None if it differs from the written request."""
    *head, crc, content, spans = row
    request = request_head(tuple(head))
    if request is None:
        return None
    try:
        encoded = EncodedSpans.of(spans.split(_BETWEEN_SPANS)) if spans else NO_SPANS
        request = replace(request, fields=content, spans=encoded)
        return request if crc == checksum(request, spans) else None
    except (AttributeError, TypeError, ValueError):
        return None
