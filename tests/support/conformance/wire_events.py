"""JSON documents in the chunks of a stream, and chunks made from other documents."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.eventstream import EventStreamBuffer

import aws_events


@dataclass(frozen=True, slots=True)
class WireEvent:
    """A chunk's document, and a function that writes the chunk with other JSON text."""

    document: Any
    written: Callable[[str], bytes]


def event_in(chunk: bytes, stream_type: str) -> WireEvent | None:
    """Return the event of a chunk; None if the chunk has no document, such as the end marker."""
    if stream_type == aws_events.CONTENT_TYPE:
        return _frame(chunk)
    before, brace, rest = chunk.decode().partition("{")
    if not brace:
        return None
    document, end = json.JSONDecoder().raw_decode(brace + rest)
    after = (brace + rest)[end:]
    return WireEvent(document, lambda text: f"{before}{text}{after}".encode())


def _frame(chunk: bytes) -> WireEvent:
    buffer = EventStreamBuffer()
    buffer.add_data(chunk)
    message = next(iter(buffer))
    name, data = message.headers[":event-type"], json.loads(message.payload)
    headers = dict(message.headers.items())

    def carried(text: str) -> bytes:
        payload = text if name != "chunk" else json.dumps({"bytes": base64.b64encode(text.encode()).decode()})
        return aws_events.message(headers, payload.encode())

    return WireEvent(data if name != "chunk" else json.loads(base64.b64decode(data["bytes"])), carried)
