"""Arguments about sessions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pandaprobe_otel.api.arguments.base import Arguments, Paging
from pandaprobe_otel.api.fields import AnySessionSortBy, AnySortOrder, Moment, Offset


class SessionFilters(Arguments, total=False):
    """Filters and order of a list of sessions. `query` is a part of the session id.

    The filters by user, time and tags also apply to the totals: only matching traces count (measured on server 0.5.0).
    """

    user_id: str | None
    has_error: bool | None
    started_after: Moment | None
    started_before: Moment | None
    tags: list[str] | None
    query: str | None
    sort_by: AnySessionSortBy
    sort_order: AnySortOrder


class SessionListQuery(SessionFilters, Paging, total=False):
    """Query of GET /sessions."""


class SessionTracesQuery(Arguments, total=False):
    """Query of GET /sessions/{session_id}: a page of its traces."""

    limit: Annotated[int, Field(ge=1, le=1000)]
    offset: Offset
