"""Arguments about monitors."""

from __future__ import annotations

import re
from typing import Annotated, Final, Required

from pydantic import AfterValidator, Field

from pandaprobe_otel.api.arguments.base import Arguments, Paging
from pandaprobe_otel.api.arguments.evaluations import MetricNames, Weights
from pandaprobe_otel.api.fields import AnyMonitorStatus, AnyTargetType, AnyTraceStatus, Moment, Share, Title

_CADENCES: Final = ("every_6h", "daily", "weekly")
_CRON: Final = re.compile(r"cron:\S+(?: +\S+){4}")


def _cadence(text: str) -> str:
    if text not in _CADENCES and not _CRON.fullmatch(text):
        raise ValueError(f"must be one of {', '.join(_CADENCES)}, or cron: with five fields, not {text[:80]!r}")
    return text


Cadence = Annotated[str, AfterValidator(_cadence)]


class MonitorFilters(Arguments, total=False):
    """Filters of a list of monitors."""

    status: AnyMonitorStatus | None


class MonitorListQuery(MonitorFilters, Paging, total=False):
    """Query of GET /evaluations/monitors."""


class MonitorTargets(Arguments, total=False):
    """Filters of the traces or sessions that a monitor evaluates; they depend on its target type, as for runs."""

    date_from: Moment | None
    date_to: Moment | None
    status: AnyTraceStatus | None
    session_id: str | None
    user_id: str | None
    tags: list[str] | None
    name: str | None
    has_error: bool | None
    min_trace_count: Annotated[int, Field(ge=1)] | None


class MonitorArguments(Arguments, total=False):
    """Monitor to create. Weights of signals are for sessions only."""

    name: Required[Title]
    target_type: Required[AnyTargetType]
    metrics: Required[MetricNames]
    filters: MonitorTargets
    sampling_rate: Share
    model: str | None
    cadence: Required[Cadence]
    only_if_changed: bool
    signal_weights: Weights | None


class MonitorChanges(Arguments, total=False):
    """Changes to a monitor; omitted fields stay."""

    name: Title
    metrics: MetricNames
    filters: MonitorTargets
    sampling_rate: Share
    model: str | None
    cadence: Cadence
    only_if_changed: bool
    signal_weights: Weights | None
