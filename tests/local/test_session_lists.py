"""Lists of sessions: for any history of their traces, they agree with sums over all the traces."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_formats import lower_format
from pandaprobe_otel.local.models.fields import SortOrder
from pandaprobe_otel.local.models.traces import SessionSortBy
from pandaprobe_otel.local.store.database import MEMORY, Database
from pandaprobe_otel.local.store.queries import Queries, Slice
from pandaprobe_otel.local.store.trace_filter import TraceFilter

PROJECTS = ("p", "q")
EVERY = Slice(limit=100, offset=0)
KEYS: dict[SessionSortBy, Callable[[list[sqlite3.Row]], Any]] = {
    SessionSortBy.RECENT: lambda traces: max(trace["seq"] for trace in traces),
    SessionSortBy.TRACE_COUNT: len,
    SessionSortBy.LATENCY: lambda traces: sum(
        trace["ended_at"] - trace["started_at"] for trace in traces if trace["ended_at"] is not None
    ),
    SessionSortBy.COST: lambda traces: sum(round(trace["total_cost"] * 1e9) for trace in traces),
}
sessions = st.sampled_from([None, "a", "a", "Bc", "Bc"])
projects = st.sampled_from([*"pppq"])
columns: dict[str, st.SearchStrategy[Any]] = {
    "session_id": sessions,
    "status": st.sampled_from(["COMPLETED", "ERROR"]),
    "started_at": st.integers(0, 9),
    "ended_at": st.none() | st.integers(0, 9),
    "total_cost": st.sampled_from([0.0, 0.1, 0.2, 0.3, 5e-9, 1e6]),
}
seqs = st.integers(1, 6)
added = st.tuples(st.just("add"), projects, st.fixed_dictionaries(columns))
changed = st.one_of(
    added,
    *[st.tuples(st.just("change"), seqs, st.fixed_dictionaries({name: columns[name]})) for name in columns],
    st.tuples(st.just("change"), seqs, st.fixed_dictionaries(columns)),
    st.tuples(st.just("delete"), seqs, st.none()),
    st.tuples(st.just("delete project"), projects, st.none()),
)


@contextmanager
def opened(path: str | Path = MEMORY) -> Generator[Database]:
    """Open a database during the block."""
    database = Database(path)
    yield database
    database.close()


def apply(database: Database, number: int, change: tuple[str, Any, Any]) -> None:
    """Make a change of the traces. `number` is different for each."""
    what, which, given = change
    with database.write() as connection:
        connection.execute("INSERT OR IGNORE INTO organizations VALUES ('o', 'o', 'free', 0, 's', 0, 0, 0, 0, 0)")
        connection.executemany(
            "INSERT OR IGNORE INTO projects VALUES (?, 'o', ?, '', 0)", [(name, name) for name in PROJECTS]
        )
        if what == "add":
            row = {**given, "trace_id": str(UUID(int=number)), "project_id": which}
            connection.execute(
                "INSERT INTO traces (trace_id, project_id, status, started_at, ended_at, created_at, total_cost,"
                " session_id, name, folded_name, tags) VALUES (:trace_id, :project_id, :status, :started_at, :ended_at,"
                " 0, :total_cost, :session_id, 'n', 'n', '[]')",
                row,
            )
        elif what == "change":
            assignments = ", ".join(f"{name} = :{name}" for name in given)
            connection.execute(f"UPDATE traces SET {assignments} WHERE seq = :seq", {**given, "seq": which})
        elif what == "delete":
            connection.execute("DELETE FROM traces WHERE seq = ?", (which,))
        else:
            connection.execute("DELETE FROM projects WHERE id = ?", (which,))


def expected(database: Database, project: str, sort_by: SessionSortBy, text: str, has_error: bool | None) -> list[str]:
    """Return the ids of the sessions in descending order, from their traces."""
    with database.read() as connection:
        traces = connection.execute(
            "SELECT * FROM traces WHERE project_id = ? AND session_id IS NOT NULL ORDER BY session_id", (project,)
        ).fetchall()
    found: list[tuple[bool, Any, int, str]] = []
    for session, group in itertools.groupby(traces, lambda trace: str(trace["session_id"])):
        members = [*group]
        failed = any(trace["status"] == "ERROR" for trace in members)
        unknown = sort_by is SessionSortBy.LATENCY and all(trace["ended_at"] is None for trace in members)
        if text in session.lower() and has_error in (None, failed):
            found.append((unknown, KEYS[sort_by](members), max(trace["seq"] for trace in members), session))
    return [session for *_, session in sorted(found, reverse=True)]


@settings(max_examples=60, deadline=None)
@given(st.lists(added, min_size=4, max_size=6), st.lists(changed, max_size=10))
def test_sessions_are_listed_by_the_sums_of_their_traces(
    first: list[tuple[str, Any, Any]], later: list[tuple[str, Any, Any]]
) -> None:
    """After any changes, each order and each filter gives the sessions that their traces give."""
    with opened() as database:
        for number, change in enumerate([*first, *later]):
            apply(database, number, change)
        for project, sort_by, text, has_error in itertools.product(
            PROJECTS, SessionSortBy, ("", "b"), (None, True, False)
        ):
            wanted = TraceFilter(session_query=text or None)
            found, total = Queries(database).sessions(
                project, wanted, EVERY, sort_by, SortOrder.DESC, has_error=has_error
            )
            names = expected(database, project, sort_by, text, has_error)
            assert ([one["session_id"] for one in found], total) == (names, len(names))


@pytest.mark.parametrize("cost", [1e300, float("inf"), -1e300, 9.3e9])
def test_absurd_costs_are_stored_and_listed_last_or_first(cost: float) -> None:
    """Traces whose costs are too large for an integer can be stored, changed and deleted."""
    trace = {"session_id": "a", "status": "COMPLETED", "started_at": 0, "ended_at": 1, "total_cost": cost}
    with opened() as database:
        for number, change in enumerate(
            [
                *[("add", "p", trace)] * 3,
                ("add", "p", {**trace, "session_id": "b", "total_cost": 1.0}),
                ("change", 1, {**trace, "total_cost": 0.5}),
                ("delete", 2, None),
            ]
        ):
            apply(database, number, change)
        found, total = Queries(database).sessions("p", TraceFilter(), EVERY, SessionSortBy.COST, SortOrder.DESC)
        listed = [one["session_id"] for one in found]
        assert (listed, total) == (["a", "b"] if cost > 0 else ["b", "a"], 2)


def test_a_database_of_an_earlier_version_lists_its_sessions(tmp_path: Path) -> None:
    """A file from before the sums gets them when it is opened."""
    path = tmp_path / "p.db"
    cost = {"session_id": "a", "status": "ERROR", "started_at": 1, "ended_at": 5, "total_cost": 0.2}
    with opened(path) as database:
        apply(database, 1, ("add", "p", cost))
        apply(database, 2, ("add", "p", {**cost, "session_id": "b", "status": "COMPLETED", "ended_at": None}))
    lower_format(path, 8)
    with opened(path) as database:
        for sort_by in SessionSortBy:
            found, _ = Queries(database).sessions("p", TraceFilter(), EVERY, sort_by, SortOrder.DESC)
            assert [one["session_id"] for one in found] == expected(database, "p", sort_by, "", None)
        failed, _ = Queries(database).sessions(
            "p", TraceFilter(), EVERY, SessionSortBy.COST, SortOrder.DESC, has_error=True
        )
        assert [one["session_id"] for one in failed] == ["a"]


@pytest.mark.parametrize("sort_by", SessionSortBy)
def test_pages_of_sessions_follow_each_other(sort_by: SessionSortBy) -> None:
    """Pages contain each session once, and a page after the last is empty with the right total."""
    with opened() as database:
        for number in range(30):
            given = {"session_id": f"s{number % 13}", "status": "COMPLETED", "started_at": 0, "ended_at": number % 4}
            apply(database, number, ("add", "p", {**given, "total_cost": number % 3 / 10}))
        pages = [
            Queries(database).sessions("p", TraceFilter(), Slice(limit=4, offset=at), sort_by, SortOrder.ASC)
            for at in range(0, 20, 4)
        ]
        listed = [one["session_id"] for page, _ in pages for one in page]
        assert listed == expected(database, "p", sort_by, "", None)[::-1]
        assert {total for _, total in pages} == {13}
        assert pages[-1][0] == []
