"""Routes that only a local PandaProbe has, for programs: search, failure groups, drafts of running traces, and OTLP."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette import types
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pandaprobe_otel.api.fields import SortOrder, TraceSortBy
from pandaprobe_otel.local.auth import LOCAL_API_KEY, Scope, check_sender, valid_name
from pandaprobe_otel.local.errors import InvalidFieldError, not_found, refused
from pandaprobe_otel.local.models.traces import LiveDrafts
from pandaprobe_otel.local.routing import ApiRoute, Page, answer, listed
from pandaprobe_otel.local.search.language import All, narrowed, parse
from pandaprobe_otel.local.search.searchable_fields import SearchError
from pandaprobe_otel.local.services import services_of
from pandaprobe_otel.local.store.records import Slice, trace_list_record
from pandaprobe_otel.local.store.trace_filter import Search, TraceFilter
from pandaprobe_otel.local.times import iso

limited = APIRouter(prefix="/local", include_in_schema=False, route_class=ApiRoute)
router = APIRouter(include_in_schema=False)
"""Routes without a limit, since programs send drafts and spans more often than the default limit allows."""


@limited.get("/traces")
def search_traces(
    scope: Scope,
    page: Page,
    query: str = "",
    sort_by: TraceSortBy = "started_at",
    sort_order: SortOrder = "desc",
) -> Response:
    """List the traces that a query of the search language finds."""
    try:
        parsed = parse(query)
    except SearchError as error:
        raise InvalidFieldError("query", f"{error} (at character {error.position + 1})") from None
    search = None if parsed.query == All(()) else Search(query=parsed.query, now=scope.services.now())
    wanted = TraceFilter(search=search)
    found = scope.services.queries.traces(scope.project_id, wanted, page, sort_by, sort_order)
    return listed(([*map(trace_list_record, found.rows)], found.total), page, notes=list(parsed.notes))


EXAMPLES: Final = 10


@limited.get("/failures")
def list_failures(scope: Scope, page: Page, since: str = "", query: str = "") -> Response:
    """List failure groups, those with most traces first. `since` is an age (`7d`) or a moment."""
    try:
        wanted = parse(narrowed(query, f"after:{since}" if since else "")).query
    except SearchError as error:
        raise refused(f"{error} (at {error.position})") from None
    search = Search(query=wanted, now=scope.services.now())
    found = scope.services.failures.find(scope.project_id, search, page)
    return listed((found.items, found.total), page, **{"from": iso(found.start), "to": iso(found.end)})


@limited.get("/failures/{fingerprint}")
def get_failure(scope: Scope, fingerprint: str, examples: Annotated[int, Query(ge=0, le=200)] = EXAMPLES) -> Response:
    """Return a group with its newest traces."""
    failures = scope.services.failures
    group = failures.get(scope.project_id, fingerprint, now=scope.services.now())
    if group is None:
        raise not_found(f"Failure {fingerprint}")
    return answer({**group, "examples": failures.examples(scope.project_id, fingerprint, Slice(limit=examples))})


@router.post("/local/live", status_code=204)
async def take_drafts(scope: Scope, drafts: LiveDrafts) -> Response:
    """Receive drafts of running traces."""
    if not scope.project.stored:  # The pages show only stored projects.
        await run_in_threadpool(scope.services.accounts.keep, scope.project)
    scope.services.live.take(scope.project_id, drafts.root)
    return Response(status_code=204)


_DEFAULT_PROJECT: Final = "default"


class _Passed(Response):
    """An answer produced by another application."""

    def __init__(self, app: types.ASGIApp) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        """Pass the request to the application."""
        await self._app(scope, receive, send)


@router.post("/v1/traces")
@router.post("/v1/metrics")
@router.post("/v1/logs")
def receive(request: Request) -> Response:
    """Receive OTLP. The headers `x-api-key` and `x-project-name` are the same as for `POST /traces`."""
    services = services_of(request)
    key = request.headers.get("x-api-key") or LOCAL_API_KEY
    check_sender(services, key)
    project = request.headers.get("x-project-name", "").strip() or _DEFAULT_PROJECT
    if len(project) > 255 or not valid_name(project):
        raise HTTPException(400, "x-project-name is not the name of a project")
    host, port = request.scope["server"]
    return _Passed(services.otlp.app(f"http://{_reachable(host)}:{port}", key, project))


def _reachable(host: str) -> str:
    """Return an address to connect to. For a server on all addresses, it is a loopback address."""
    if host in ("0.0.0.0", "::", ""):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


router.include_router(limited)
