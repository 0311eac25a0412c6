"""`GET /local/traces`: results of a search, for programs. Only a local PandaProbe has it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from pandaprobe_otel.api.fields import SortOrder, TraceSortBy
from pandaprobe_otel.local.auth import Scope
from pandaprobe_otel.local.errors import InvalidFieldError
from pandaprobe_otel.local.routes.parameters import Limit200, Offset
from pandaprobe_otel.local.routing import ApiRoute, answer
from pandaprobe_otel.local.search.language import All, parse
from pandaprobe_otel.local.search.searchable_fields import SearchError
from pandaprobe_otel.local.store.queries import Slice
from pandaprobe_otel.local.store.records import trace_list_record
from pandaprobe_otel.local.store.trace_filter import Search, TraceFilter

router = APIRouter(prefix="/local", include_in_schema=False, route_class=ApiRoute)


@router.get("/traces")
def search_traces(
    scope: Scope,
    query: str = "",
    limit: Limit200 = 50,
    offset: Offset = 0,
    sort_by: TraceSortBy = "started_at",
    sort_order: SortOrder = "desc",
) -> Response:
    """List the traces that a query of the search language finds."""
    try:
        parsed = parse(query)
    except SearchError as error:
        raise InvalidFieldError("query", f"{error} (at character {error.position + 1})") from None
    search = None if parsed.query == All(()) else Search(query=parsed.query, now=scope.services.now())
    found = scope.services.queries.traces(
        scope.project_id, TraceFilter(search=search), Slice(limit=limit, offset=offset), sort_by, sort_order
    )
    listed: dict[str, Any] = {"items": [trace_list_record(row) for row in found.rows], "total": found.total}
    return answer({**listed, "limit": limit, "offset": offset, "notes": list(parsed.notes)})
