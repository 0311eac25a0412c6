"""Bodies that no provider's reference describes, but that some service sends.

There are two kinds of oddity: events that are written in another way with the same meaning, and documents with an odd
value in one place: nothing, null, or a value of another type.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .adapter import Wire
from .short_bodies import SUNNY
from .wire_events import WireEvent, event_in

GONE: Final = object()
"""Stands for a missing member."""
REPLACEMENTS: Final[tuple[Any, ...]] = (
    None,
    GONE,
    [],
    {},
    "",
    "odd",
    '{"odd',
    -1,
    10**30,
    1.5,
    True,
    [None],
    [[1]],
    [{}],
    {"odd": {"odd": None}},
)
_UNKNOWN: Final = {"type": "odd.event", "event_type": "odd", "odd": {"odd": [1, None]}}
_LONG: Final = "long " * 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """A body and the name of its oddity."""

    name: str
    chunks: Sequence[bytes]


Path = tuple[str | int, ...]


def written_otherwise(wire: Wire) -> Iterator[Oddity]:
    """Yield the same events in other forms that the standard of server-sent events allows, and in other chunks."""
    body = b"".join(wire.chunks)
    for size in (1, 3, 64):
        pieces = tuple(body[start : start + size] for start in range(0, len(body), size))
        yield Oddity(name=f"in pieces of {size}", chunks=pieces)
    yield Oddity(name="in one piece", chunks=(body,))
    yield Oddity(name="with empty pieces", chunks=tuple(one for chunk in wire.chunks for one in (b"", chunk)))
    if "event-stream" not in wire.stream_type:
        return
    for name, change in _WRITINGS.items():
        yield Oddity(name=name, chunks=tuple(map(change, wire.chunks)))
    yield Oddity(name="byte order mark", chunks=(b"\xef\xbb\xbf", *wire.chunks))
    yield Oddity(name="no blank line at the end", chunks=(*wire.chunks[:-1], wire.chunks[-1].rstrip()))
    yield Oddity(name="more after the end", chunks=(*wire.chunks, *wire.chunks))


def said_otherwise(wire: Wire) -> Iterator[Oddity]:
    """Yield other events: unknown ones, repeated ones, events out of order, and very long ones."""
    events = [event_in(chunk, wire.stream_type) for chunk in wire.chunks]
    for place, event in enumerate(events):
        if event is not None:
            before, chunk, after = wire.chunks[:place], wire.chunks[place], wire.chunks[place + 1 :]
            yield Oddity(
                name=f"unknown before {place}", chunks=(*before, event.written(json.dumps(_UNKNOWN)), chunk, *after)
            )
            yield Oddity(name=f"{place} twice", chunks=(*before, chunk, chunk, *after))
            yield Oddity(name=f"without {place}", chunks=(*before, *after))
            yield Oddity(
                name=f"{place} is long", chunks=(*before, event.written(json.dumps(_with_long_texts(event))), *after)
            )
            yield Oddity(
                name=f"{place} knows more", chunks=(*before, event.written(json.dumps(_knowing_more(event))), *after)
            )
            for odd in (None, [], [None], 1, "odd"):
                yield Oddity(name=f"{place} is {odd!r}", chunks=(*before, event.written(json.dumps(odd)), *after))
    yield Oddity(name="backwards", chunks=tuple(reversed(wire.chunks)))


def with_other_values(wire: Wire) -> Iterator[Oddity]:
    """Yield the stream with one odd value, for each place in each kind of event and each of `REPLACEMENTS`."""
    seen: set[tuple[Any, ...]] = set()
    for at, chunk in enumerate(wire.chunks):
        event = event_in(chunk, wire.stream_type)
        if event is None:
            continue
        for path in _paths(event.document):
            key = (_kind(event.document), *(0 if isinstance(step, int) else step for step in path))
            if key in seen:
                continue
            seen.add(key)
            for value in REPLACEMENTS:
                odd = event.written(json.dumps(_replaced(event.document, path, value)))
                name = f"{at} {'.'.join(map(str, path))}={'gone' if value is GONE else repr(value)}"
                yield Oddity(name=name, chunks=(*wire.chunks[:at], odd, *wire.chunks[at + 1 :]))


def whole_with_other_values(whole: bytes) -> Iterator[Oddity]:
    """Yield an answer in one piece with one odd value, for each place and each of `REPLACEMENTS`."""
    document = json.loads(whole)
    for path in _paths(document):
        for value in REPLACEMENTS:
            name = f"{'.'.join(map(str, path))}={'gone' if value is GONE else repr(value)}"
            yield Oddity(name=name, chunks=(json.dumps(_replaced(document, path, value)).encode(),))
    for odd in (None, [], [None], 1, "odd"):
        yield Oddity(name=f"is {odd!r}", chunks=(json.dumps(odd).encode(),))
    yield Oddity(name="empty", chunks=())
    yield Oddity(name="no JSON", chunks=(b"<html>",))


def _lines_of_data(chunk: bytes) -> bytes:
    before, brace, rest = chunk.partition(b"{")
    if not brace:
        return chunk
    document = json.dumps(json.loads(brace + rest), indent=1).replace("\n", "\ndata: ")
    return before + document.encode() + b"\n\n"


_WRITINGS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "no space after the colon": lambda chunk: chunk.replace(b"data: ", b"data:").replace(b"event: ", b"event:"),
    "two spaces after the colon": lambda chunk: chunk.replace(b"data: ", b"data:  "),
    "CRLF": lambda chunk: chunk.replace(b"\n", b"\r\n"),
    "CR": lambda chunk: chunk.replace(b"\n", b"\r"),
    "comments": lambda chunk: b": keep-alive\n\n" + chunk,
    "comments inside": lambda chunk: b":\n" + chunk,
    "ids": lambda chunk: b"id: 7\nretry: 10\n" + chunk,
    "empty data": lambda chunk: b"data:\n\n" + chunk,
    "more blank lines": lambda chunk: b"\n" + chunk + b"\n\n",
    "several lines": _lines_of_data,
    "another name": lambda chunk: b"event: odd\n" + chunk,
    "fields without a colon": lambda chunk: b"odd\n" + chunk,
    "not UTF-8": lambda chunk: chunk.replace(SUNNY.encode(), b"S\xff\xfeny"),
    "not JSON": lambda chunk: b"data: {odd\n\n" + chunk,
}


def _paths(value: Any, above: Path = ()) -> Iterator[Path]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, member in members:
        yield (*above, step)
        yield from _paths(member, (*above, step))


def _kind(document: Any) -> Any:
    return (document.get("type") or document.get("event_type")) if isinstance(document, dict) else None


def _replaced(document: Any, path: Path, value: Any) -> Any:
    step, *rest = path
    changed: Any = dict(document) if isinstance(document, dict) else list(document)
    if rest:
        changed[step] = _replaced(changed[step], tuple(rest), value)
    elif value is GONE:
        del changed[step]
    else:
        changed[step] = value
    return changed


def _with_long_texts(event: WireEvent) -> Any:
    def longer(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: longer(member) for key, member in value.items()}
        if isinstance(value, list):
            return [longer(member) for member in value]
        return value + _LONG if isinstance(value, str) and SUNNY in value else value

    return longer(event.document)


def _knowing_more(event: WireEvent) -> Any:
    def more(value: Any) -> Any:
        if isinstance(value, dict):
            return {**{key: more(member) for key, member in value.items()}, "odd": {"odd": [1, None]}}
        return [*map(more, value)] if isinstance(value, list) else value

    return more(event.document)
