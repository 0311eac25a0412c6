"""Tools that read: find traces, show one, compare two, sessions, failures and scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Annotated, Any, Final

from mcp.types import CallToolResult
from pydantic import Field

from pandaprobe_otel.api.models import TraceListItem
from pandaprobe_otel.compact.overview import (
    LEAST_BUDGET,
    MOST_BUDGET,
    StaleCursor,
    kind_of,
    overview,
    part_of,
    suspects,
)
from pandaprobe_otel.compact.several_traces import compared, turns_text
from pandaprobe_otel.compact.values import clipped, inert_trace, one_line, text_of
from pandaprobe_otel.errors import NotFound
from pandaprobe_otel.mcp_server.searching import Sort
from pandaprobe_otel.mcp_server.trace_reader import Reading, answer, link_to
from pandaprobe_otel.traces.text import duration

Budget = Annotated[int, Field(ge=LEAST_BUDGET, le=MOST_BUDGET)]
Limit = Annotated[int, Field(ge=1, le=50)]
_MOST_TRACES: Final = 50
"""Maximum number of traces that one answer checks for failures."""
_CHECKED: Final = 10
"""Maximum number of found traces that are read whole, to list suspects."""


class ReaderTools:
    """Tools that send only GET requests."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def find_traces(
        self, query: str = "", sort: Sort = "started_at", limit: Limit = 10, cursor: str | None = None
    ) -> CallToolResult:
        """Find traces, latest first. Query: `error after:1d tool:refund latency>5s score:quality<0.5 "text"`."""
        found = self._reading.client.find(query, sort=sort, limit=limit, offset=_start_of(cursor))
        following = _after(found.offset, len(found.items), found.total)
        lines = [self._row(row, is_checked=at < _CHECKED) for at, row in enumerate(found.items)]
        head = [f"{len(lines)} traces, {found.total} in all", *found.notes]
        if len(lines) > _CHECKED:
            head.append(f"rows after the first {_CHECKED} were not read for suspects and scores")
        ids = [str(row.trace_id) for row in found.items]
        return self._list(head, lines, {"trace_ids": ids, "total": found.total, "next": following})

    def get_trace(
        self, trace_id: str, budget: Budget = 2000, part: str = "tree", cursor: str | None = None
    ) -> CallToolResult:
        """Show a trace in at most `budget` tokens: failures, input and output, the tree.

        part: a handle from the answer, e.g. `#15`, `#15.input[4000:]`, `output`; or `tree` with a cursor.
        """
        body, fence = self._reading.body(trace_id), self._reading.fence()
        if part == "tree" and cursor is None:
            made = overview(body, budget, fence, scores=self._reading.scores(trace_id))
        else:
            made = part_of(body, part, budget, fence, cursor=cursor)
        return answer(made.text, made.numbers, links=[link_to(str(body["trace_id"]))])

    def compare_traces(self, a: str, b: str, budget: Budget = 1500) -> CallToolResult:
        """Show where two traces diverge, e.g. a failed one and a good one of the same question."""
        made = compared(self._reading.body(a), self._reading.body(b), budget, self._reading.fence())
        return answer(made.text, made.numbers, links=[link_to(a), link_to(b)])

    def get_session(self, session_id: str, budget: Budget = 2000, cursor: str | None = None) -> CallToolResult:
        """Show the turns of a session in order: input, output and failures of each."""
        session = self._reading.client.sessions.get(session_id)
        traces = [self._reading.shown(trace) for trace in session.traces]
        made = turns_text(session_id, traces, budget, self._reading.fence(), cursor=cursor)
        return answer(made.text, made.numbers)

    def find_failures(self, query: str = "after:7d", limit: Limit = 10, cursor: str | None = None) -> CallToolResult:
        """Group the failures of traces that match a query, by cause, with an example to look at."""
        found = self._reading.client.failures(query, limit=limit, offset=_start_of(cursor), most=_MOST_TRACES)
        groups: list[dict[str, Any]] = found["items"]
        head = [f"{found['total']} groups"]
        if (read := found.get("traces_read")) is None:
            following = _after(found["offset"], len(groups), found["total"])
        else:
            following = _after(found["offset"], read, found["traces_failed"])
            head = [f"{found['total']} groups in {read} of {found['traces_failed']} traces with status ERROR"]
            if found["total"] > len(groups):
                head.append(f"the {limit} largest are shown")
        numbers = [
            {"group_id": one["fingerprint"], "count": one["count"], "example": one["example"]["trace_id"]}
            for one in groups
        ]
        lines = [self._group_line(one) for one in groups]
        return self._list(head, lines, {"groups": numbers, "total": found["total"], "next": following})

    def get_scores(
        self, target: str, metric: str | None = None, limit: Limit = 10, cursor: str | None = None
    ) -> CallToolResult:
        """Show scores with reasons: of a trace id, of `session:ID` or `run:ID`; or totals over a query's traces."""
        kind, _, name = target.partition(":")
        client = self._reading.client
        if kind == "session" and name:
            scores = [self._reading.shown(score) for score in client.scores.sessions.of_session(name)]
        elif kind == "run" and name:
            scores = [self._reading.shown(score) for score in client.evaluations.get(name).result().scores]
        elif len(target.strip()) == 36 and target.count("-") == 4:
            scores = list(self._reading.scores(target))
        else:
            return self._sums(target, metric, limit, cursor)
        chosen = [score for score in scores if metric in (None, score.get("name"))]
        text = self._reading.fence().around("\n".join(map(_score_line, chosen[:50])) or "no scores")
        head = f"{len(chosen)} scores" + (", the first 50 are shown" if len(chosen) > 50 else "")
        return answer(f"{head}\n{text}", {"scores": len(chosen)})

    def _sums(self, query: str, metric: str | None, limit: int, cursor: str | None) -> CallToolResult:
        found = self._reading.client.find(query, limit=limit, offset=_start_of(cursor))
        values: dict[str, list[float]] = {}
        for row in found.items:
            for score in self._reading.client.scores.of_trace(row.trace_id):
                if isinstance(score.parsed, float | int) and metric in (None, score.name):
                    values.setdefault(score.name, []).append(float(score.parsed))
        lines = [
            f"{one_line(name)}: {len(each)} scores, mean {fmean(each):.3f}, below 0.5: "
            f"{sum(value < 0.5 for value in each) / len(each):.0%}"
            for name, each in sorted(values.items())
        ]
        head = [f"scores of {len(found.items)} of {found.total} traces", *found.notes]
        following = _after(found.offset, len(found.items), found.total)
        return self._list(head, lines or ["no scores"], {"traces": len(found.items), "next": following})

    def _list(self, head: Sequence[str], lines: Sequence[str], numbers: Mapping[str, Any]) -> CallToolResult:
        """Return lines of recorded content below a head, which names the next page."""
        more = [f'next: cursor="{numbers["next"]}"'] if numbers["next"] else []
        return answer("\n".join([*head, *more, self._reading.fence().around("\n".join(lines))]), numbers)

    def _group_line(self, one: Mapping[str, Any]) -> str:
        clean = self._reading.scrubber.text
        name, text = one_line(clean(one["name"])), one_line(clean(str(one["example"]["text"] or "")))
        known = ", ".join(map(one_line, one["releases"]))
        parts = [
            f"{one['fingerprint']} {one['count']}× {one['kind']}: {clipped(name, 40)}",
            clipped(text, 40) if text and text not in name else "",
            f"last {str(one['last_seen'])[:16]}",
            f"releases {clipped(known, 20)}" if known else "",
            f"example {one['example']['trace_id']}",
        ]
        return " · ".join(filter(None, parts))

    def _body_or_none(self, trace_id: str) -> Mapping[str, Any] | None:
        """Return a trace that was found; None if it was deleted in the meantime."""
        try:
            return self._reading.body(trace_id)
        except NotFound:
            return None

    def _row(self, row: TraceListItem, *, is_checked: bool) -> str:
        began, taken = f"{row.started_at:%Y-%m-%dT%H:%M:%SZ}", duration(row.latency_ms)
        parts = [f"{row.trace_id} {row.status} {began} {taken} {row.total_tokens}t"]
        parts.append(clipped(one_line(self._reading.scrubber.text(row.name)), 20))
        if is_checked:
            parts += self._signs(str(row.trace_id))
        return " · ".join(parts)

    def _signs(self, trace_id: str) -> Iterator[str]:
        """Yield the scores of a trace, and its most important suspect."""
        body = self._body_or_none(trace_id)
        if body is None:
            yield "is gone"
            return
        scores = self._reading.scores(trace_id)
        if scores:
            yield "scores " + ", ".join(f"{one_line(str(one['name']))} {one['value']}" for one in scores[:4])
        trace = inert_trace(body)
        if trace.origins:
            first = trace.origins[0]
            yield clipped(f"failed #{first.number} {kind_of(first)} {one_line(first.name)}", 24)
        elif found := suspects(trace, scores):
            yield clipped(f"suspect: {one_line(found[0].sign)}", 40)


def _start_of(cursor: str | None) -> int:
    """Return the row of a cursor, or the first one without a cursor. Raises StaleCursor."""
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 12:
        raise StaleCursor("this cursor belongs to another search: leave it out")
    return int(cursor)


def _after(start: int, count: int, total: int) -> str | None:
    """Return the cursor of the next page; None at the end."""
    return str(start + count) if count and start + count < total else None


def _score_line(score: Mapping[str, Any]) -> str:
    reason = f": {clipped(one_line(text_of(score.get('reason'))), 120)}" if score.get("reason") else ""
    told = f"{one_line(text_of(score.get('name')))} {text_of(score.get('value'))} {score.get('status')}"
    return f"{told} {str(score.get('created_at'))[:19]}{reason}"
