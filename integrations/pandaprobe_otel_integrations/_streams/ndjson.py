"""Newline-delimited JSON, which some services stream instead of server-sent events."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from pandaprobe_otel_integrations._json import from_json

from .sse import Blocks, Event, Events

_TYPES: Final = ("ndjson", "stream+json", "jsonl", "json-seq")


def is_lines(content_type: str) -> bool:
    """Return whether a body of this type is one JSON document per line."""
    return any(name in content_type for name in _TYPES)


def parse(body: bytes) -> Events:
    """Return every line that is JSON, as an event without a name.

    An incomplete line is left out, and nothing is raised.
    """
    return Events(_Lines(body), Blocks(partial(body.split, b"\n"), _event))


def _event(line: bytes) -> Event | None:
    """Return the event of one line; None if the line is not JSON."""
    try:
        return Event(None, from_json(line), 0) if line and not line.isspace() else None
    except ValueError:
        return None


class _Lines:
    """The documents of a body, each parsed on request."""

    __slots__ = ("_body",)

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[Event]:
        size, after = len(self._body), 0
        for line in self._body.split(b"\n"):
            after += len(line) + 1
            found = _event(line)
            if found is not None:
                yield Event(None, found.data, after if after < size else size)
