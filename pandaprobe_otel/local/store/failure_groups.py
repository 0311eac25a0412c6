"""Failure groups: lists for the page and the route, and actions on a group.

A merge is a rule: existing and future findings of the fingerprint count for the group that it was merged into.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pandaprobe_otel.failures.finding import MARKED, RULE_OF, FailureKind
from pandaprobe_otel.failures.states import Handling, State, counts_as_recurrence, state_of
from pandaprobe_otel.local.payloads import dumps, loads
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.trace_filter import TraceFilter
from pandaprobe_otel.local.times import iso, iso_or_none

COLUMNS: Final = 24
"""Number of intervals in a trend."""
_Condition: TypeAlias = tuple[str, list[Any]]
_IN: Final = "fingerprint IN (SELECT value FROM json_each(?))"
_OF_GROUP: Final = f"project_id = ? AND recovered = 0 AND {_IN}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """A group: its rows, including merged ones, and its numbers in the selected period. Moments are microseconds."""

    row: sqlite3.Row
    merged: Sequence[sqlite3.Row]
    state: State
    count: int
    recovered: int
    first_at: int
    last_at: int | None

    @property
    def fingerprint(self) -> str:
        """The group's identity."""
        return str(self.row["fingerprint"])

    @property
    def fingerprints(self) -> list[str]:
        """The group's own fingerprint and those merged into it."""
        return [self.fingerprint, *(row["fingerprint"] for row in self.merged)]

    @property
    def name(self) -> str:
        """Name given by a person, or else the title."""
        return str(self.row["name"] or self.row["title"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A page of groups, with the number of all. `hidden` counts those in other states. The period is that of the
    trends.
    """

    groups: Sequence[FailureGroup]
    total: int
    hidden: int
    start: int
    end: int


@dataclass(slots=True)
class _Sum:
    count: int = 0
    recovered: int = 0
    last_at: int | None = None


class FailureGroups:
    """The groups of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(
        self, project_id: str, wanted: TraceFilter, states: frozenset[State], *, now: int, limit: int, offset: int
    ) -> Found:
        """Return one page of the groups with traces that match a filter; groups with most traces come first."""
        with self._database.read() as connection:
            groups = _all_groups(connection, project_id, wanted, now)
            start = wanted.after if wanted.after is not None else min((one.first_at for one in groups), default=now)
        shown = sorted(
            (one for one in groups if one.state in states), key=lambda one: (-one.count, -(one.last_at or 0))
        )
        return Found(
            groups=shown[offset : offset + limit],
            total=len(shown),
            hidden=len(groups) - len(shown),
            start=start,
            end=max(now, start + 1),
        )

    def get(self, project_id: str, fingerprint: str, *, now: int) -> FailureGroup | None:
        """Return a group, or the group it was merged into; None if the project has no such group."""
        with self._database.read() as connection:
            row = _row(connection, project_id, fingerprint)
            if row is None:
                return None
            wanted = row["merged_into"] or row["fingerprint"]
            rows = connection.execute(
                "SELECT * FROM failure_groups WHERE project_id = ? AND (fingerprint = ? OR merged_into = ?)",
                (project_id, wanted, wanted),
            ).fetchall()
            own = next(one for one in rows if one["fingerprint"] == wanted)
            merged = [one for one in rows if one["fingerprint"] != wanted]
            chosen = (f" AND {_IN}", [dumps([one["fingerprint"] for one in rows]).decode()])
            sums = _sums(connection, project_id, chosen)
            return _group_of(connection, project_id, own, merged, sums, chosen, now)

    def others(self, project_id: str, group: FailureGroup, *, limit: int) -> list[tuple[str, str]]:
        """Return fingerprints and names of the groups that a group can be merged into, latest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT fingerprint, COALESCE(name, title) AS name FROM failure_groups WHERE project_id = ?"
                " AND fingerprint != ? AND merged_into IS NULL ORDER BY first_at DESC LIMIT ?",
                (project_id, group.fingerprint, limit),
            ).fetchall()
        return [(row["fingerprint"], row["name"]) for row in rows]

    def of_trace(self, project_id: str, trace_id: str) -> list[tuple[str, str]]:
        """Return fingerprints and names of a trace's groups, by the rank of its failures."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT shown.fingerprint, COALESCE(shown.name, shown.title) AS name FROM traces"
                " JOIN findings ON findings.trace_seq = traces.seq AND recovered = 0"
                " JOIN failure_groups AS own ON own.project_id = traces.project_id"
                " AND own.fingerprint = findings.fingerprint"
                " JOIN failure_groups AS shown ON shown.project_id = traces.project_id"
                " AND shown.fingerprint = COALESCE(own.merged_into, own.fingerprint)"
                " WHERE traces.trace_id = ? AND traces.project_id = ? ORDER BY position",
                (trace_id, project_id),
            ).fetchall()
        return list(dict.fromkeys((row["fingerprint"], row["name"]) for row in rows))

    def trends(self, project_id: str, groups: Sequence[FailureGroup], start: int, end: int) -> dict[str, list[int]]:
        """Return the number of traces of groups in each interval of a period."""
        width = max(-(-(end - start) // COLUMNS), 1)
        group_of = {fingerprint: one.fingerprint for one in groups for fingerprint in one.fingerprints}
        found = {one.fingerprint: [0] * COLUMNS for one in groups}
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT fingerprint, (started_at - ?) / ? AS part, COUNT(*) AS n FROM findings WHERE {_OF_GROUP}"
                " AND started_at >= ? GROUP BY 1, 2",
                (start, width, project_id, dumps([*group_of]).decode(), start),
            ).fetchall()
        for row in rows:
            if 0 <= row["part"] < COLUMNS:
                found[group_of[row["fingerprint"]]][row["part"]] += row["n"]
        return found

    def releases(self, project_id: str, groups: Sequence[FailureGroup]) -> dict[str, list[str]]:
        """Return the releases of groups, in the order of their first traces."""
        group_of = {fingerprint: one.fingerprint for one in groups for fingerprint in one.fingerprints}
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT found.fingerprint, found.release FROM (SELECT DISTINCT fingerprint, release FROM findings"
                f" WHERE {_OF_GROUP} AND release IS NOT NULL) AS found"
                " LEFT JOIN releases ON releases.project_id = ? AND releases.release = found.release"
                " ORDER BY releases.first_at, found.release",
                (project_id, dumps([*group_of]).decode(), project_id),
            ).fetchall()
        found: dict[str, dict[str, None]] = {one.fingerprint: {} for one in groups}
        for row in rows:
            found[group_of[row["fingerprint"]]][row["release"]] = None
        return {fingerprint: list(names) for fingerprint, names in found.items()}

    def examples(self, project_id: str, group: FailureGroup, *, limit: int, offset: int = 0) -> list[sqlite3.Row]:
        """Return traces of a group, newest first, with the text and the span of the finding."""
        with self._database.read() as connection:
            return connection.execute(
                "SELECT traces.trace_id, traces.name, traces.status, traces.started_at, traces.release,"
                " findings.span_id, findings.text FROM"
                f" (SELECT rowid AS id, trace_seq FROM findings WHERE {_OF_GROUP} GROUP BY trace_seq"
                " ORDER BY started_at DESC, trace_seq DESC LIMIT ? OFFSET ?) AS newest"
                " JOIN findings ON findings.rowid = newest.id"
                " JOIN traces ON traces.seq = newest.trace_seq ORDER BY traces.started_at DESC, traces.seq DESC",
                (project_id, dumps(group.fingerprints).decode(), limit, offset),
            ).fetchall()

    def rename(self, project_id: str, fingerprint: str, name: str | None) -> bool:
        """Name a group; None restores the title. Return False if the project has no such group."""
        return self._change(project_id, fingerprint, {"name": name})

    def handle(self, project_id: str, fingerprint: str, handling: Handling | None) -> bool:
        """Mute or resolve a group; None opens it again. Return False if the project has no such group."""
        columns: dict[str, Any] = dict.fromkeys(("action", "acted_at", "until_at", "until_count", "resolved_in"))
        if handling is not None:
            columns |= {
                "action": handling.action.value,
                "acted_at": handling.at,
                "until_at": handling.until,
                "until_count": handling.until_count,
                "resolved_in": handling.release,
            }
        return self._change(project_id, fingerprint, columns)

    def merge(self, project_id: str, fingerprint: str, into: str) -> bool:
        """Merge a group, including those merged into it, into another one. Return False if one of them is missing."""
        with self._database.write() as connection:
            one, other = _row(connection, project_id, fingerprint), _row(connection, project_id, into)
            if one is None or other is None:
                return False
            target = other["merged_into"] or other["fingerprint"]
            if target == one["fingerprint"]:
                return False
            connection.execute(
                "UPDATE failure_groups SET merged_into = ?"
                " WHERE project_id = ? AND (fingerprint = ? OR merged_into = ?)",
                (target, project_id, one["fingerprint"], one["fingerprint"]),
            )
            return True

    def separate(self, project_id: str, fingerprint: str) -> bool:
        """Separate a merged fingerprint from its group. Return False if the project has no such fingerprint."""
        return self._change(project_id, fingerprint, {"merged_into": None})

    def _change(self, project_id: str, fingerprint: str, columns: Mapping[str, Any]) -> bool:
        assignments = ", ".join(f"{name} = ?" for name in columns)
        with self._database.write() as connection:
            return (
                connection.execute(
                    f"UPDATE failure_groups SET {assignments} WHERE project_id = ? AND fingerprint = ?",
                    (*columns.values(), project_id, fingerprint),
                ).rowcount
                > 0
            )


def failure_record(group: FailureGroup, *, trend: Sequence[int], releases: Sequence[str]) -> dict[str, Any]:
    """Return the object of `GET /local/failures`."""
    handling = _handling(group.row)
    return {
        "fingerprint": group.fingerprint,
        "name": group.name,
        "title": group.row["title"],
        "kind": group.row["kind"],
        "state": group.state.value,
        "count": group.count,
        "recovered": group.recovered,
        "trend": list(trend),
        "first_seen": iso(group.first_at),
        "last_seen": iso_or_none(group.last_at),
        "releases": list(releases),
        "parts": loads(group.row["parts"]),
        "why": MARKED if group.row["marked"] else RULE_OF[FailureKind(group.row["kind"])],
        "rules": group.row["rules"],
        "merged": [{"fingerprint": row["fingerprint"], "title": row["title"]} for row in group.merged],
        "muted_until": iso_or_none(None if handling is None else handling.until),
        "muted_for_traces": None if handling is None else handling.until_count,
        "resolved_in": None if handling is None else handling.release,
    }


def _row(connection: sqlite3.Connection, project_id: str, fingerprint: str) -> sqlite3.Row | None:
    found: sqlite3.Row | None = connection.execute(
        "SELECT * FROM failure_groups WHERE project_id = ? AND fingerprint = ?", (project_id, fingerprint)
    ).fetchone()
    return found


def _all_groups(connection: sqlite3.Connection, project_id: str, wanted: TraceFilter, now: int) -> list[FailureGroup]:
    chosen = _chosen(project_id, wanted)
    sums = _sums(connection, project_id, chosen)
    rows = connection.execute("SELECT * FROM failure_groups WHERE project_id = ?", (project_id,)).fetchall()
    into: dict[str, list[sqlite3.Row]] = {}
    for row in rows:
        if row["merged_into"] is not None:
            into.setdefault(row["merged_into"], []).append(row)
    groups = (
        _group_of(connection, project_id, row, into.get(row["fingerprint"], []), sums, chosen, now)
        for row in rows
        if row["merged_into"] is None and (row["fingerprint"] in sums or row["fingerprint"] in into)
    )
    return [group for group in groups if group.count]


def _group_of(
    connection: sqlite3.Connection,
    project_id: str,
    row: sqlite3.Row,
    merged: Sequence[sqlite3.Row],
    sums: Mapping[str, _Sum],
    chosen: _Condition,
    now: int,
) -> FailureGroup:
    fingerprints = [one["fingerprint"] for one in (row, *merged)]
    own = [sums[one] for one in fingerprints if one in sums]
    first_at = min(one["first_at"] for one in (row, *merged))
    handling = _handling(row)
    further = 0 if handling is None else _further(connection, project_id, fingerprints, handling)
    return FailureGroup(
        row=row,
        merged=merged,
        state=state_of(handling, first_at=first_at, now=now, further=further),
        count=_traces_of(connection, project_id, fingerprints, chosen) if merged else sum(one.count for one in own),
        recovered=sum(one.recovered for one in own),
        first_at=first_at,
        last_at=max((one.last_at for one in own if one.last_at is not None), default=None),
    )


def _sums(connection: sqlite3.Connection, project_id: str, chosen: _Condition) -> dict[str, _Sum]:
    where, values = chosen
    sums: dict[str, _Sum] = {}
    for row in connection.execute(
        "SELECT fingerprint, recovered, COUNT(*) AS n, MAX(started_at) AS last_at FROM findings"
        f" WHERE project_id = ?{where} GROUP BY recovered, fingerprint",
        (project_id, *values),
    ):
        one = sums.setdefault(row["fingerprint"], _Sum())
        if row["recovered"]:
            one.recovered = row["n"]
        else:
            one.count, one.last_at = row["n"], row["last_at"]
    return sums


def _traces_of(connection: sqlite3.Connection, project_id: str, fingerprints: Sequence[str], chosen: _Condition) -> int:
    """Return the number of traces of merged fingerprints, counting a trace with several of them once."""
    where, values = chosen
    (count,) = connection.execute(
        f"SELECT COUNT(DISTINCT trace_seq) FROM findings WHERE {_OF_GROUP}{where}",
        (project_id, dumps(list(fingerprints)).decode(), *values),
    ).fetchone()
    return int(count)


def _chosen(project_id: str, wanted: TraceFilter) -> _Condition:
    """Return the condition for findings in the traces of a filter, and its values."""
    assert wanted == TraceFilter(search=wanted.search, after=wanted.after, before=wanted.before)
    where, values = "", list[Any]()
    if wanted.search is not None:
        condition, values = TraceFilter(search=wanted.search).where(project_id)
        where = f" AND trace_seq IN (SELECT traces.seq FROM traces NOT INDEXED WHERE {condition})"
    for condition, moment in (("started_at >= ?", wanted.after), ("started_at < ?", wanted.before)):
        if moment is not None:
            where, values = f"{where} AND {condition}", [*values, moment]
    return where, values


def _further(connection: sqlite3.Connection, project_id: str, fingerprints: Sequence[str], handling: Handling) -> int:
    """Return how many traces since a group was handled count as a recurrence."""
    rows = connection.execute(
        "SELECT found.release, found.n, releases.first_at FROM (SELECT release, COUNT(*) AS n FROM findings"
        f" WHERE {_OF_GROUP} AND started_at > ? GROUP BY release) AS found"
        " LEFT JOIN releases ON releases.project_id = ? AND releases.release = found.release",
        (project_id, dumps(list(fingerprints)).decode(), handling.at, project_id),
    ).fetchall()
    if handling.action is State.MUTED or handling.release is None:
        return sum(row["n"] for row in rows)
    resolved = connection.execute(
        "SELECT first_at FROM releases WHERE project_id = ? AND release = ?", (project_id, handling.release)
    ).fetchone()
    first = None if resolved is None else resolved["first_at"]
    return sum(
        row["n"] for row in rows if counts_as_recurrence(row["first_at"], first, has_release=row["release"] is not None)
    )


def _handling(row: sqlite3.Row) -> Handling | None:
    if row["action"] is None:
        return None
    return Handling(
        action=State(row["action"]),
        at=row["acted_at"],
        until=row["until_at"],
        until_count=row["until_count"],
        release=row["resolved_in"],
    )
