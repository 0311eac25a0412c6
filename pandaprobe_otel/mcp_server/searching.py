"""Searches for traces and failures: by a local PandaProbe, or with the filters that any PandaProbe's API has."""

# pyright: reportReturnType=false
# The signature of a method that is one request is the whole method.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Unpack, cast

from pandaprobe_otel.api import Client
from pandaprobe_otel.api.fields import Paging
from pandaprobe_otel.api.models import Page, TraceListItem
from pandaprobe_otel.api.operation import endpoint
from pandaprobe_otel.api.traces import TraceFilters
from pandaprobe_otel.enums import TraceStatus
from pandaprobe_otel.errors import NotFound
from pandaprobe_otel.failures.find import Group, group_failures
from pandaprobe_otel.local.search.language import All, Field, Flag, Query, narrowed, parse

Sort = Literal["started_at", "latency"]
MOST_FAILED: Final = 200
"""Maximum number of failed traces that are read for their groups, if the server keeps no groups."""
_COLUMNS: Final = 24
_FILTERS: Final = {"session": "session_id", "user": "user_id", "tag": "tags", "name": "name"}
_NOTE: Final = "found with the filters of the API; `error` finds traces that ended with status ERROR"


class NotFiltered(ValueError):
    """A search that the API cannot express."""

    def __init__(self) -> None:
        super().__init__(
            "this PandaProbe's API accepts each of error, status:, session:, user:, tag:, name:, after: and before: "
            "once; other searches need a local PandaProbe"
        )


class SearchQuery(Paging, total=False):
    """Query of GET /local/traces."""

    query: str
    sort_by: str


class FoundPage(Page[TraceListItem]):
    """A page of search results, with notes on the query."""

    notes: list[str]


class FailureQuery(Paging, total=False):
    """Query of GET /local/failures."""

    query: str
    since: str


class SearchingClient(Client):
    """A client that lets a local PandaProbe search. The first search finds out whether the server is one."""

    _is_local = True

    @endpoint("GET", "/local/traces")
    def search(self, **query: Unpack[SearchQuery]) -> FoundPage:
        """Return a page of the traces that match a query. Raises NotFound on other servers."""

    @endpoint("GET", "/local/failures")
    def kept_failures(self, **query: Unpack[FailureQuery]) -> dict[str, Any]:
        """Return a page of stored failure groups. Raises NotFound on other servers."""

    def find(self, query: str, *, sort: Sort = "started_at", limit: int = 10, offset: int = 0) -> FoundPage:
        """Return traces, the latest first, or by `sort`. Raises SearchError and NotFiltered."""
        parsed = parse(query)
        if self._is_local:
            try:
                return self.search(query=query, sort_by=sort, limit=limit, offset=offset)
            except NotFound:
                self._is_local = False
        filters = filters_of(parsed.query, datetime.now(UTC))
        notes = [*parsed.notes, *([_NOTE] if filters else [])]
        filters["sort_by"] = sort
        page = self.traces.list(**filters, limit=limit, offset=offset)
        return FoundPage(items=page.items, total=page.total, limit=limit, offset=offset, notes=notes)

    def failures(
        self,
        query: str = "",
        *,
        since: str = "",
        limit: int = 50,
        offset: int = 0,
        most: int = MOST_FAILED,
    ) -> dict[str, Any]:
        """Return groups of failures in the form of `GET /local/failures`, those with most traces first.

        A local PandaProbe keeps them. From any other server, failed traces are read and grouped: the `most` newest,
        after `offset` others. Each takes one request.

        Raises SearchError and NotFiltered.
        """
        parsed = parse(narrowed(query, f"after:{since}" if since else ""))
        if self._is_local:
            try:
                return self.kept_failures(query=query, since=since, limit=limit, offset=offset)
            except NotFound:
                self._is_local = False
        now = datetime.now(UTC)
        filters = filters_of(parsed.query, now)
        if filters.setdefault("status", TraceStatus.ERROR) != TraceStatus.ERROR:
            raise NotFiltered
        page = self.traces.list(**filters, limit=most, offset=offset)
        traces = [*self._read(page.items)]
        groups = group_failures(traces)
        start = filters.get("started_after") or min((_started(trace) for trace in traces), default=now)
        return {
            "items": [_record(group, start, now) for group in groups[:limit]],
            "total": len(groups),
            "limit": limit,
            "offset": offset,
            "traces_read": len(page.items),
            "traces_failed": page.total,
            "from": start.isoformat(),
            "to": now.isoformat(),
        }

    def _read(self, rows: Sequence[TraceListItem]) -> Iterator[dict[str, Any]]:
        for row in rows:
            with suppress(NotFound):  # The trace was deleted after the list was read.
                yield self.traces.get(row.trace_id).model_dump(mode="json")


def filters_of(query: Query, now: datetime) -> TraceFilters:
    """Return a search as filters of the API. Raises NotFiltered if the API has no such filter."""
    filters: dict[str, Any] = {}
    for term in query.parts if isinstance(query, All) else (query,):
        name, value = _filter_of(term, now)
        if filters.setdefault(name, value) != value:
            raise NotFiltered
    return cast("TraceFilters", filters)


def _filter_of(term: Query, now: datetime) -> tuple[str, Any]:
    match term:
        case Flag("error"):
            return "status", TraceStatus.ERROR
        case Flag("running"):
            return "status", TraceStatus.RUNNING
        case Field(key="after" | "before" as key, operands=(float(value),)):
            moment = now + timedelta(microseconds=value) if value <= 0 else datetime.fromtimestamp(value / 1e6, UTC)
            return f"started_{key}", moment
        case Field(key="status", operands=(str(value),)) if value.upper() in TraceStatus.__members__:
            return "status", TraceStatus(value.upper())
        case Field(key=key, operands=(str(value),)) if key in _FILTERS and "*" not in value:
            return _FILTERS[key], [value] if key == "tag" else value
        case _:
            raise NotFiltered


def _record(group: Group, start: datetime, end: datetime) -> dict[str, Any]:
    moments = sorted(_started(trace) for trace, _ in group)
    newest, found = max(group, key=lambda member: _started(member[0]))
    first = group[0][1]
    width = max((end - start) / _COLUMNS, timedelta(microseconds=1))
    trend = [0] * _COLUMNS
    for moment in moments:
        trend[min(max(int((moment - start) / width), 0), _COLUMNS - 1)] += 1
    return {
        "fingerprint": first.fingerprint,
        "name": first.title,
        "kind": first.kind.value,
        "count": len(group),
        "trend": trend,
        "first_seen": moments[0].isoformat(),
        "last_seen": moments[-1].isoformat(),
        "releases": sorted({str(trace["release"]) for trace, _ in group if trace.get("release")}),
        "parts": dict(first.parts),
        "why": first.why,
        "example": {"trace_id": str(newest["trace_id"]), "text": found.text},
    }


def _started(trace: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(str(trace["started_at"]))
