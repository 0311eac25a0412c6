"""Arguments about evaluation runs."""

from __future__ import annotations

from typing import Annotated, Required

from pydantic import Field

from pandaprobe_otel.api.arguments.base import Arguments, Paging
from pandaprobe_otel.api.fields import AnyRunStatus, AnyTraceStatus, Id, Moment, Share

MetricNames = Annotated[list[str], Field(min_length=1)]
Weights = dict[str, float]


class TraceRunFilters(Arguments, total=False):
    """Filters of the traces to evaluate. The server would ignore an unknown filter and evaluate everything."""

    date_from: Moment | None
    date_to: Moment | None
    status: AnyTraceStatus | None
    session_id: str | None
    user_id: str | None
    tags: list[str] | None
    name: str | None


class SessionRunFilters(Arguments, total=False):
    """Filters of the sessions to evaluate."""

    date_from: Moment | None
    date_to: Moment | None
    user_id: str | None
    has_error: bool | None
    tags: list[str] | None
    min_trace_count: Annotated[int, Field(ge=1)] | None


class TraceRunArguments(Arguments, total=False):
    """Run over the traces that match `filters`, or over a share of them."""

    name: str | None
    metrics: Required[MetricNames]
    filters: TraceRunFilters
    sampling_rate: Share
    model: str | None


class TraceBatchArguments(Arguments, total=False):
    """Run over given traces."""

    trace_ids: Required[Annotated[list[Id], Field(min_length=1)]]
    metrics: Required[MetricNames]
    name: str | None
    model: str | None


class SessionRunArguments(Arguments, total=False):
    """Run over the sessions that match `filters`, or over a share of them."""

    name: str | None
    metrics: Required[MetricNames]
    filters: SessionRunFilters
    sampling_rate: Share
    model: str | None
    signal_weights: Weights | None


class SessionBatchArguments(Arguments, total=False):
    """Run over given sessions."""

    session_ids: Required[Annotated[list[str], Field(min_length=1)]]
    metrics: Required[MetricNames]
    name: str | None
    model: str | None
    signal_weights: Weights | None


class RunFilters(Arguments, total=False):
    """Filters of `evaluations.run`.

    `status` and `trace_name` are for traces, `has_error` and `min_trace_count` for sessions, the others for both.
    """

    date_from: Moment | None
    date_to: Moment | None
    user_id: str | None
    tags: list[str] | None
    status: AnyTraceStatus | None
    trace_name: str | None
    has_error: bool | None
    min_trace_count: Annotated[int, Field(ge=1)] | None


class RunListFilters(Arguments, total=False):
    """Filters of a list of runs."""

    status: AnyRunStatus | None


class RunListQuery(RunListFilters, Paging, total=False):
    """Query of GET /evaluations/trace-runs and session-runs."""


class RunDeletion(Arguments, total=False):
    """Query of DELETE /evaluations/trace-runs/{run_id} and session-runs."""

    delete_scores: bool


class TemplateQuery(Arguments):
    """Query of GET /evaluations/trace-runs/template."""

    metric: str
