"""Tools that read: find traces, show one, compare two, sessions, failures and scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Annotated, Any, Final

from mcp.types import CallToolResult
from pydantic import Field

from pandaprobe_otel.api.models import TraceListItem
from pandaprobe_otel.compact.fences import inert_trace
from pandaprobe_otel.compact.overview import LEAST_BUDGET, MOST_BUDGET, overview, part_of
from pandaprobe_otel.compact.several_traces import compared, turns_text
from pandaprobe_otel.compact.span_lines import kind_of, seconds_text
from pandaprobe_otel.compact.suspects import suspects
from pandaprobe_otel.compact.values import clipped, one_line, text_of
from pandaprobe_otel.errors import NotFound
from pandaprobe_otel.failures.find import Group, group_failures
from pandaprobe_otel.mcp_server.fenced_answers import answer
from pandaprobe_otel.mcp_server.searching import Sort, start_of
from pandaprobe_otel.mcp_server.trace_reader import Reading, link_to

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
        found = self._reading.searches.find(query, sort=sort, limit=limit, cursor=cursor)
        lines = [self._row(row, is_checked=at < _CHECKED) for at, row in enumerate(found.rows)]
        total = "more than these" if found.total is None else f"{found.total} in all"
        head = [f"{len(lines)} traces, {total}", *found.notes]
        if len(lines) > _CHECKED:
            head.append(f"rows after the first {_CHECKED} were not read for suspects and scores")
        if found.next:
            head.append(f'next: cursor="{found.next}"')
        text = "\n".join([*head, self._reading.fence().around("\n".join(lines))])
        ids = [str(row.trace_id) for row in found.rows]
        return answer(text, {"trace_ids": ids, "total": found.total, "next": found.next})

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
        numbers = {"spans": made.spans, "shown": made.shown, "failed": list(made.failed), "next": made.next}
        return answer(made.text, numbers, links=[link_to(str(body["trace_id"]))])

    def compare_traces(self, a: str, b: str, budget: Budget = 1500) -> CallToolResult:
        """Show where two traces diverge, e.g. a failed one and a good one of the same question."""
        made = compared(self._reading.body(a), self._reading.body(b), budget, self._reading.fence())
        return answer(made.text, {"differing": made.differing}, links=[link_to(a), link_to(b)])

    def get_session(self, session_id: str, budget: Budget = 2000, cursor: str | None = None) -> CallToolResult:
        """Show the turns of a session in order: input, output and failures of each."""
        session = self._reading.client.sessions.get(session_id)
        traces = [self._reading.shown(trace) for trace in session.traces]
        made = turns_text(session_id, traces, budget, self._reading.fence(), cursor=cursor)
        numbers = {"turns": made.turns, "shown": made.shown, "failed": list(made.failed), "next": made.next}
        return answer(made.text, numbers)

    def find_failures(self, query: str = "after:7d", limit: Limit = 10, cursor: str | None = None) -> CallToolResult:
        """Group the failures of traces that match a query, by cause, with an example to look at."""
        try:
            return self._kept_failures(query, limit, cursor)
        except NotFound:  # Only a local PandaProbe keeps groups.
            return self._read_failures(query, limit, cursor)

    def _kept_failures(self, query: str, limit: int, cursor: str | None) -> CallToolResult:
        start = start_of(cursor)
        page = self._reading.client.failures({"query": query, "state": "open", "limit": limit, "offset": start})
        lines = [
            _group_line(
                one.fingerprint, one.count, f"{one.state} {one.kind}", self._reading.scrubber.text(one.name),
                self._reading.scrubber.text(str(one.example.get("text") or "")), f"{one.last_seen:%Y-%m-%dT%H:%M}",
                one.releases, str(one.example.get("trace_id")),
            )
            for one in page.items
        ]  # fmt: skip
        after = start + len(page.items)
        following = str(after) if page.items and after < page.total else None
        head = [f"{page.total} groups", *([f'next: cursor="{following}"'] if following else [])]
        groups = [
            {"group_id": one.fingerprint, "count": one.count, "example": str(one.example.get("trace_id"))}
            for one in page.items
        ]
        text = "\n".join([*head, self._reading.fence().around("\n".join(lines))])
        return answer(text, {"groups": groups, "total": page.total, "next": following})

    def _read_failures(self, query: str, limit: int, cursor: str | None) -> CallToolResult:
        found = self._reading.searches.find(query, limit=_MOST_TRACES, cursor=cursor)
        groups = group_failures(filter(None, (self._body_or_none(str(row.trace_id)) for row in found.rows)))
        lines = [_line_of(group) for group in groups[:limit]]
        head = [f"{len(groups)} groups in {len(found.rows)} traces", *found.notes]
        if found.next:
            head.append(f'older traces: cursor="{found.next}"')
        if len(groups) > limit:
            head.append(f"the {limit} largest are shown")
        shown = [
            {"group_id": one.fingerprint, "count": len(one.members), "example": str(one.members[0].trace["trace_id"])}
            for one in groups[:limit]
        ]
        text = "\n".join([*head, self._reading.fence().around("\n".join(lines))])
        return answer(text, {"groups": shown, "total": len(groups), "next": found.next})

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
        found = self._reading.searches.find(query, limit=limit, cursor=cursor)
        values: dict[str, list[float]] = {}
        for row in found.rows:
            for score in self._reading.client.scores.of_trace(row.trace_id):
                if isinstance(score.parsed, float | int) and metric in (None, score.name):
                    values.setdefault(score.name, []).append(float(score.parsed))
        lines = [
            f"{one_line(name)}: {len(each)} scores, mean {fmean(each):.3f}, below 0.5: "
            f"{sum(value < 0.5 for value in each) / len(each):.0%}"
            for name, each in sorted(values.items())
        ]
        head = [f"scores of {len(found.rows)} traces", *([f'next: cursor="{found.next}"'] if found.next else [])]
        text = "\n".join([*head, self._reading.fence().around("\n".join(lines) or "no scores")])
        return answer(text, {"traces": len(found.rows), "next": found.next})

    def _body_or_none(self, trace_id: str) -> Mapping[str, Any] | None:
        """Return a trace that was found; None if it was deleted in the meantime."""
        try:
            return self._reading.body(trace_id)
        except NotFound:
            return None

    def _row(self, row: TraceListItem, *, is_checked: bool) -> str:
        taken = "running" if row.latency_ms is None else seconds_text(row.latency_ms / 1000)
        parts = [f"{row.trace_id} {row.status} {row.started_at:%Y-%m-%dT%H:%M:%SZ} {taken} {row.total_tokens}t"]
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


def _line_of(group: Group) -> str:
    first, newest = group.first, group.members[0].trace
    releases = dict.fromkeys(str(one.trace["release"]) for one in group.members if one.trace.get("release"))
    return _group_line(
        group.fingerprint, len(group.members), first.kind, first.title, first.text, str(newest["started_at"])[:16],
        list(releases), str(newest["trace_id"]),
    )  # fmt: skip


def _group_line(
    fingerprint: str, count: int, kind: str, title: str, text: str, last: str, releases: Sequence[str], example: str
) -> str:
    said = f" · {clipped(one_line(text), 40)}" if text and text not in title else ""
    known = f" · releases {clipped(', '.join(map(one_line, releases)), 20)}" if releases else ""
    told = f"{fingerprint} {count}× {kind}: {clipped(one_line(title), 40)}{said}"
    return f"{told} · last {last}{known} · example {example}"


def _score_line(score: Mapping[str, Any]) -> str:
    reason = f": {clipped(one_line(text_of(score.get('reason'))), 120)}" if score.get("reason") else ""
    told = f"{one_line(text_of(score.get('name')))} {text_of(score.get('value'))} {score.get('status')}"
    return f"{told} {str(score.get('created_at'))[:19]}{reason}"
