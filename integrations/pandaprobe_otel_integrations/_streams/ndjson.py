"""Newline-delimited JSON, which some services stream in place of server-sent events."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from pandaprobe_otel_integrations._json import from_json

from .sse import Event, Events

_TYPES: Final = ("ndjson", "stream+json", "jsonl", "json-seq")


def is_lines(content_type: str) -> bool:
    """Whether a body of this type is one JSON document per line."""
    return any(name in content_type for name in _TYPES)


def parse(body: bytes) -> Events:
    """Every line that is JSON, as an event without a name. What broke off is left out, nothing is raised."""
    events: list[Event] = []
    start = 0
    while start < len(body):
        found = body.find(b"\n", start)
        stop = found if found >= 0 else len(body)
        line, after = body[start:stop].strip(), min(stop + 1, len(body))
        if line:
            with suppress(ValueError):
                events.append(Event(None, from_json(line), after))
        start = after
    return Events(events, done=False)
