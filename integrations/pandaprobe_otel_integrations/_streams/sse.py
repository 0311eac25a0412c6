"""Parsing of server-sent events from a kept body (WHATWG HTML, section 9.2.6)."""

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
    """One event: its name (None if the stream sends none), its JSON, and where it ends in the body."""

    name: str | None
    data: Any
    ends_at: int


Read = Callable[[bytes], Event | None]
"""Returns the event of a block; None if the block has no JSON."""


class Blocks(NamedTuple):
    """The blocks of a body, one event each, and the function that parses a block (without `ends_at`)."""

    split: Callable[[], Sequence[bytes]]
    read: Read


class Events(NamedTuple):
    """The events of a body, in order.

    Each iteration of `items` may parse them again, so iterate once if possible. `blocks` is their source, if it is
    known.
    """

    items: Iterable[Event]
    blocks: Blocks | None = None


def last_data(events: Events) -> Any:
    """Return the JSON of the last event; None if there is none."""
    data: Any = None
    for event in events.items:
        data = event.data
    return data


def looks_like_events(body: bytes) -> bool:
    """Return whether a body of unknown type is an event stream."""
    return body.removeprefix(_BYTE_ORDER_MARK).lstrip().startswith((b"data:", b"event:", b":", b"id:", b"retry:"))


def parse(body: bytes) -> Events:
    """Return every event whose data is JSON. An incomplete event is left out, and nothing is raised."""
    return Events(_Parsed(body), Blocks(partial(_split, body), _event) if _is_uniform(body) else None)


def _is_uniform(body: bytes) -> bool:
    """Return whether all lines have the same line end, in one of the two usual forms."""
    return b"\r" not in body or body.count(b"\r") == body.count(b"\r\n") == body.count(b"\n")


def _split(body: bytes) -> Sequence[bytes]:
    lines = body.replace(b"\r\n", b"\n") if b"\r" in body else body
    return lines.removeprefix(_BYTE_ORDER_MARK).split(b"\n\n")


class _Parsed:
    """The events of a body, each parsed on request: of thousands, only a few are in memory at a time."""

    __slots__ = ("_body",)

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[Event]:
        start = len(_BYTE_ORDER_MARK) if self._body.startswith(_BYTE_ORDER_MARK) else 0
        return _events(self._body, start) if b"\r" in self._body else _usual_events(self._body, start)


def _usual_events(body: bytes, start: int) -> Iterator[Event]:
    """Yield the events of a body with ordinary line ends, without splitting it into lines."""
    size = len(body)
    while start < size:
        stop = body.find(b"\n\n", start)
        stop, after = (stop, stop + 2) if stop >= 0 else (size, size)
        event = _event(body[start:stop])
        start = after
        if event is not None:
            yield Event(event.name, event.data, after)


def _event(block: bytes) -> Event | None:
    """Return the event of a block without carriage returns. Most have one of two forms, which need no splitting."""
    name: str | None = None
    if block.startswith(b"data: ") and block.find(b"\n") < 0:  # `in` would first try it as a number, which is slow
        data = block[6:]
    else:
        name, data = _fields(block)
    try:
        return Event(name, from_json(data), 0) if data else None
    except ValueError:
        return None  # for example `[DONE]`


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
    """Return name and data of an event without carriage returns."""
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
    """Return the arrival time of the byte before `offset`, from the chunks' sizes and times; None if it never came."""
    ends = list(accumulate(sizes))
    index = bisect_left(ends, offset)
    return times_ns[index] if index < min(len(times_ns), len(ends)) else None


def written(data: bytes, name: str | None = None) -> bytes:
    """Return an event with this JSON in the form of a stream; line breaks in JSON text are only white space."""
    broken = data.find(b"\n") >= 0 or data.find(b"\r") >= 0
    line = data.replace(b"\n", b" ").replace(b"\r", b" ") if broken else data
    return b"data: %s\n\n" % line if name is None else b"event: %s\ndata: %s\n\n" % (name.encode(), line)
