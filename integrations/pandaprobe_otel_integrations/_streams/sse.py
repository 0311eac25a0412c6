"""Server-sent events out of a kept body (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple

from pandaprobe_otel_integrations._json import from_json

_BLANK_LINE: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE: Final = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event: its name (None when the stream does not say), its JSON, and where it ends in the body."""

    name: str | None
    data: Any
    ends_at: int


class Events(NamedTuple):
    """The events of a body, in order; `done` when the `[DONE]` mark of OpenAI-like services was among them."""

    items: Sequence[Event]
    done: bool


def looks_like_events(body: bytes) -> bool:
    """Whether a body of unknown type is an event stream."""
    return body.removeprefix(_BYTE_ORDER_MARK).lstrip().startswith((b"data:", b"event:", b":", b"id:", b"retry:"))


def parse(body: bytes) -> Events:
    """Every event whose data is JSON. What broke off in the middle of an event is left out, nothing is raised."""
    events: list[Event] = []
    done = False
    start = len(_BYTE_ORDER_MARK) if body.startswith(_BYTE_ORDER_MARK) else 0
    only_newlines = b"\r" not in body
    while start < len(body):
        stop, after = _blank_line(body, start, only_newlines)
        name, data = _fields(body[start:stop])
        start = after
        if data.startswith(b"[DONE]"):
            done = True
        elif data:
            try:
                events.append(Event(name, from_json(data), after))
            except ValueError:
                continue
    return Events(events, done)


def _blank_line(body: bytes, start: int, only_newlines: bool) -> tuple[int, int]:
    """Where the event that begins at `start` ends, and where the next one begins."""
    if only_newlines:
        found = body.find(b"\n\n", start)
        return (found, found + 2) if found >= 0 else (len(body), len(body))
    match = _BLANK_LINE.search(body, start)
    return match.span() if match is not None else (len(body), len(body))


def _fields(block: bytes) -> tuple[str | None, bytes]:
    if block.startswith(b"data:") and b"\n" not in block and b"\r" not in block:
        return None, block[5:].lstrip(b" ")
    name: str | None = None
    data: list[bytes] = []
    for line in _LINE.split(block):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", errors="replace")
    return name, b"\n".join(data)


def arrival(offset: int, sizes: Iterable[int], times_ns: Sequence[int]) -> int | None:
    """When the byte before `offset` came, given each chunk's size and time; None when it never did."""
    ends = list(accumulate(sizes))
    index = bisect_left(ends, offset)
    return times_ns[index] if index < min(len(times_ns), len(ends)) else None


def written(data: bytes, name: str | None = None) -> bytes:
    """An event with this JSON, as a stream would have it; line breaks in JSON text are mere space."""
    line = data.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"data: %s\n\n" % line if name is None else b"event: %s\ndata: %s\n\n" % (name.encode(), line)
