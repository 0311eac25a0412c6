"""Failure groups from the API alone: the newest failed traces are read and grouped here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from pandaprobe_otel.cli.value_types import Moment
from pandaprobe_otel.errors import NotFound
from pandaprobe_otel.failures.find import Group, group_failures
from pandaprobe_otel.local.search.language import All, Field, Flag, Query, parse
from pandaprobe_otel.local.search.searchable_fields import Comparison, SearchError

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client

_COLUMNS: Final = 24
_PARAMETERS: Final = {"session": "session_id", "user": "user_id", "tag": "tags", "name": "name"}


def hosted_failures(
    client: Client, most: int, *, since: str | None, query: str | None, limit: int, state: str
) -> dict[str, Any]:
    """Return groups in the form of `GET /local/failures`.

    most: the number of traces to read, newest first. Each takes one request.

    Raises UsageError for a search that the API cannot express.
    """
    if state not in ("open", "all"):
        raise click.UsageError(f"--state {state} needs a local PandaProbe: this server keeps no states of failures")
    now = datetime.now(UTC)
    filters = filters_of(query or "", now)
    if since:
        filters["started_after"] = Moment().convert(since, None, None)
    failed = client.traces.list(status="ERROR", limit=1, **filters).total
    traces = list(_read(client, most, filters))
    groups = group_failures(traces)
    starts = [str(trace["started_at"]) for trace in traces]
    start = filters.get("started_after") or min(map(_moment_of, starts), default=now)
    return {
        "items": [_record(group, start, now) for group in groups[:limit]],
        "total": len(groups),
        "limit": limit,
        "offset": 0,
        "traces_read": len(traces),
        "traces_failed": failed,
        "from": start.isoformat(),
        "to": now.isoformat(),
    }


def filters_of(query: str, now: datetime) -> dict[str, Any]:
    """Return a search as filters of the API. Raises UsageError if the API has no such filter."""
    try:
        parsed = parse(query).query
    except SearchError as error:
        raise click.UsageError(f"{error} (at {error.position})") from None
    filters: dict[str, Any] = {}
    for term in parsed.parts if isinstance(parsed, All) else (parsed,):
        if term == Flag("error") or (isinstance(term, Field) and _is_status_error(term)):
            continue  # Only failed traces are read anyway.
        name, value = _filter_of(term, now)
        if name in filters:
            raise click.UsageError(f"the API takes only one {name}")
        filters[name] = value
    return filters


def _read(client: Client, most: int, filters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for row in islice(client.traces.iter(status="ERROR", **filters), most):
        with suppress(NotFound):  # The trace was deleted after the list was read.
            yield client.traces.get(row.trace_id).model_dump(mode="json")


def _filter_of(term: Query, now: datetime) -> tuple[str, Any]:
    if isinstance(term, Field) and term.comparison is Comparison.EQUAL and len(term.operands) == 1:
        (value,) = term.operands
        if term.key in ("after", "before") and isinstance(value, float):
            moment = now + timedelta(microseconds=value) if value <= 0 else datetime.fromtimestamp(value / 1e6, UTC)
            return ("started_after" if term.key == "after" else "started_before"), moment
        if term.key == "tag" and isinstance(value, str) and "*" not in value:
            return "tags", [value]
        if term.key in _PARAMETERS and isinstance(value, str) and "*" not in value:
            return _PARAMETERS[term.key], value
    raise click.UsageError(
        "the API accepts each of session:, user:, tag:, name:, after: and before: once. Other searches need a local "
        "PandaProbe"
    )


def _is_status_error(term: Field) -> bool:
    return term.key == "status" and [str(one).upper() for one in term.operands] == ["ERROR"]


def _record(group: Group, start: datetime, end: datetime) -> dict[str, Any]:
    moments = sorted(_moment_of(str(member.trace["started_at"])) for member in group.members)
    newest = max(group.members, key=lambda member: _moment_of(str(member.trace["started_at"])))
    releases = {str(member.trace["release"]): None for member in group.members if member.trace.get("release")}
    return {
        "fingerprint": group.fingerprint,
        "name": group.first.title,
        "title": group.first.title,
        "kind": group.first.kind.value,
        "state": None,
        "count": len(group.members),
        "trend": _trend(moments, start, end),
        "first_seen": moments[0].isoformat(),
        "last_seen": moments[-1].isoformat(),
        "releases": sorted(releases),
        "parts": dict(group.first.parts),
        "why": group.first.why,
        "example": {"trace_id": str(newest.trace["trace_id"]), "text": newest.finding.text},
    }


def _trend(moments: Sequence[datetime], start: datetime, end: datetime) -> list[int]:
    width = max((end - start) / _COLUMNS, timedelta(microseconds=1))
    trend = [0] * _COLUMNS
    for moment in moments:
        trend[min(max(int((moment - start) / width), 0), _COLUMNS - 1)] += 1
    return trend


def _moment_of(text: str) -> datetime:
    return datetime.fromisoformat(text)
