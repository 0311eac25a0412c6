"""Trace after the mapping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pandaprobe_otel.mapping.encoded_spans import EncodedSpans


@dataclass(frozen=True, slots=True)
class MappedTrace:
    """Trace in PandaProbe's form: its own fields, and its spans sorted by start."""

    trace: dict[str, Any]
    spans: list[dict[str, Any]]
    encoded_trace: bytes
    """The trace's own fields as JSON text."""
    encoded_spans: EncodedSpans
    """The same spans as JSON text, for sending them in batches."""

    def body(self) -> dict[str, Any]:
        """Return the body of POST /traces with all spans. 1e999 is infinite here, but null when encoded."""
        return {**self.trace, "spans": self.spans}

    def encoded(self) -> bytes:
        """Return the body of POST /traces as JSON."""
        return b"".join((self.encoded_trace[:-1], b',"spans":[', self.encoded_spans.joined, b"]}"))
