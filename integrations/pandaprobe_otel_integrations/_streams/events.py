"""The events in the bytes of a kept body, in three forms.

They are server-sent events (WHATWG HTML, section 9.2.6), lines of JSON, and the frames in which AWS streams.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple

from pandaprobe_otel.protocols import aws_frames
from pandaprobe_otel_integrations._json import Object, from_json, obj, object_from_json, string

FRAMES: Final = aws_frames.CONTENT_TYPE
EVENTS: Final = "text/event-stream"
_LINES: Final = ("ndjson", "stream+json", "jsonl", "json-seq")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_STARTS: Final = (b"data:", b"event:", b":", b"id:", b"retry:")


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


def _out_of_frames(chunks: Sequence[bytes]) -> Iterator[bytes]:
    """Yield for each chunk the events in the frames that it completes. Nothing is read after bytes that are no frame.

    Clients that do not use botocore for their requests (anthropic's for Bedrock, for example) read frames.
    """
    frames = aws_frames.frames_of(b"".join(chunks))
    frame = next(frames, b"")
    at = 0
    for end in accumulate(map(len, chunks)):
        found: list[bytes] = []
        while frame and at + len(frame) <= end:
            at += len(frame)
            if (message := aws_frames.message_of(frame)) is not None:
                found.append(message_written(*message))
            frame = next(frames, b"")
        yield b"".join(found)
