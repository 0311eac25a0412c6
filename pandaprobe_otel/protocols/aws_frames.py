"""Frames of AWS's event stream (application/vnd.amazon.eventstream), in which Bedrock streams, as JSON and back.

Sources: the specification of the encoding in Smithy, "Amazon Event Stream Specification"; and the bodies of
`InvokeModelWithResponseStream`, whose events carry the model's JSON as base64.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from pandaprobe_otel.protocols.encoding import dump

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"
INNER: Final = "$json"
"""Key in an event's `bytes` for JSON that was encoded as base64. `$text` is the key for text."""
_INNER_TEXT: Final = "$text"
_PRELUDE: Final = 12
_CHECK: Final = 4
_STRING: Final = 7

Event = dict[str, Any]
"""An event: `headers` by name, and the `payload`, which is JSON or else the `base64` of the bytes."""


def frames_of(body: bytes) -> Iterator[bytes]:
    """Cut a body into its frames. The last one may be incomplete."""
    begin = 0
    while begin < len(body):
        length = int.from_bytes(body[begin : begin + 4], "big")
        if length < _PRELUDE + _CHECK or begin + length > len(body):
            yield body[begin:]
            return
        yield body[begin : begin + length]
        begin += length


def message_of(frame: bytes) -> tuple[dict[str, str], bytes] | None:
    """Return the headers and the payload of a whole frame; None if it is damaged."""
    if len(frame) < _PRELUDE + _CHECK or int.from_bytes(frame[:4], "big") != len(frame):
        return None
    if zlib.crc32(frame[:-_CHECK]) != int.from_bytes(frame[-_CHECK:], "big"):
        return None
    end = _PRELUDE + int.from_bytes(frame[4:8], "big")
    headers = _headers(frame[_PRELUDE:end])
    return None if headers is None else (headers, frame[end:-_CHECK])


def event_of(frame: bytes) -> Event | None:
    """Return the event of a whole frame; None if it is damaged, or if encoding the event would give other bytes."""
    message = message_of(frame)
    if message is None:
        return None
    headers, payload = message
    try:
        value = json.loads(payload) if payload else None
    except ValueError:
        return {"headers": headers, "base64": base64.b64encode(payload).decode()}
    return {"headers": headers, "payload": _opened(value)}


def frame_of(event: Mapping[str, Any]) -> bytes:
    """Return the frame of an event. Raises ValueError, TypeError or KeyError for an invalid event."""
    if "base64" in event:
        payload = base64.b64decode(event["base64"], validate=True)
    else:
        value = event.get("payload")
        payload = b"" if value is None else _dump(_closed(value))
    fields = b"".join(_field(name, value) for name, value in event["headers"].items())
    prelude = struct.pack(">II", _PRELUDE + len(fields) + len(payload) + _CHECK, len(fields))
    told = prelude + struct.pack(">I", zlib.crc32(prelude)) + fields + payload
    return told + struct.pack(">I", zlib.crc32(told))


def _dump(value: Any) -> bytes:
    return dump(value).encode()


def _opened(value: Any) -> Any:
    if isinstance(value, dict) and isinstance(text := cast("Event", value).get("bytes"), str):
        try:
            written = base64.b64decode(text, validate=True).decode()
        except (ValueError, binascii.Error):
            return cast("Event", value)
        return {**cast("Event", value), "bytes": _inner(written)}
    return cast("Any", value)


def _inner(text: str) -> dict[str, Any]:
    """Return base64 as JSON if it would be encoded to the same bytes again."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {_INNER_TEXT: text}
    return {INNER: value} if dump(value) == text else {_INNER_TEXT: text}


def _closed(value: Any) -> Any:
    if isinstance(value, dict):
        inner = cast("Event", value).get("bytes")
        if isinstance(inner, dict) and len(cast("Event", inner)) == 1:
            found = cast("Event", inner)
            text = dump(found[INNER]) if INNER in found else found.get(_INNER_TEXT)
            if isinstance(text, str):
                return {**cast("Event", value), "bytes": base64.b64encode(text.encode()).decode()}
    return cast("Any", value)


def _field(name: str, value: object) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"the header {name} is not text")
    text = value.encode()
    return struct.pack(">B", len(name.encode())) + name.encode() + struct.pack(">BH", _STRING, len(text)) + text


def _headers(data: bytes) -> dict[str, str] | None:
    """Return the headers; None if a header is not text, which model services do not send."""
    found: dict[str, str] = {}
    begin = 0
    try:
        while begin < len(data):
            end = begin + 1 + data[begin]
            name, kind = data[begin + 1 : end].decode(), data[end]
            length = int.from_bytes(data[end + 1 : end + 3], "big")
            if kind != _STRING or end + 3 + length > len(data):
                return None
            found[name] = data[end + 3 : end + 3 + length].decode()
            begin = end + 3 + length
    except (IndexError, UnicodeDecodeError):
        return None
    return found
