"""Monitors: evaluation runs on a schedule."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import Field

from pandaprobe_otel.api.models.base import Model, OpenMonitorStatus, OpenTargetType, Utc


class Monitor(Model):
    """A monitor. The weights of a session monitor's signals are in its `filters` (measured on server 0.5.0)."""

    id: UUID
    project_id: UUID
    name: str
    target_type: OpenTargetType
    metric_names: list[str]
    filters: dict[str, Any] = Field(default_factory=dict)
    sampling_rate: float
    model: str | None = None
    cadence: str
    only_if_changed: bool
    status: OpenMonitorStatus
    last_run_at: Utc | None = None
    last_run_id: UUID | None = None
    next_run_at: Utc | None = None
    created_at: Utc
    updated_at: Utc
