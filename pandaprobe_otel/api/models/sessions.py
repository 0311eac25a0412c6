"""Sessions: the traces that share a session id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from pandaprobe_otel.api.models.base import Model, Utc
from pandaprobe_otel.api.models.traces import Trace

if TYPE_CHECKING:
    import pandas


class SessionSummary(Model):
    """A session in a list. `has_error` depends on the statuses of traces, not of spans (measured on server 0.5.0).

    `total_latency_ms` is the sum of the latencies of its traces; costs are in US dollars.
    """

    session_id: str
    trace_count: int
    first_trace_at: Utc
    last_trace_at: Utc | None = None
    total_latency_ms: float | None = None
    has_error: bool
    user_id: str | None = None
    tags: list[str] = Field(default_factory=list)
    total_span_count: int = 0
    total_tokens: int = 0
    total_cost: float = 0.0


class Session(SessionSummary):
    """A session with its traces, oldest first. The totals count all traces, even if `traces` is one page of them."""

    traces: list[Trace] = Field(default_factory=list[Trace])

    def __str__(self) -> str:
        from pandaprobe_otel.reporting.trace_display import session_text

        return session_text(self.model_dump())

    def __repr__(self) -> str:
        return f"<Session {self.session_id!r}: {self.trace_count} traces>"

    def _repr_html_(self) -> str:
        from pandaprobe_otel.reporting.trace_display import session_html

        return session_html(self.model_dump())

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat row for each trace: its fields, and the number of its spans instead of the spans."""
        return [
            {
                **trace.model_dump(exclude={"spans"}),
                "span_count": len(trace.spans),
                "latency_ms": (trace.ended_at - trace.started_at).total_seconds() * 1000 if trace.ended_at else None,
            }
            for trace in self.traces
        ]

    def to_pandas(self) -> pandas.DataFrame:
        """Return the traces as a table, indexed by trace id. Needs pandas, which is not a dependency of this library.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        from pandaprobe_otel.api.data_frames import frame

        return frame(self.rows(), index="trace_id")


class SessionDeleted(Model):
    """The number of deleted traces of a session."""

    deleted: int
