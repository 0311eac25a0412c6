"""Server-sent events out of a kept body (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
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


Read = Callable[[bytes], Event | None]
"""The event that a block is; None when it has no JSON."""


class Blocks(NamedTuple):
    """The pieces of a body that are one event each, and how such a piece is read (`ends_at` is not told)."""

    split: Callable[[], Sequence[bytes]]
    read: Read


class Events(NamedTuple):
    """The events of a body, in order. They may be read whenever `items` is iterated: once, if possible.

    `blocks` is what they are read from, where that is known.
    """

    items: Iterable[Event]
    blocks: Blocks | None = None


def last_data(events: Events) -> Any:
    """Return the JSON of the last event; None when there is none."""
    data: Any = None
    for event in events.items:
        data = event.data
    return data


def looks_like_events(body: bytes) -> bool:
    """Return whether a body of unknown type is an event stream."""
    return body.removeprefix(_BYTE_ORDER_MARK).lstrip().startswith((b"data:", b"event:", b":", b"id:", b"retry:"))


def parse(body: bytes) -> Events:
    """Every event whose data is JSON. What broke off in the middle of an event is left out, nothing is raised."""
    return Events(_Parsed(body), Blocks(partial(_split, body), _event) if _is_uniform(body) else None)


def _is_uniform(body: bytes) -> bool:
    """Return whether all lines end in the same one of the two usual ways."""
    return b"\r" not in body or body.count(b"\r") == body.count(b"\r\n") == body.count(b"\n")


def _split(body: bytes) -> Sequence[bytes]:
    lines = body.replace(b"\r\n", b"\n") if b"\r" in body else body
    return lines.removeprefix(_BYTE_ORDER_MARK).split(b"\n\n")


class _Parsed:
    """The events of a body, each read when it is asked for: of thousands, few are in memory at a time."""

    __slots__ = ("_body",)

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[Event]:
        start = len(_BYTE_ORDER_MARK) if self._body.startswith(_BYTE_ORDER_MARK) else 0
        return _events(self._body, start) if b"\r" in self._body else _usual_events(self._body, start)


def _usual_events(body: bytes, start: int) -> Iterator[Event]:
    """Yield the events of a body with ordinary line ends, without a look at its lines."""
    size = len(body)
    while start < size:
        stop = body.find(b"\n\n", start)
        stop, after = (stop, stop + 2) if stop >= 0 else (size, size)
        event = _event(body[start:stop])
        start = after
        if event is not None:
            yield Event(event.name, event.data, after)


def _event(block: bytes) -> Event | None:
    """The event of a block without carriage returns. Most have one of two forms, for which no line is looked at."""
    name: str | None = None
    if block.startswith(b"data: ") and block.find(b"\n") < 0:  # `in` would first take it for a number, which is slow
        data = block[6:]
    else:
        name, data = _fields(block)
    try:
        return Event(name, from_json(data), 0) if data else None
    except ValueError:
        return None  # as `[DONE]`


def _events(body: bytes, start: int) -> Iterator[Event]:
    while start < len(body):
        match = _BLANK_LINE.search(body, start)
        stop, after = match.span() if match is not None else (len(body), len(body))
        name, data = _lines(body[start:stop])
        start = after
        if data:
            try:
                yield Event(name, from_json(data), after)
            except ValueError:
                continue


def _fields(block: bytes) -> tuple[str | None, bytes]:
    """Name and data of an event without carriage returns."""
    head, found, data = block.partition(b"\ndata: ")
    if found and head.startswith(b"event: ") and b"\n" not in data and b"\n" not in head:
        return head[7:].decode("utf-8", errors="replace"), data
    return _lines(block)


def _lines(block: bytes) -> tuple[str | None, bytes]:
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
    """Return the time at which the byte before `offset` came, by each chunk's size and time; None if it never did."""
    ends = list(accumulate(sizes))
    index = bisect_left(ends, offset)
    return times_ns[index] if index < min(len(times_ns), len(ends)) else None


def written(data: bytes, name: str | None = None) -> bytes:
    """Return an event with this JSON, as a stream would have it; line breaks in JSON text are mere space."""
    broken = data.find(b"\n") >= 0 or data.find(b"\r") >= 0
    line = data.replace(b"\n", b" ").replace(b"\r", b" ") if broken else data
    return b"data: %s\n\n" % line if name is None else b"event: %s\ndata: %s\n\n" % (name.encode(), line)
