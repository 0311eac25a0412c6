"""`GET /local/failures`: failure groups, for programs. Only a local PandaProbe has it."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from pandaprobe_otel.failures.states import OPEN, State
from pandaprobe_otel.local.auth import Scope
from pandaprobe_otel.local.errors import not_found, refused
from pandaprobe_otel.local.routes.parameters import Limit200, Offset
from pandaprobe_otel.local.routing import ApiRoute, answer
from pandaprobe_otel.local.search.language import All, parse
from pandaprobe_otel.local.search.searchable_fields import FIELDS, Comparison, SearchError, read_operand
from pandaprobe_otel.local.store.failure_groups import failure_record
from pandaprobe_otel.local.store.trace_filter import Search, TraceFilter
from pandaprobe_otel.local.times import iso

router = APIRouter(prefix="/local", include_in_schema=False, route_class=ApiRoute)

EXAMPLES: Final = 10
_MOST_AT_ONCE: Final = 200
"""Maximum number of new traces that a program's request reads itself. More are left to the background. A page reads
fewer, since each takes milliseconds, and shows the others once they are read.
"""
Shown = Literal["open", "all", "new", "ongoing", "regressed", "muted", "resolved"]


@router.get("/failures")
def list_failures(
    scope: Scope,
    since: str = "",
    query: str = "",
    state: Shown = "open",
    limit: Limit200 = 50,
    offset: Offset = 0,
) -> Response:
    """List failure groups, those with most traces first. `since` is an age (`7d`) or a moment."""
    services = scope.services
    unread = services.failure_reader.unread(scope.project_id, most=_MOST_AT_ONCE)
    try:
        wanted = failure_filter(query, since, services.now())
    except SearchError as error:
        raise refused(f"{error} (at {error.position})") from None
    groups = services.failure_groups
    found = groups.find(scope.project_id, wanted, states_of(state), now=services.now(), limit=limit, offset=offset)
    trends = groups.trends(scope.project_id, found.groups, found.start, found.end)
    releases = groups.releases(scope.project_id, found.groups)
    items: list[dict[str, Any]] = []
    for one in found.groups:
        record = failure_record(one, trend=trends[one.fingerprint], releases=releases[one.fingerprint])
        example = groups.examples(scope.project_id, one, limit=1)[0]
        items.append({**record, "example": {"trace_id": example["trace_id"], "text": example["text"]}})
    return answer(
        {
            "items": items,
            "total": found.total,
            "limit": limit,
            "offset": offset,
            "other_states": found.hidden,
            "unread_traces": unread,
            "from": iso(found.start),
            "to": iso(found.end),
        }
    )


@router.get("/failures/{fingerprint}")
def get_failure(scope: Scope, fingerprint: str, examples: Annotated[int, Query(ge=0, le=200)] = EXAMPLES) -> Response:
    """Return a group with its newest traces."""
    services = scope.services
    services.failure_reader.unread(scope.project_id, most=_MOST_AT_ONCE)
    groups = services.failure_groups
    group = groups.get(scope.project_id, fingerprint, now=services.now())
    if group is None:
        raise not_found(f"Failure {fingerprint}")
    end = max(services.now(), group.first_at + 1)
    trend = groups.trends(scope.project_id, [group], group.first_at, end)[group.fingerprint]
    releases = groups.releases(scope.project_id, [group])[group.fingerprint]
    rows = groups.examples(scope.project_id, group, limit=examples)
    record = failure_record(group, trend=trend, releases=releases)
    return answer({**record, "examples": [example_record(row) for row in rows]})


def example_record(row: Any) -> dict[str, Any]:
    """Return a trace of a group, with the failure in it."""
    names = ("trace_id", "name", "status", "release", "span_id", "text")
    return {**{name: row[name] for name in names}, "started_at": iso(row["started_at"])}


def states_of(shown: Shown) -> frozenset[State]:
    """Return the requested states."""
    return OPEN if shown == "open" else frozenset(State) if shown == "all" else frozenset({State(shown)})


def failure_filter(query: str, since: str, now: int) -> TraceFilter:
    """Return the filter of traces. Raises SearchError."""
    asked = parse(query).query
    after = None
    if since:
        moment = read_operand(FIELDS["after"], since, 0, Comparison.EQUAL)
        assert isinstance(moment, float)
        after = int(now + moment if moment <= 0 else moment)
    return TraceFilter(search=None if asked == All(()) else Search(query=asked, now=now), after=after)
