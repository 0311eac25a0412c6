"""Undocumented answers, through every library: the app sees the same as without us, and a call is one span.

The inner ring tries a few of the oddities, different ones for each client; the outer ring tries all of them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, starmap
from typing import Any, Final

import pytest

from conformance.adapter import Adapter, Wire, adapters
from conformance.short_bodies import SUNNY, WireEvent, event_in, shortened
from conformance.sides import SIDES, Side, recorded
from conformance.span_check import steady
from provider_server import ProviderServer, Reply
from rings import IN_FULL
from span_recorder import SpanRecorder
from streamed_forms import Sighting
from without_sockets import without_sockets

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


def other_writings(wire: Wire) -> Iterator[Oddity]:
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


def other_events(wire: Wire) -> Iterator[Oddity]:
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


FORM = "stream"
CALL = "plain"
ONE_OUT_OF = 199
"""Step through the oddities unless all are tried; a prime number, so that each kind of oddity is tried."""
THEIRS = sorted({adapter.integration for adapter in adapters()} | {"httpx", "httpx2", "root"})
"""Loggers of the clients; cohere's is the root logger."""
# litellm makes an event loop for a failing synchronous stream; the next test with a loop finds this loop unclosed.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")


@pytest.fixture(autouse=True)
def nothing_failed_inside(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Check that our observation did not fail, which the app would not notice. The clients' log lines are ignored."""
    for name in THEIRS:
        caplog.set_level(logging.CRITICAL, logger=name)
    caplog.set_level(logging.WARNING, logger="asyncio")
    caplog.set_level(logging.DEBUG, logger="pandaprobe_otel.integrations")
    yield
    logged = [one for one in caplog.get_records("call") if one.name == "pandaprobe_otel.integrations"]
    assert [(one.getMessage(), one.exc_info) for one in logged] == []


def _runs() -> Iterator[Any]:
    for adapter in map(shortened, adapters()):
        marks = [pytest.mark.filterwarnings(text) for text in adapter.warns]
        yield pytest.param(adapter, False, id=adapter.title, marks=marks)
        yield pytest.param(adapter, True, id=f"{adapter.title}-every oddity", marks=[*marks, *IN_FULL])


def _all(adapter: Adapter) -> Iterator[tuple[bool, Oddity]]:
    """Yield each oddity with a flag that is true for a stream."""
    for wire in (adapter.answer, adapter.tools):
        for kind in (other_writings, other_events, with_other_values):
            yield from ((True, oddity) for oddity in kind(wire))
        yield from ((False, oddity) for oddity in whole_with_other_values(wire.whole))


def _tried(adapter: Adapter, first: int, *, every: bool) -> list[tuple[bool, Oddity]]:
    return list(_all(adapter) if every else islice(_all(adapter), first, None, ONE_OUT_OF))


def _reply(adapter: Adapter, streamed: bool, oddity: Oddity) -> Reply:
    return Reply(chunks=oddity.chunks, content_type=adapter.answer.stream_type if streamed else "application/json")


@SIDES
@pytest.mark.parametrize(("adapter", "every"), [*_runs()])
def test_odd_bodies(
    adapter: Adapter, every: bool, asynchronous: bool, side: Any, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """The app sees the same of odd streams and odd single answers, and each call is one span."""
    used: Side = side(adapter, asynchronous)
    used.need(FORM, CALL)

    def look(streamed: bool, oddity: Oddity) -> Sighting:
        server.replies(_reply(adapter, streamed, oddity))
        return steady(used.read(FORM) if streamed else used.call(CALL), adapter)

    tried = _tried(adapter, ONE_OUT_OF // 2 if asynchronous else 0, every=every)
    differ: list[str] = []
    with without_sockets(server):
        without = list(starmap(look, tried))
        with recorded(adapter, recorder):
            for (streamed, oddity), expected in zip(tried, without, strict=True):
                seen = look(streamed, oddity)
                used.collect(recorder)
                if seen != expected or [span.end_time is not None for span in recorder.spans] != [True]:
                    differ.append(oddity.name)
                recorder.clear()
    assert differ == []
