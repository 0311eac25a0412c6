"""`GET /local/failures`: failure groups, for programs. Only a local PandaProbe has it."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from pandaprobe_otel.local.auth import Scope
from pandaprobe_otel.local.errors import not_found, refused
from pandaprobe_otel.local.routes.parameters import Limit200, Offset
from pandaprobe_otel.local.routing import ApiRoute, answer
from pandaprobe_otel.local.search.language import narrowed, parse
from pandaprobe_otel.local.search.searchable_fields import SearchError
from pandaprobe_otel.local.store.trace_filter import Search
from pandaprobe_otel.local.times import iso

router = APIRouter(prefix="/local", include_in_schema=False, route_class=ApiRoute)

EXAMPLES: Final = 10


@router.get("/failures")
def list_failures(scope: Scope, since: str = "", query: str = "", limit: Limit200 = 50, offset: Offset = 0) -> Response:
    """List failure groups, those with most traces first. `since` is an age (`7d`) or a moment."""
    try:
        wanted = parse(narrowed(query, f"after:{since}" if since else "")).query
    except SearchError as error:
        raise refused(f"{error} (at {error.position})") from None
    search = Search(query=wanted, now=scope.services.now())
    found = scope.services.failures.find(scope.project_id, search, limit=limit, offset=offset)
    period = {"from": iso(found.start), "to": iso(found.end)}
    return answer({"items": found.items, "total": found.total, "limit": limit, "offset": offset, **period})


@router.get("/failures/{fingerprint}")
def get_failure(scope: Scope, fingerprint: str, examples: Annotated[int, Query(ge=0, le=200)] = EXAMPLES) -> Response:
    """Return a group with its newest traces."""
    failures = scope.services.failures
    group = failures.get(scope.project_id, fingerprint, now=scope.services.now())
    if group is None:
        raise not_found(f"Failure {fingerprint}")
    return answer({**group, "examples": failures.examples(scope.project_id, fingerprint, limit=examples)})
