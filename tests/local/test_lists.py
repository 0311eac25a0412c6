"""Lists over many traces: for any query plan of SQLite, the same traces come in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from pandaprobe_otel.local.models.fields import SortOrder
from pandaprobe_otel.local.models.traces import SessionSortBy, TraceSortBy
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.queries import Queries, Slice
from pandaprobe_otel.local.store.trace_filter import TraceFilter

TRACES = 1500
"""A number of traces that is too large for fetching each trace by itself."""
START = 1_767_000_000_000_000


@pytest.fixture(scope="module")
def queries() -> Iterator[Queries]:
    """Yield queries of traces, where trace n started n microseconds before the first.

    Every trace has the tag `all`, each 500th trace the tag `few`, and each second trace the tag `half`.
    """
    database = Database()
    with database.write() as connection:
        connection.execute("INSERT INTO organizations VALUES ('o', 'o', 'free', 0, 's', 0, 0, 0, 0, 0)")
        connection.executemany("INSERT INTO projects VALUES (?, 'o', ?, '', 0)", [("p", "p"), ("other", "other")])
        for number in range(TRACES):
            project = "other" if number % 3 == 2 else "p"
            seq = connection.execute(
                "INSERT INTO traces (trace_id, project_id, status, started_at, ended_at, created_at, session_id,"
                " user_id, name, folded_name, tags) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'n', 'n', '[]')",
                (
                    str(UUID(int=number)),
                    project,
                    "ERROR" if number % 7 == 0 else "COMPLETED",
                    START - number,
                    START,
                    number,
                    f"session-{number * 31 % 101}",
                    f"user-{number % 5}",
                ),
            ).lastrowid
            tags = ["all", *(["few"] if number % 500 == 0 else []), *(["half"] if number % 2 else [])]
            connection.executemany("INSERT INTO trace_tags VALUES (?, ?, ?)", [(project, tag, seq) for tag in tags])
    yield Queries(database)
    database.close()


def numbers(queries: Queries, wanted: TraceFilter, limit: int = TRACES, offset: int = 0) -> tuple[list[int], int]:
    """Return the numbers of the listed traces, and the total."""
    rows, total = queries.traces("p", wanted, Slice(limit=limit, offset=offset), TraceSortBy.STARTED_AT, SortOrder.DESC)
    return [UUID(row["trace_id"]).int for row in rows], total


@pytest.mark.parametrize(
    ("tags", "matching"),
    [
        (("all",), [n for n in range(TRACES) if n % 3 != 2]),
        (("few",), [n for n in range(TRACES) if n % 3 != 2 and n % 500 == 0]),
        (("few", "half"), [n for n in range(TRACES) if n % 3 != 2 and (n % 500 == 0 or n % 2)]),
        (("all", "few", "all"), [n for n in range(TRACES) if n % 3 != 2]),
        (("none",), []),
    ],
    ids=["all", "few", "two", "repeated", "none"],
)
def test_traces_with_any_of_the_tags_are_listed_and_counted_once(
    queries: Queries, tags: tuple[str, ...], matching: list[int]
) -> None:
    """A trace with several of the tags is listed and counted once, whichever index SQLite uses."""
    assert numbers(queries, TraceFilter(tags=tags)) == (matching, len(matching))
    assert numbers(queries, TraceFilter(tags=tags), limit=3, offset=1) == (matching[1:4], len(matching))


def test_tags_and_other_filters_hold_together(queries: Queries) -> None:
    """A list can be limited to traces that have a tag, a user and a status."""
    for tag in ("all", "few"):
        matching = [
            n for n in range(TRACES) if n % 3 != 2 and n % 7 == 0 and n % 5 == 0 and (tag == "all" or n % 500 == 0)
        ]
        wanted = TraceFilter(tags=(tag,), status="ERROR", user_id="user-0")
        assert numbers(queries, wanted) == (matching, len(matching))


@pytest.mark.parametrize("order", SortOrder)
@pytest.mark.parametrize("wanted", [TraceFilter(), TraceFilter(status="COMPLETED"), TraceFilter(user_id="u")])
def test_traces_are_listed_by_latency(order: SortOrder, wanted: TraceFilter) -> None:
    """Pages follow each other by latency, then by arrival. Running traces come first in descending order."""
    database = Database()
    with database.write() as connection:
        connection.execute("INSERT INTO organizations VALUES ('o', 'o', 'free', 0, 's', 0, 0, 0, 0, 0)")
        connection.execute("INSERT INTO projects VALUES ('p', 'o', 'p', '', 0)")
        took = [None if number % 5 == 0 else number * 7 % 11 - 2 for number in range(40)]
        connection.executemany(
            "INSERT INTO traces (trace_id, project_id, status, started_at, ended_at, created_at, user_id, name,"
            " folded_name, tags) VALUES (?, 'p', 'COMPLETED', 100, 100 + ?, 0, 'u', 'n', 'n', '[]')",
            [(str(UUID(int=number)), one) for number, one in enumerate(took)],
        )
    by_latency = sorted(range(40), key=lambda number: (took[number] is None, took[number] or 0, number))
    expected = by_latency if order is SortOrder.ASC else by_latency[::-1]
    listed: list[int] = []
    for offset in range(0, 44, 4):
        rows, total = Queries(database).traces("p", wanted, Slice(limit=4, offset=offset), TraceSortBy.LATENCY, order)
        listed += [UUID(row["trace_id"]).int for row in rows]
        assert total == 40
    database.close()
    assert listed == expected


def test_the_newest_sessions_are_those_whose_last_trace_came_last(queries: Queries) -> None:
    """Sessions are ordered by their latest trace; a filter that excludes nothing returns the same page."""
    newest = list(dict.fromkeys(f"session-{n * 31 % 101}" for n in reversed(range(TRACES)) if n % 3 != 2))
    for wanted in (TraceFilter(), TraceFilter(tags=("all",)), TraceFilter(after=0)):
        found, total = queries.sessions("p", wanted, Slice(limit=7, offset=3), SessionSortBy.RECENT, SortOrder.DESC)
        assert ([session["session_id"] for session in found], total) == (newest[3:10], 101)
    found, total = queries.sessions(
        "p", TraceFilter(), Slice(limit=7, offset=200), SessionSortBy.RECENT, SortOrder.DESC
    )
    assert (found, total) == ([], 101)
