"""The frames in which AWS streams (application/vnd.amazon.eventstream), as server-sent events.

Clients that do not use botocore for their requests (anthropic's for Bedrock, for example) read these frames from the
HTTP response. Source: "Amazon Event Stream Specification" of Smithy. A frame is a prelude (length of the frame, length
of its headers, checksum), headers, a payload and a checksum.
"""

from __future__ import annotations

import json
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Iterable, Iterator
from typing import Any, Final

from pandaprobe_otel_integrations._json import object_from_json, string

from . import sse

TYPE: Final = "application/vnd.amazon.eventstream"
_PRELUDE: Final = 12
_CHECK: Final = 4
_LARGEST: Final = 24 << 20
"""Size of the largest frame that AWS's own decoders accept, with room for its headers."""
_STRING: Final = 7
_SIZES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Length of a header's value by its type; other types begin with their length in two bytes."""


def starts(body: bytes) -> bool:
    """Return whether a body consists of frames. A client may have replaced them by lines of JSON."""
    return body[:1] == b"\0"


def as_events(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield for each chunk the frames that it completes, as server-sent events.

    A frame carries the model's own event as base64, so the event's JSON is what the client's API streams elsewhere. An
    exception becomes the event `error` in Anthropic's form. Nothing is read after bytes that are no frame.
    """
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        at = 0
        found: list[bytes] = []
        while len(waiting) - at >= _PRELUDE:
            size = int.from_bytes(waiting[at : at + 4], "big")
            if not _PRELUDE + _CHECK <= size <= _LARGEST or at + size > len(waiting):
                break
            found.append(_event(bytes(waiting[at : at + size])))
            at += size
        del waiting[:at]
        yield b"".join(found)


def _event(frame: bytes) -> bytes:
    end = _PRELUDE + int.from_bytes(frame[4:8], "big")
    payload = frame[end:-_CHECK]
    headers = dict(_headers(frame[_PRELUDE:end]))
    failed = headers.get(":exception-type") or headers.get(":error-code")
    data = object_from_json(payload)
    if failed is not None:
        message = string((data or {}).get("message")) or headers.get(":error-message") or failed
        error = {"type": "error", "error": {"type": failed, "message": message}}
        return sse.written(json.dumps(error).encode(), "error")
    carried: Any = (data or {}).get("bytes")
    if not isinstance(carried, str):
        return sse.written(payload) if data is not None else b""
    try:
        return sse.written(a2b_base64(carried))
    except (Base64Error, ValueError):
        return b""


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
