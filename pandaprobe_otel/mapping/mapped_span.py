"""A span while it is mapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pandaprobe_otel.mapping.view import SpanView


@dataclass(slots=True)
class MappedSpan:
    """A view, the fields found in its attributes, and the body that is sent."""

    view: SpanView
    kind: str
    found: dict[str, Any]
    has_context: bool
    """Whether fields of the trace may be found in it."""
    body: dict[str, Any]
    usage: dict[str, int] | None = None
    """The span's own token counts, until the tree decides where they stand."""
    aggregated: dict[str, int] | None = None
    """Counts that the emitter itself calls a sum."""
    cost: dict[str, float] | None = None
