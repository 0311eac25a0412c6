"""Rows of the journal of open traces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRow:
    """Span of an incomplete trace: ended, or a root that was still open (`is_open`)."""

    trace_id: str
    span_id: str
    is_open: bool
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceState:
    """The part of an incomplete trace that has been sent."""

    trace_id: str
    posted: bool = False
    running: bool = False
    is_remote: bool = False
    had_input: bool = False
    tags: tuple[str, ...] = ()
    open_spans: int = 0
    resource: str = "{}"
    """JSON text of the resource's attributes."""

    def encoded(self) -> str:
        """Return the state as JSON text, without the id."""
        return json.dumps({each.name: getattr(self, each.name) for each in fields(self) if each.name != "trace_id"})

    @classmethod
    def decoded(cls, trace_id: str, text: str) -> TraceState:
        """Return the state from JSON text. Raises ValueError."""
        try:
            state: dict[str, Any] = json.loads(text)
            state["tags"] = tuple(state["tags"])
            return cls(trace_id=trace_id, **state)
        except (TypeError, KeyError) as error:
            raise ValueError(str(error)) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalChange:
    """Change to the state of incomplete traces: new spans, or (`cleared`) a trace whose spans have become requests."""

    rows: Sequence[JournalRow] = ()
    states: Sequence[TraceState] = ()
    cleared: str | None = None
    """Id of the trace to clear. If `states` has its state, the trace goes on."""
    open_roots: Sequence[str] = ()
    """Ids of the open roots that stay when their trace is cleared."""
