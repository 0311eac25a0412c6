"""Scores of traces and of sessions."""

from __future__ import annotations

import math
from typing import Any
from uuid import UUID

from pydantic import Field

from pandaprobe_otel.api.models.base import Model, OpenScoreDataType, OpenScoreSource, OpenScoreStatus, Utc
from pandaprobe_otel.enums import ScoreDataType


class Score(Model):
    """Common parts of trace and session scores. `value` is the server's string; see `parsed`."""

    id: UUID
    name: str
    value: str | None = None
    status: OpenScoreStatus
    source: OpenScoreSource
    data_type: OpenScoreDataType
    reason: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    eval_run_id: UUID | None = None
    author_user_id: str | None = None
    project_id: UUID
    created_at: Utc
    updated_at: Utc

    @property
    def parsed(self) -> float | bool | str | None:
        """The value by its type: a number, True or False, or a label; None if there is none (a failed score)."""
        if self.value is None:
            return None
        if self.data_type == ScoreDataType.BOOLEAN:
            return self.value.strip().lower() == "true"
        if self.data_type != ScoreDataType.NUMERIC:
            return self.value
        try:
            number = float(self.value)
        except ValueError:
            return None
        return number if math.isfinite(number) else None

    @property
    def target(self) -> str:
        """The id of the scored trace or session."""
        raise NotImplementedError


class TraceScore(Score):
    """A score of a trace."""

    trace_id: UUID
    environment: str | None = None
    config_id: str | None = None

    @property
    def target(self) -> str:
        """Id of the trace."""
        return str(self.trace_id)


class SessionScore(Score):
    """A score of a session."""

    session_id: str

    @property
    def target(self) -> str:
        """Id of the session."""
        return self.session_id
