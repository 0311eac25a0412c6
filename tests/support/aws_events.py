"""AWS's event stream encoding (application/vnd.amazon.eventstream), after its specification."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from provider_server import Reply

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_STRING = 7


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return one message: lengths, their checksum, headers, payload, and a checksum of the whole message."""
    fields = b"".join(
        struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", _STRING, len(value)) + value.encode()
        for name, value in headers.items()
    )
    lengths = struct.pack(">II", len(fields) + len(payload) + 16, len(fields))
    told = lengths + struct.pack(">I", zlib.crc32(lengths)) + fields + payload
    return told + struct.pack(">I", zlib.crc32(told))


def event(name: str, data: Any) -> bytes:
    """Return an event with a JSON payload."""
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return message(headers, json.dumps(data).encode())


def exception(name: str, text: str) -> bytes:
    """Return an error that occurs in the middle of a stream."""
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return message(headers, json.dumps({"message": text}).encode())


def chunk(data: Any) -> bytes:
    """Return a piece of a model's own body, as `InvokeModelWithResponseStream` sends it."""
    return event("chunk", {"bytes": base64.b64encode(json.dumps(data).encode()).decode(), "p": "abcd"})


def stream_reply(messages: Sequence[bytes], *, hangs_s: float = 0.0) -> Reply:
    """Return a stream with one message per chunk."""
    return Reply(chunks=messages, content_type=CONTENT_TYPE, hangs_s=hangs_s)
