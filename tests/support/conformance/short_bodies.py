"""Bodies short enough to be cut at every byte: the first two events of each kind, with characters of several bytes.

Only parts of an event that no client reads are left out, so each kind of event, and each place within it, remains.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from .adapter import Adapter, Wire
from .wire_events import event_in

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
