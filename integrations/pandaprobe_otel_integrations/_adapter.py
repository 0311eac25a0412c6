"""The official SDK's way to turn an integration on: an object with values for the traces, and `instrument()`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pandaprobe_otel.trace_context import trace_values


class Adapter:
    """Base of the adapters of the official SDK's names.

    Not needed where `init()` or `instrument(...)` records every run. `session_id`, `user_id`, `tags` and `metadata`
    are those of the traces that the framework begins from `instrument()` on, unless a run says its own.
    """

    instrumentor: ClassVar[type[Any]]
    """The `Integration`, which reads `values` (TraceValues or None) when a trace begins."""

    def __init__(
        self,
        *,
        session_id: str | None = None,
        user_id: str | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        self._values = trace_values(session=session_id, user=user_id, tags=tags, metadata=metadata)

    def instrument(self) -> None:
        """Record every run from now on. Raises DependencyConflictError without the framework."""
        instrumentor = self.instrumentor()
        instrumentor.instrument()
        instrumentor.values = self._values
