"""Searches for traces, by the local PandaProbe, or by API filters and a check of their results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import UUID

from pandaprobe_otel.api import Client
from pandaprobe_otel.api.calls import Steps, call
from pandaprobe_otel.api.endpoint import Endpoint
from pandaprobe_otel.api.fields import Paging
from pandaprobe_otel.api.models import Model, Page, TraceListItem, Utc
from pandaprobe_otel.api.operation import operation
from pandaprobe_otel.api.traces import TraceFilters
from pandaprobe_otel.enums import TraceStatus
from pandaprobe_otel.errors import NotFound
from pandaprobe_otel.local.search.language import All, Field, Parsed, Query, parse
from pandaprobe_otel.mcp_server.matching import LookedAt, TooManyTraces, matches

Sort = Literal["started_at", "latency"]
MOST_ROWS: Final = 1000
"""Maximum number of rows that are checked for one search, if the server cannot search."""
MOST_TRACES: Final = 50
"""Maximum number of traces that are read whole for one search, for terms that rows cannot answer."""
_PAGE: Final = 200


class StaleSearch(ValueError):
    """A cursor of another search."""


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
    state: str


class KeptGroup(Model):
    """A failure group of a local PandaProbe."""

    fingerprint: str
    name: str
    kind: str
    state: str
    count: int
    last_seen: Utc
    releases: list[str]
    example: dict[str, Any]


_SEARCH: Final = Endpoint(method="GET", path="/local/traces", query=SearchQuery, answer=FoundPage)
_FAILURES: Final = Endpoint(method="GET", path="/local/failures", query=FailureQuery, answer=Page[KeptGroup])


class SearchingClient(Client):
    """A client that lets a local PandaProbe search."""

    @operation
    def search(self, query: SearchQuery) -> Steps[FoundPage]:
        """Return a page of the traces that match a query. Raises NotFound on other servers."""
        return call(self._connection, _SEARCH, query=query)

    @operation
    def failures(self, query: FailureQuery) -> Steps[Page[KeptGroup]]:
        """Return a page of stored failure groups. Raises NotFound on other servers."""
        return call(self._connection, _FAILURES, query=query)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The rows that were found.

    Attributes:
        total: The number of matches; None if only part of the traces was checked.
        next: A cursor; None at the end.
        notes: Notes for the reader of the rows.
    """

    rows: Sequence[TraceListItem]
    total: int | None
    next: str | None
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Searches:
    """Searches with one client. The first search finds out which way the server supports."""

    client: SearchingClient
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    _server_searches: bool | None = None

    def find(self, query: str, *, sort: Sort = "started_at", limit: int = 10, cursor: str | None = None) -> Found:
        """Return rows of the latest traces first, or by `sort`. Raises SearchError and StaleSearch."""
        parsed = parse(query)
        start = start_of(cursor)
        if self._server_searches is not False:
            wanted: SearchQuery = {"query": query, "sort_by": sort, "limit": limit, "offset": start}
            try:
                page = self.client.search(wanted)
            except NotFound:
                self._server_searches = False
            else:
                self._server_searches = True
                after = start + len(page.items)
                return Found(
                    rows=page.items,
                    total=page.total,
                    next=str(after) if page.items and after < page.total else None,
                    notes=tuple(page.notes),
                )
        return self._filtered(parsed, sort, limit, start)

    def _filtered(self, parsed: Parsed, sort: Sort, limit: int, start: int) -> Found:
        looked_at = LookedAt(self.client, now=self.clock(), most=MOST_TRACES)
        filters = documented(parsed.query, self.clock())
        filters["sort_by"] = sort
        rows: list[TraceListItem] = []
        at = start
        notes = list(parsed.notes)
        for row in self._rows(filters, start):
            if at - start >= MOST_ROWS:
                notes.append(f"{MOST_ROWS} traces were checked; the cursor continues with the next ones")
                break
            try:
                fits = matches(parsed.query, row, looked_at)
            except TooManyTraces:
                notes.append(f"{MOST_TRACES} traces were read whole; the cursor continues with the next ones")
                break
            if fits and len(rows) == limit:
                break
            at += 1
            rows += [row] if fits else []
        else:
            return Found(rows=rows, total=None if start else len(rows), next=None, notes=tuple(notes))
        return Found(rows=rows, total=None, next=str(at), notes=tuple(notes))

    def _rows(self, filters: TraceFilters, start: int) -> Iterator[TraceListItem]:
        seen: set[UUID] = set()
        while True:
            page = self.client.traces.list(**filters, limit=_PAGE, offset=start)
            yield from (row for row in page.items if row.trace_id not in seen)
            seen |= {row.trace_id for row in page.items}
            start += len(page.items)
            if not page.items or start >= page.total:
                return


def documented(query: Query, now: datetime) -> TraceFilters:
    """Return the API parameters for the parts of a query that the API supports. Results are checked against the whole
    query.
    """
    filters: TraceFilters = {}
    for part in query.parts if isinstance(query, All) else (query,):
        if not isinstance(part, Field) or len(part.operands) != 1:
            continue
        value = part.operands[0]
        if part.key in ("after", "before") and isinstance(value, float | int):
            seconds = now.timestamp() + value / 1e6 if value <= 0 else value / 1e6
            moment = datetime.fromtimestamp(seconds, UTC)
            filters.update({"started_after": moment} if part.key == "after" else {"started_before": moment})
        elif isinstance(value, str) and "*" not in value:
            filters.update(_of_text(part.key, value))
    return filters


def _of_text(key: str, value: str) -> TraceFilters:
    match key:
        case "status" if value.upper() in ("ERROR", "COMPLETED", "RUNNING", "PENDING"):
            return {"status": TraceStatus(value.upper())}
        case "session":
            return {"session_id": value}
        case "user":
            return {"user_id": value}
        case "name":
            return {"name": value}
        case _:
            return {}


def start_of(cursor: str | None) -> int:
    """Return the row of a cursor, or the first one without a cursor. Raises StaleSearch."""
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 12:
        raise StaleSearch("this cursor belongs to another search: leave it out")
    return int(cursor)
