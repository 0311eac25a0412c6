"""Bodies short enough to be cut at every byte: the first two events of each kind, with characters of several bytes.

Only parts of an event that no client reads are left out, so each kind of event, and each place within it, remains.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from botocore.eventstream import EventStreamBuffer

import aws_events

from .adapter import Adapter, Wire

_EACH: Final = 2
_ALL: Final = frozenset({"google-genai", "Bedrock InvokeModel"})
"""Adapters whose streams keep all events: the events are of one kind, or the last event has words too."""
_UNREAD: Final = frozenset(
    {
        "annotations",
        "created",
        "created_at",
        "created_timestamp",
        "error",
        "incomplete_details",
        "instructions",
        "logprobs",
        "metadata",
        "object",
        "parallel_tool_calls",
        "refusal",
        "sequence_number",
        "service_tier",
        "system_fingerprint",
        "temperature",
        "tool_choice",
        "tools",
        "top_p",
    }
)
SUNNY: Final = "Sü☀😀"
"""Replaces the first word of the answers."""
_SHORTER: Final = (("Sunny", SUNNY), ("gpt-5-mini-2026-08-07", "gpt"), ("claude-sonnet-5-20260801", "claude"))


def shortened(adapter: Adapter) -> Adapter:
    """Return the adapter with short bodies, and with the expected span for them."""
    expected = adapter.expected

    def short(wire: Wire) -> Wire:
        return replace(wire, chunks=tuple(_short(wire, expected.text, complete=adapter.title in _ALL)))

    words = [_plain(word) for word in expected.words]
    return replace(
        adapter,
        answer=short(adapter.answer),
        tools=short(adapter.tools),
        expected=replace(expected, text=_plain(expected.text), words=words),
    )


def wires(adapter: Adapter, form: str) -> Iterator[tuple[str, Wire]]:
    """Yield the answers that this form streams, with their names."""
    yield "answer", adapter.answer
    if f"{form}/tool calls" not in adapter.without:
        yield "tools", adapter.tools


def _short(wire: Wire, text: str, *, complete: bool) -> Iterator[bytes]:
    """Yield the first chunks of each kind. An event that repeats all of `text` gets the shortened text."""
    seen: Counter[str] = Counter()
    left = text if complete else " ".join(text.split(" ")[:_EACH])
    for chunk in wire.chunks:
        event = event_in(chunk, wire.stream_type)
        if event is None:
            yield chunk
            continue
        kind = repr(_shape(event.document))
        seen[kind] += 1
        if complete or seen[kind] <= _EACH:
            written = json.dumps(_read(event.document), ensure_ascii=False, separators=(",", ":"))
            yield event.written(_plain(written.replace(text, left)))


def _plain(text: str) -> str:
    for long, short in _SHORTER:
        text = text.replace(long, short)
    return text


def _shape(value: Any) -> Any:
    """Return a value's structure without its contents, but with the types of events."""
    if isinstance(value, dict):
        kind = value.get("type"), value.get("event_type")
        return kind, sorted((key, _shape(member)) for key, member in value.items())
    return [_shape(member) for member in value] if isinstance(value, list) else value is None


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        read = {
            key: member for key, member in value.items() if key not in _UNREAD and not key.lower().endswith("details")
        }
        return {key: _read(member) for key, member in read.items()}
    return [_read(member) for member in value] if isinstance(value, list) else value


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
