"""The events in the bytes of a kept body, in three forms.

They are server-sent events (WHATWG HTML, section 9.2.6), lines of JSON, and the frames in which AWS streams. A frame
("Amazon Event Stream Specification" of Smithy) is a prelude (length of the frame, length of its headers, checksum),
headers, a payload and a checksum.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple

from pandaprobe_otel_integrations._json import Object, from_json, obj, object_from_json, string

FRAMES: Final = "application/vnd.amazon.eventstream"
EVENTS: Final = "text/event-stream"
_LINES: Final = ("ndjson", "stream+json", "jsonl", "json-seq")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_STARTS: Final = (b"data:", b"event:", b":", b"id:", b"retry:")
_PRELUDE: Final = 12
_CHECK: Final = 4
_LARGEST: Final = 24 << 20
"""Size of the largest frame that AWS's own decoders accept, with room for its headers."""
_STRING: Final = 7
_SIZES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Length of a header's value by its type; other types begin with their length in two bytes."""


class Blocks(NamedTuple):
    """The blocks of a body, one event each. `read` returns the JSON of a block; None if it has none.

    An incomplete event is a block without JSON, and nothing is raised.
    """

    items: Sequence[bytes]
    read: Callable[[bytes], Any]
    gap: bytes

    def first(self, is_wanted: Callable[[Object], bool]) -> int | None:
        """Return the number of bytes up to the end of the first event that is wanted."""
        end = 0
        for block in self.items:
            end += len(block) + len(self.gap)
            if (data := self.read(block)) is not None and is_wanted(obj(data)):
                return end
        return None


def blocks_in(chunks: Sequence[Any], content_type: str) -> tuple[Sequence[bytes], Blocks | None]:
    """Return the chunks as they are read, and the events in them; None for a body of another form.

    The chunks are bytes, or the messages that botocore has found in AWS's frames.
    """
    if FRAMES in content_type:
        first: Any = next((chunk for chunk in chunks if chunk), b"")
        if not isinstance(first, bytes):
            chunks = [message_written(one.headers, one.payload) for one in chunks]
        elif first.startswith(b"\0"):
            chunks = [*_out_of_frames(chunks)]
    content = b"".join(chunks)
    is_stream = "event-stream" in content_type or FRAMES in content_type
    # Cohere's clients for other clouds replace the events by lines of JSON, and leave the type as it was.
    if any(name in content_type for name in _LINES) or (is_stream and content.startswith(b"{")):
        return chunks, Blocks(content.split(b"\n"), _json, b"\n")
    if not is_stream and not content.removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(_STARTS):
        return chunks, None
    if b"\r" in content:
        chunks = [*_with_newlines(chunks)]
        content = b"".join(chunks)
    return chunks, Blocks(content.split(b"\n\n"), event_data, b"\n\n")


def event_data(block: bytes) -> Any:
    """Return the JSON of a server-sent event; None if it has none, for example of `[DONE]`."""
    lines = block.removeprefix(_BYTE_ORDER_MARK).split(b"\n")
    return _json(b"\n".join([line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]))


def _json(text: bytes) -> Any:
    try:
        return from_json(text) if text else None
    except ValueError:
        return None


def _with_newlines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the chunks with every line end as one newline, also if its two characters are in two chunks."""
    last = b""
    for chunk in chunks:
        rest = chunk.removeprefix(b"\n") if last == b"\r" else chunk
        last = chunk[-1:] or last
        yield rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def arrival(offset: int, sizes: Iterable[int], times_ns: Sequence[int]) -> int | None:
    """Return the arrival time of the byte before `offset`, from the chunks' sizes and times; None if it never came."""
    ends = [*accumulate(sizes)]
    index = bisect_left(ends, min(offset, ends[-1]))
    return times_ns[index] if index < len(times_ns) else None


def written(data: bytes) -> bytes:
    """Return JSON as a server-sent event; line breaks in JSON text are only white space."""
    if data.find(b"\n") >= 0 or data.find(b"\r") >= 0:  # `in` would first try it as a number, which is slow
        data = data.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"data: %b\n\n" % data


def message_written(headers: Mapping[str, Any], payload: bytes) -> bytes:
    """Return a message of AWS as a server-sent event; empty if it carries no JSON.

    A chunk carries the model's own event as base64, so the event's JSON is what the model's API streams elsewhere. Any
    other message becomes an object under its name, and an exception an event in Anthropic's form.
    """
    kind = headers.get(":event-type")
    if kind is not None and kind != "chunk":
        return written(b'{"%b":%b}' % (kind.encode(), payload))
    data = object_from_json(payload)
    failed = headers.get(":exception-type") or headers.get(":error-code")
    if failed is not None:
        text = string(obj(data).get("message")) or headers.get(":error-message") or failed
        return written(json.dumps({"type": "error", "error": {"type": failed, "message": text}}).encode())
    carried = obj(data).get("bytes")
    if not isinstance(carried, str):
        return written(payload) if data is not None else b""
    try:
        return written(a2b_base64(carried))
    except ValueError:
        return b""


def _out_of_frames(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield for each chunk the events in the frames that it completes. Nothing is read after bytes that are no frame.

    Clients that do not use botocore for their requests (anthropic's for Bedrock, for example) read frames.
    """
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        at = 0
        found: list[bytes] = []
        while len(waiting) - at >= _PRELUDE:
            size, head = (int.from_bytes(waiting[at + place : at + place + 4], "big") for place in (0, 4))
            if not _PRELUDE + _CHECK <= size <= _LARGEST or at + size > len(waiting):
                break
            frame = bytes(waiting[at : at + size])
            end = _PRELUDE + head
            found.append(message_written(dict(_headers(frame[_PRELUDE:end])), frame[end:-_CHECK]))
            at += size
        del waiting[:at]
        yield b"".join(found)


def _headers(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield the headers that are text, up to the first one that breaks the format."""
    at = 0
    while at < len(data):
        name_end = at + 1 + data[at]
        name, kind = data[at + 1 : name_end], data[name_end : name_end + 1]
        if not kind:
            return
        at = name_end + 1
        if kind[0] in _SIZES:
            at += _SIZES[kind[0]]
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        at += 2 + length
        if kind[0] == _STRING:
            yield name.decode(errors="replace"), data[at - length : at].decode(errors="replace")
