"""Queue of events about running spans, for a local server.

It is bounded. When it is full, it drops the texts of streams first, then inputs and outputs, then begins of spans. The
next request tells the server that its view is incomplete. Delivery does not depend on this queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

MOST_EVENTS: Final = 2_000
MOST_BYTES: Final = 4 << 20
MOST_IN_POST: Final = 480
"""Spans in one request. The server takes 500 events, so the texts of streams have room."""
MOST_BYTES_IN_POST: Final = 256 << 10

Kind = Literal["b", "t", "e"]
_CONTENT: Final = ("input", "output")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveEvent:
    """Event as it is sent: `b` means that a span began, `t` is its text so far, `e` means that it ended."""

    kind: Kind
    trace_id: str
    span_id: str
    encoded: bytes

    @classmethod
    def of_span(cls, kind: Literal["b", "e"], trace_id: str, span: Mapping[str, Any]) -> LiveEvent:
        """Return the event of a span's begin or end, in PandaProbe's form."""
        encoded = orjson.dumps({"k": kind, "trace_id": trace_id, "span": span})
        return cls(kind=kind, trace_id=trace_id, span_id=span["span_id"], encoded=encoded)

    @classmethod
    def of_text(cls, trace_id: str, span_id: str, text: str) -> LiveEvent:
        """Return the event with a stream's text so far."""
        encoded = orjson.dumps({"k": "t", "trace_id": trace_id, "span_id": span_id, "text": text})
        return cls(kind="t", trace_id=trace_id, span_id=span_id, encoded=encoded)

    def without_content(self) -> LiveEvent:
        """Return the event without input and output."""
        body = orjson.loads(self.encoded)
        body["span"] = {name: value for name, value in body["span"].items() if name not in _CONTENT}
        return LiveEvent(kind=self.kind, trace_id=self.trace_id, span_id=self.span_id, encoded=orjson.dumps(body))


class LiveQueue:
    """Events that wait to be sent. Not thread-safe."""

    def __init__(self) -> None:
        self._events: deque[LiveEvent] = deque()
        self._bytes = 0
        self._incomplete: set[str] = set()
        """Traces with dropped events, which no request has reported to the server yet."""

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: LiveEvent) -> None:
        """Add an event; drop others if there is no room."""
        self._events.append(event)
        self._bytes += len(event.encoded)
        if self._is_full():
            self._drop(lambda each: each.kind == "t")
        if self._is_full() and self._bytes > MOST_BYTES:
            self._strip()
        if self._is_full():
            self._drop(lambda each: each.kind == "b")
        while self._is_full():
            self._forget(self._events.popleft())

    def forget(self, trace_ids: Collection[str]) -> None:
        """Drop the events of traces that are delivered now."""
        kept = [event for event in self._events if event.trace_id not in trace_ids]
        self._incomplete.difference_update(trace_ids)
        self._replace(kept)

    def lose(self) -> None:
        """Drop everything, because the server does not accept it."""
        self._drop(lambda _: True)

    def mark(self, trace_ids: Iterable[str]) -> None:
        """Note traces whose events were never added."""
        self._incomplete.update(trace_ids)

    def take(self) -> bytes:
        """Return the body of the next request: the oldest events, as many as it may contain."""
        parts = [orjson.dumps({"k": "i", "trace_id": trace_id}) for trace_id in sorted(self._incomplete)[:MOST_IN_POST]]
        self._incomplete.difference_update([*sorted(self._incomplete)[:MOST_IN_POST]])
        size = sum(map(len, parts))
        while self._events and len(parts) < MOST_IN_POST:
            event = self._events[0]
            if parts and size + len(event.encoded) > MOST_BYTES_IN_POST:
                break
            self._events.popleft()
            self._bytes -= len(event.encoded)
            size += len(event.encoded)
            parts.append(event.encoded)
        return b"[" + b",".join(parts) + b"]"

    def _is_full(self) -> bool:
        return len(self._events) > MOST_EVENTS or self._bytes > MOST_BYTES

    def _drop(self, wanted: Callable[[LiveEvent], bool]) -> None:
        for event in self._events:
            if wanted(event):
                self._incomplete.add(event.trace_id)
        self._replace([event for event in self._events if not wanted(event)])

    def _strip(self) -> None:
        self._incomplete.update(event.trace_id for event in self._events)
        self._replace([event if event.kind == "t" else event.without_content() for event in self._events])

    def _forget(self, event: LiveEvent) -> None:
        self._bytes -= len(event.encoded)
        self._incomplete.add(event.trace_id)

    def _replace(self, kept: list[LiveEvent]) -> None:
        self._events = deque(kept)
        self._bytes = sum(len(event.encoded) for event in kept)
