"""Evaluation runs, their metrics and their judges."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import AliasChoices, Field

from pandaprobe_otel.api.enums import EvaluationStatus
from pandaprobe_otel.api.models.base import Model, OpenRunStatus, OpenTargetType, OpenTraceStatus, Utc


class EvalRun(Model):
    """State of an evaluation run.

    `evaluated_count` counts targets, but `failed_count` counts pairs of target and metric (measured on server 0.5.0). A
    run is COMPLETED even if every metric failed, and targets that do not exist count as evaluated.
    """

    id: UUID
    name: str | None = None
    status: OpenRunStatus
    metric_names: list[str]
    # The published description says `total_traces`; the server sends `total_targets`.
    total_targets: int = Field(validation_alias=AliasChoices("total_targets", "total_traces"))
    evaluated_count: int
    failed_count: int
    created_at: Utc
    completed_at: Utc | None = None
    project_id: UUID
    target_type: OpenTargetType
    filters: dict[str, Any] = Field(default_factory=dict)
    sampling_rate: float = 1.0
    model: str | None = None
    monitor_id: UUID | None = None
    error_message: str | None = None

    @property
    def finished(self) -> bool:
        """True if the run is COMPLETED, or FAILED (which the server may still change for a while)."""
        return self.status in (EvaluationStatus.COMPLETED, EvaluationStatus.FAILED)


class Provider(Model):
    """Provider of judge models. If it is not available, `message` gives the reason."""

    key: str
    name: str
    description: str
    available: bool
    message: str


class Metric(Model):
    """A metric that can be evaluated."""

    name: str
    description: str
    category: str


class PromptPreview(Model):
    """A prompt that a metric gives to the judge."""

    stage: str
    prompt: str


class MetricInfo(Metric):
    """A metric with its default threshold and prompts."""

    default_threshold: float
    prompt_preview: list[PromptPreview] = Field(default_factory=list[PromptPreview])


class RunFilters(Model):
    """Filters of the traces to evaluate. Dates are unchanged from the caller."""

    date_from: str | None = None
    date_to: str | None = None
    status: OpenTraceStatus | None = None
    session_id: str | None = None
    user_id: str | None = None
    tags: list[str] | None = None
    name: str | None = None


class RunTemplate(Model):
    """Arguments of a run of one metric, with their defaults."""

    metric: MetricInfo
    filters: RunFilters
    sampling_rate: float
    model: str | None = None
