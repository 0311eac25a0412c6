"""Iteration through a list while rows are added and deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from both_clients import Connect, rows_of
from pandaprobe_otel.api.models import TraceListItem
from pandaprobe_otel.api.paging import PageWalk
from pandaprobe_otel.api.resources import traces
from pandaprobe_otel.errors import InvalidRequest
from pandaprobe_otel.transport.request_outcome import Answer, Request
from scripted_api import ScriptedApi
from simulated_calls import Simulation, answer


def row(number: int) -> dict[str, Any]:
    """Return a trace of a list, whose id is its number."""
    return {
        "trace_id": str(UUID(int=number)),
        "name": f"trace {number}",
        "status": "COMPLETED",
        "started_at": "2026-01-02T03:04:05+00:00",
    }


class ChangingList:
    """A list, newest first, that changes between requests."""

    def __init__(self, numbers: list[int], change: Callable[[list[int], int], None]) -> None:
        self.numbers = numbers
        self._change = change
        self.requests = 0

    def serve(self, request: Request) -> Answer:
        """Serve one page of the list as it is now."""
        query = parse_qs(request.path.partition("?")[2])
        limit, offset = int(query["limit"][0]), int(query["offset"][0])
        if self.requests:
            self._change(self.numbers, self.requests)
        self.requests += 1
        page = [row(number) for number in self.numbers[offset : offset + limit]]
        return answer(200, {"items": page, "total": len(self.numbers), "limit": limit, "offset": offset})


def walk(rows: ChangingList, *, page_size: int) -> list[int]:
    """Return the numbers of all rows of an iteration, in order."""
    simulation = Simulation(rows.serve)
    found: PageWalk[TraceListItem] = PageWalk(
        simulation.connection, traces.LIST, query={}, key=lambda trace: trace.trace_id, page_size=page_size
    )
    numbers: list[int] = []
    while new := simulation.run(found.next_rows()):
        numbers += [trace.trace_id.int for trace in new]
    return numbers


def test_nothing_changes() -> None:
    """In an unchanged list each row comes once and in order, with one request per page."""
    rows = ChangingList(list(range(10, 0, -1)), lambda numbers, request: None)

    assert walk(rows, page_size=3) == list(range(10, 0, -1))
    assert rows.requests == 4


def test_rows_arrive_meanwhile() -> None:
    """Existing rows come exactly once although new ones push them down; new rows may be missing."""

    def arrive(numbers: list[int], request: int) -> None:
        numbers[:0] = [100 + 2 * request, 101 + 2 * request]

    assert walk(ChangingList(list(range(10, 0, -1)), arrive), page_size=3) == list(range(10, 0, -1))


def test_rows_are_deleted_as_they_are_read() -> None:
    """A loop that deletes each row it reads misses no row."""

    def delete_what_was_read(numbers: list[int], request: int) -> None:
        if request % 2:
            del numbers[:3]

    assert sorted(walk(ChangingList(list(range(12, 0, -1)), delete_what_was_read), page_size=3)) == list(range(1, 13))


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(0, 30),
    page_size=st.integers(1, 7),
    arriving=st.lists(st.integers(0, 5), max_size=40),
)
def test_whatever_arrives_each_row_comes_once(size: int, page_size: int, arriving: list[int]) -> None:
    """Each row comes once, for any number of new rows before each request."""
    fresh = iter(range(1000, 100_000))

    def arrive(numbers: list[int], request: int) -> None:
        count = arriving[request - 1] if request <= len(arriving) else 0
        numbers[:0] = [next(fresh) for _ in range(count)]

    there = list(range(size, 0, -1))
    found = walk(ChangingList([*there], arrive), page_size=page_size)

    assert [number for number in found if number < 1000] == there
    assert len(found) == len(set(found))


async def test_pages_are_requested_when_they_are_needed(connect: Connect) -> None:
    """No request is sent before the first row is read, nor for a page beyond the last row read."""
    pages = [[row(number) for number in range(first, first + 2)] for first in (1, 3, 5)]
    with ScriptedApi() as api:
        api.tell("GET /traces", *[{"items": page, "total": 6, "limit": 2, "offset": 0} for page in pages])
        rows = connect(api.url).traces.iter(page_size=2, session_id="s")
        before = len(api.asked)
        taken = await rows_of(rows, at_most=3)
        queries = [asked.query for asked in api.asked]
        if hasattr(rows, "aclose"):
            await rows.aclose()

    assert (before, len(taken)) == (0, 3)
    assert queries == ["session_id=s&limit=2&offset=0", "session_id=s&limit=2&offset=2"]


def test_the_memory_of_a_walk_is_bounded() -> None:
    """An iteration keeps a bounded number of ids, by which it recognises repeated rows."""
    size = 30_000
    simulation = Simulation(ChangingList(list(range(size, 0, -1)), lambda numbers, request: None).serve)
    found: PageWalk[TraceListItem] = PageWalk(
        simulation.connection, traces.LIST, query={}, key=lambda trace: trace.trace_id, page_size=200
    )
    count = 0
    while new := simulation.run(found.next_rows()):
        count += len(new)

    assert count == size
    assert len(found._seen) <= 10_000  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("page_size", [0, 201, -1])
def test_a_page_size_that_cannot_be_is_refused_at_once(page_size: int) -> None:
    """An invalid page size raises at the call, not at the first row."""
    with pytest.raises(InvalidRequest, match="page_size"):
        walk(ChangingList([], lambda numbers, request: None), page_size=page_size)
