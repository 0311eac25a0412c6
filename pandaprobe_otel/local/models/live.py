"""Body of `POST /local/live`: events of running spans."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field, RootModel

from pandaprobe_otel.local.models.fields import RequestBody
from pandaprobe_otel.local.models.traces import SpanCreate

MOST_EVENTS = 500


class LiveEvent(RequestBody):
    """An event. `b`: a span began. `e`: it ended. `i`: some events of the sender are missing."""

    k: Literal["b", "e", "i"]
    trace_id: UUID
    span: SpanCreate | None = None
    """For `b` and `e`: the span as far as it is known."""


class LiveEvents(RootModel[list[LiveEvent]]):
    """Events in order."""

    root: list[LiveEvent] = Field(max_length=MOST_EVENTS)
