"""A span while it is mapped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pandaprobe_otel.mapping.shape import Shape
from pandaprobe_otel.mapping.steady import Steady
from pandaprobe_otel.mapping.view import SpanView


class MappedSpan:
    """A view, what the tables say about its shape, the fields found in it, and the body that is sent."""

    __slots__ = ("aggregated", "body", "cost", "found", "kind", "metadata", "shape", "steady", "usage", "view")

    def __init__(self, view: SpanView, shape: Shape, kind: str, steady: Steady) -> None:
        self.view = view
        self.shape = shape
        self.kind = kind
        self.steady = steady
        self.found: Mapping[str, Any] = shape.read(view, steady.found)
        self.metadata: dict[str, Any] = {**steady.metadata}
        self.body: dict[str, Any] = {}
        self.usage: dict[str, int] | None = None
        """The span's own token counts, until the tree decides where they stand."""
        self.aggregated: dict[str, int] | None = None
        """Counts that the emitter itself calls a sum."""
        self.cost: dict[str, float] | None = None
