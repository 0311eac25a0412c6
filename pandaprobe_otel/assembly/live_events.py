"""Queue of events about running spans, for a local server.

It is bounded. When it is full, it drops inputs and outputs first, then begins of spans. The next request tells the
server that its view is incomplete. Delivery does not depend on this queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import orjson

MOST_EVENTS: Final = 2_000
MOST_BYTES: Final = 4 << 20
MOST_IN_POST: Final = 500
"""Events in one request: as many as the server takes."""
MOST_BYTES_IN_POST: Final = 256 << 10

Kind = Literal["b", "e"]
_CONTENT: Final = ("input", "output")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveEvent:
    """Event of a span as it is sent: `b` means that it began, `e` means that it ended."""

    kind: Kind
    trace_id: str
    encoded: bytes

    @classmethod
    def of_span(cls, kind: Kind, trace_id: str, span: Mapping[str, Any]) -> LiveEvent:
        """Return the event of a span's begin or end, in PandaProbe's form."""
        encoded = orjson.dumps({"k": kind, "trace_id": trace_id, "span": span})
        return cls(kind=kind, trace_id=trace_id, encoded=encoded)

    def without_content(self) -> LiveEvent:
        """Return the event without input and output."""
        body = orjson.loads(self.encoded)
        body["span"] = {name: value for name, value in body["span"].items() if name not in _CONTENT}
        return replace(self, encoded=orjson.dumps(body))


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
        if self._bytes > MOST_BYTES:
            self.mark(each.trace_id for each in self._events)
            self._replace([each.without_content() for each in self._events])
        if self._is_full():
            self.mark(each.trace_id for each in self._events if each.kind == "b")
            self._replace([each for each in self._events if each.kind != "b"])
        while self._is_full():
            lost = self._events.popleft()
            self._bytes -= len(lost.encoded)
            self._incomplete.add(lost.trace_id)

    def forget(self, trace_ids: Collection[str]) -> None:
        """Drop the events of traces that are delivered now."""
        kept = [event for event in self._events if event.trace_id not in trace_ids]
        self._incomplete.difference_update(trace_ids)
        self._replace(kept)

    def lose(self) -> None:
        """Drop everything, because the server does not accept it."""
        self.mark(each.trace_id for each in self._events)
        self._replace([])

    def mark(self, trace_ids: Iterable[str]) -> None:
        """Note traces whose events were never added."""
        self._incomplete.update(trace_ids)

    def take(self) -> bytes:
        """Return the body of the next request: the oldest events, as many as it may contain."""
        told = sorted(self._incomplete)[:MOST_IN_POST]
        self._incomplete.difference_update(told)
        parts = [orjson.dumps({"k": "i", "trace_id": trace_id}) for trace_id in told]
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

    def _replace(self, kept: list[LiveEvent]) -> None:
        self._events = deque(kept)
        self._bytes = sum(len(event.encoded) for event in kept)
