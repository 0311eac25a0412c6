"""The cost of lists and searches depends only on the data of the searched project."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.local.models.fields import SortOrder
from pandaprobe_otel.local.models.traces import SessionSortBy, TraceCreate, TraceSortBy
from pandaprobe_otel.local.search.language import parse
from pandaprobe_otel.local.services import Services
from pandaprobe_otel.local.store.queries import Slice
from pandaprobe_otel.local.store.trace_filter import Search, TraceFilter

PAGE = Slice(limit=25, offset=0)
FEW, MANY = 20, 1500
STEPS_OF_VM = 100
"""The number of SQLite instructions between two calls of the handler below."""


def fill(services: Services, name: str, traces: int) -> str:
    """Store traces in a project with this name; return the project's id."""
    project = services.accounts.project_named(services.accounts.home.id, name)
    now = datetime.now(UTC)
    with services.database.write() as connection:
        services.accounts.keep(project, connection)
        for number in range(traces):
            span = {"span_id": str(uuid4()), "name": f"step {number}", "started_at": now, "input": f"asked {number}"}
            body = {
                "trace_id": str(uuid4()), "name": f"run {number}", "started_at": now, "session_id": f"s{number}",
                "user_id": f"u{number % 3}",
                "input": "a question", "output": "an answer", "tags": ["t"], "spans": [span],
            }  # fmt: skip
            services.traces.save(connection, project.id, TraceCreate.model_validate(body), now=services.now())
    return project.id


@contextmanager
def counted(services: Services) -> Generator[list[int]]:
    """Count SQLite's instructions within the block, in hundreds."""
    count = [0]

    def tick() -> int:
        count[0] += 1
        return 0

    with services.database.read() as connection:
        connection.set_progress_handler(tick, STEPS_OF_VM)
        try:
            yield count
        finally:
            connection.set_progress_handler(None, 0)


def searching(text: str) -> TraceFilter:
    """Return the filter of a search."""
    return TraceFilter(search=Search(query=parse(text).query, now=0))


LOOKS: dict[str, Callable[[Services, str], Any]] = {
    "search": lambda services, project: traces(services, project, searching("question")),
    "search in spans": lambda services, project: traces(services, project, searching('"asked 7"')),
    "search for nothing": lambda services, project: traces(services, project, searching("zebra")),
    "list": lambda services, project: traces(services, project, TraceFilter()),
    "tags": lambda services, project: traces(services, project, TraceFilter(tags=("t",))),
    "sessions": lambda services, project: services.queries.sessions(
        project, TraceFilter(), PAGE, SessionSortBy.RECENT, SortOrder.DESC
    ),
}


def traces(services: Services, project: str, wanted: TraceFilter) -> Any:
    """Return one page of traces, the newest first."""
    return services.queries.traces(project, wanted, PAGE, TraceSortBy.STARTED_AT, SortOrder.DESC)


@pytest.fixture(scope="module")
def cost() -> Generator[Callable[[str], tuple[int, int]]]:
    """Yield a function that returns the cost of a request in a small project, alone and beside a large, newer one."""
    with LocalServer(limit=None) as alone, LocalServer(limit=None) as beside:
        # Traces are sealed here, because the threads might seal some while instructions are counted.
        alone.services.sealer.stop(60)
        beside.services.sealer.stop(60)
        small = fill(alone.services, "small", FEW), fill(beside.services, "small", FEW)
        fill(beside.services, "large", FEW)
        alone.services.sealer.seal_now()
        beside.services.sealer.seal_now()
        fill(beside.services, "large", MANY)

        def of(look: str) -> tuple[int, int]:
            found: list[int] = []
            for services, project in zip((alone.services, beside.services), small, strict=True):
                with counted(services) as count:
                    LOOKS[look](services, project)
                found.append(count[0])
            return found[0], found[1]

        yield of


@pytest.mark.parametrize("look", LOOKS)
def test_other_projects_cost_nothing(look: str, cost: Callable[[str], tuple[int, int]]) -> None:
    """A large project in the same store raises a small one's cost by at most a tenth and a few hundred instructions."""
    alone, beside = cost(look)

    assert alone > 0
    assert beside <= alone * 1.1 + 5, (alone, beside)


def test_a_session_costs_the_same_in_a_larger_project() -> None:
    """The summary of one session reads only its traces, however many the project has."""
    with LocalServer(limit=None) as server:
        services = server.services
        services.sealer.stop(60)
        costs: list[int] = []
        for number in (FEW, MANY):
            project = fill(services, f"of {number}", number)
            with counted(services) as count:
                assert services.queries.session(project, "s7") is not None
            costs.append(count[0])
    assert costs[1] <= 2 * costs[0] + 5
