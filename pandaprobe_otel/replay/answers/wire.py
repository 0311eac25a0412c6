"""Bodies of answers as bytes: JSON, server-sent events, JSON lines, and AWS's event stream."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
LINES: Final = "application/x-ndjson"
AWS_EVENTS: Final = "application/vnd.amazon.eventstream"
_TEXT_HEADER: Final = 7


def json_bytes(value: Any) -> bytes:
    """A JSON document."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def server_sent(event: Mapping[str, Any], *, is_named: bool) -> bytes:
    """One event, named by its `type` where the protocol names events."""
    name = b"event: %b\n" % str(event["type"]).encode() if is_named else b""
    return name + b"data: %b\n\n" % json_bytes(event)


def line(event: Mapping[str, Any]) -> bytes:
    """One JSON document on a line of its own."""
    return json_bytes(event) + b"\n"


def aws_frame(name: str, payload: Mapping[str, Any]) -> bytes:
    """One message of AWS's event stream: lengths, their checksum, headers, payload, checksum of it all."""
    headers = {":event-type": name, ":content-type": JSON, ":message-type": "event"}
    fields = b"".join(_header(key, value) for key, value in headers.items())
    body = json_bytes(payload)
    lengths = struct.pack(">II", len(fields) + len(body) + 16, len(fields))
    told = lengths + struct.pack(">I", zlib.crc32(lengths)) + fields + body
    return told + struct.pack(">I", zlib.crc32(told))


def spread(sizes: Iterable[int], *, first_ms: float, total_ms: float) -> tuple[tuple[float, int], ...]:
    """Chunks of these sizes: the first one when the model began to speak, the others evenly until the end."""
    found = list(sizes)
    between = max(total_ms - first_ms, 0.0) / max(len(found) - 1, 1)
    return tuple((round(first_ms if at == 0 else between, 3), size) for at, size in enumerate(found))


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return struct.pack(">B", len(key)) + key + struct.pack(">BH", _TEXT_HEADER, len(text)) + text
