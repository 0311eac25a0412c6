"""Body of `POST /local/live`: drafts of traces that have not ended."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field, RootModel

from pandaprobe_otel.local.models.fields import RequestBody
from pandaprobe_otel.local.models.traces import SpanCreate

MOST_DRAFTS = 500


class LiveDraft(RequestBody):
    """Spans of a trace that are new or have changed. One without an end is running."""

    trace_id: UUID
    spans: list[SpanCreate]
    is_incomplete: bool = False
    """True if some drafts of this trace were never sent."""


class LiveDrafts(RootModel[list[LiveDraft]]):
    """Drafts in order."""

    root: list[LiveDraft] = Field(max_length=MOST_DRAFTS)
