"""The overview: its figures equal a slow count, and each drawn point equals the list it links to."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from itertools import groupby
from typing import Any, TypeAlias
from uuid import UUID

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.local.injected_faults import Faults
from pandaprobe_otel.local.pages.charts import line_of
from pandaprobe_otel.local.search.language import All
from pandaprobe_otel.local.services import build_services
from pandaprobe_otel.local.settings import LocalSettings
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.overview_figures import BUCKETS, Figures, Overview
from pandaprobe_otel.local.store.trace_filter import Search, TraceFilter

START = datetime(2026, 1, 1, tzinfo=UTC)


Row: TypeAlias = tuple[int, int | None, str, int]
"""Start, duration, status and tokens of a trace; its cost and its release follow from the tokens."""
ROWS = st.lists(
    st.tuples(
        st.integers(0, 10_000),
        st.none() | st.integers(-5, 5_000),
        st.sampled_from(["COMPLETED", "ERROR"]),
        st.integers(0, 50),
    ),
    min_size=1,
    max_size=40,
)


def release(tokens: int) -> str | None:
    """Return the release of a trace with this number of tokens."""
    return f"r{tokens % 3}" if tokens else None


def scores(tokens: int) -> dict[str, float | None]:
    """Return the scores of a trace with so many tokens. One has no number, as a failed evaluation leaves it."""
    if tokens % 4 == 0:
        return {}
    return {"quality": tokens / 50, "balance": None if tokens % 7 == 0 else 1 - tokens / 50}


def overview(rows: list[Row], sealed: int, until: int) -> Overview:
    """Store traces, seal the first `sealed` of them, and return the overview of all."""
    database = Database()
    services = build_services(LocalSettings(), database, Faults())
    project = services.accounts.add_project(services.accounts.home.id, "p", "")
    try:
        for number, (start, took, status, tokens) in enumerate(rows):
            if number == sealed:
                services.sealer.seal_now()
            with database.write() as connection:
                seq = connection.execute(
                    "INSERT INTO traces (trace_id, project_id, status, started_at, ended_at, created_at, total_tokens,"
                    " total_cost, name, folded_name, release, tags) VALUES (?, ?, ?, ?, ?, 0, ?, ?, '', '', ?, '[]')",
                    (
                        str(number),
                        project.id,
                        status,
                        start,
                        None if took is None else start + took,
                        tokens,
                        tokens / 1000,
                        release(tokens),
                    ),
                ).lastrowid
                connection.execute("INSERT INTO trace_payloads VALUES (?, '{}', NULL, NULL)", (seq,))
                for name, value in scores(tokens).items():
                    connection.execute(
                        "INSERT INTO latest_scores VALUES (?, ?, ?, ?, ?)", (project.id, name, seq, seq, value)
                    )
        wanted = TraceFilter(search=Search(query=All(()), now=0), after=0)
        found = services.queries.overview(project.id, wanted, until)
    finally:
        services.close(5)
        database.close()
    assert found is not None
    return found


@given(ROWS, st.integers(0, 40), st.integers(1, 4000))
@settings(max_examples=25)
def test_the_figures_are_those_of_a_slow_count(rows: list[Row], sealed: int, more: int) -> None:
    """Columns add up to the total; a percentile is the time of a trace, and its share of the traces took no longer."""
    found = overview(rows, sealed, max(start for start, *_ in rows) + more)

    assert len(found.buckets) == BUCKETS
    assert sum(bucket.figures.count for bucket in found.buckets) == found.total.count == len(rows)
    for bucket in found.buckets:
        last = bucket is found.buckets[-1]
        _check(bucket.figures, [row for row in rows if bucket.start <= row[0] and (row[0] < bucket.end or last)])
    _check(found.total, rows)
    for group in found.groups["release"]:
        _check(group.figures, [row for row in rows if release(row[3]) == group.name])
    assert {group.name for group in found.groups["release"]} == {release(row[3]) for row in rows} - {None}
    _check_scores(found, rows)


def _check_scores(found: Overview, rows: list[Row]) -> None:
    every = [(name, start, value) for start, _, _, tokens in rows for name, value in scores(tokens).items()]
    known = [(name, start, value) for name, start, value in every if value is not None]
    assert {score.name for score in found.scores} == {name for name, _, _ in known}
    for score in found.scores:
        mine = [(start, value) for name, start, value in known if name == score.name]
        values = [value for _, value in mine]
        assert (score.count, score.lowest, score.highest) == (len(mine), min(values), max(values))
        assert score.mean == pytest.approx(sum(values) / len(values))
        for bucket, mean, count in zip(found.buckets, score.means, score.counts, strict=True):
            last = bucket is found.buckets[-1]
            here = [value for start, value in mine if bucket.start <= start and (start < bucket.end or last)]
            assert count == len(here)
            assert mean == (pytest.approx(sum(here) / len(here)) if here else None)


def _check(figures: Figures, rows: list[Row]) -> None:
    assert figures.count == len(rows)
    assert figures.errors == sum(status == "ERROR" for _, _, status, _ in rows)
    assert figures.tokens == sum(tokens for *_, tokens in rows)
    assert figures.cost == pytest.approx(sum(tokens / 1000 for *_, tokens in rows))
    times = sorted(took / 1000 for _, took, _, _ in rows if took is not None and took >= 0)
    for share, value in ((0.5, figures.p50_ms), (0.95, figures.p95_ms)):
        assert value == (times[max(math.ceil(share * len(times)) - 1, 0)] if times else None)


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """Yield a server with two hundred traces over ten days."""
    with LocalServer(limit=None) as running:
        headers = {"X-API-Key": running.api_key, "X-Project-Name": "overview"}
        with httpx.Client(base_url=running.url, headers=headers) as http:
            for number in range(200):
                http.post("/traces", json=_trace(number)).raise_for_status()
                for score in _scores(number):
                    http.post("/evaluations/trace-scores", json=score).raise_for_status()
                if number == 120:
                    running.services.sealer.seal_now()
        yield running


def _trace(number: int) -> dict[str, Any]:
    started = START + timedelta(hours=1.2 * number)
    ended = (started + timedelta(seconds=1 + number % 7)).isoformat()
    model = {
        "span_id": str(UUID(int=2 * number + 1)),
        "name": "chat",
        "kind": "LLM",
        "model": ("gpt-5", 'odd "model"')[number % 2],
        "status": "ERROR" if number % 10 == 0 else "OK",
        "started_at": started.isoformat(),
        "ended_at": ended,
        "completion_start_time": (started + timedelta(seconds=0.25)).isoformat(),
        "token_usage": {"prompt_tokens": number, "completion_tokens": 1},
    }
    tool = {**model, "span_id": str(UUID(int=2 * number + 2)), "name": "refund", "kind": "TOOL", "model": None}
    agent = {**model, "span_id": str(UUID(int=10_000 + number)), "name": "planner", "kind": "AGENT", "model": None}
    return {
        "trace_id": str(UUID(int=number + 1)),
        "name": "shop",
        "status": "ERROR" if number % 10 == 0 else "COMPLETED",
        "started_at": started.isoformat(),
        "ended_at": ended,
        "release": ("2.3", "2.4")[number >= 100],
        "spans": [model, tool, agent][: 2 + number % 2],
    }


def _scores(number: int) -> list[dict[str, Any]]:
    """Return the scores of a trace: one on every fifth, which is good, and one more on every tenth, which is bad."""
    named = ([("odd score", "0.9")] if number % 5 == 0 else []) + ([("mood", "0")] if number % 10 == 0 else [])
    return [
        {"trace_id": str(UUID(int=number + 1)), "name": name, "value": value, "data_type": "NUMERIC"}
        for name, value in named
    ]


def _listed(server: LocalServer, link: str) -> int:
    page = httpx.get(f"{server.url}{unescape(link)}").raise_for_status().text
    found = re.search(r'<h1>Traces <span class="count">([^<]*)</span>', page)
    assert found is not None
    return int(found[1].replace("\u202f", ""))


def test_each_column_counts_the_traces_that_it_links_to(server: LocalServer) -> None:
    """A click on a point of a plot lists exactly the traces that the point counts."""
    page = httpx.get(f"{server.url}/ui/overview").raise_for_status().text
    columns = re.findall(r'<a href="([^"]+)" aria-label="[^"]*: (\d+) traces">', page)

    assert sum(int(count) for _, count in columns) == 200
    assert len(columns) > 30
    for link, count in columns[:: len(columns) // 6]:
        assert _listed(server, link) == int(count)


def test_each_column_of_scores_links_to_the_scored_traces(server: LocalServer) -> None:
    """A column shows the mean of the score that most traces have; its link lists the traces with this score."""
    page = httpx.get(f"{server.url}/ui/overview").raise_for_status().text
    columns = re.findall(r'<a href="([^"]+)" aria-label="[^"]*: odd score 0.9 \((\d+) traces\)">', page)

    assert sum(int(count) for _, count in columns) == 40
    assert {_listed(server, link) for link, _ in columns} == {int(count) for _, count in columns}
    assert page.count('<path class="line of-score-2"') == 1


ROWS_OF_PAGE = [
    ({}, "gpt-5", 100),
    ({}, "refund", 200),
    ({}, "planner", 100),
    ({}, "2.4", 100),
    ({}, 'odd "model"', 100),
    ({}, "odd score", 40),
    ({}, "mood", 20),
    ({"q": "release:2.3 OR error"}, "2.4", 10),
    ({"q": "(release:2.3 OR error)"}, "mood", 20),
    ({"q": "(release:2.3 error) OR (release:2.4 error)"}, "odd score", 20),
]


@pytest.mark.parametrize(("query", "name", "traces"), ROWS_OF_PAGE)
def test_each_row_links_to_its_traces(server: LocalServer, query: dict[str, str], name: str, traces: int) -> None:
    """Each name links to the traces behind its figures, with any characters in the name and any search on the page."""
    page = httpx.get(f"{server.url}/ui/overview", params=query).raise_for_status().text
    link = next(href for href, text in re.findall(r'<td><a href="([^"]+)">([^<]*)</a>', page) if unescape(text) == name)

    assert _listed(server, link) == traces


def test_a_row_of_a_range_links_to_its_traces_within_the_range() -> None:
    """The link contains the range itself, because the list has no filter for a month."""
    now = datetime.now(UTC)
    with LocalServer(limit=None) as server:
        headers = {"X-API-Key": server.api_key, "X-Project-Name": "recent"}
        for number, age in enumerate((1, 20, 40)):
            moments = {"started_at": (now - timedelta(days=age)).isoformat(), "ended_at": now.isoformat()}
            body = {**_trace(number), **moments, "spans": []}
            httpx.post(f"{server.url}/traces", json=body, headers=headers).raise_for_status()
        page = httpx.get(f"{server.url}/ui/overview", params={"within": "month"}).raise_for_status().text
        [link] = re.findall(r'<td><a href="([^"]+)">2.3</a>', page)
        assert _listed(server, link) == 2


@pytest.mark.parametrize("sealed", [False, True])
def test_models_have_their_own_tokens_and_cost(sealed: bool) -> None:
    """In a trace with several models, each has the sums of its own calls, which add up to those of the trace."""
    started = START.isoformat()
    calls = [("large", 1000, 3.0), ("small", 200, 0.5), ("small", 50, 0.25)]
    spans: list[dict[str, Any]] = [
        {
            "span_id": str(UUID(int=number + 1)),
            "name": "chat",
            "kind": "LLM",
            "model": model,
            "started_at": started,
            "token_usage": {"prompt_tokens": tokens},
            "cost": {"total": cost},
        }
        for number, (model, tokens, cost) in enumerate(calls)
    ]
    with LocalServer(limit=None) as server:
        headers = {"X-API-Key": server.api_key, "X-Project-Name": "models"}
        body = {"trace_id": str(UUID(int=1)), "name": "a", "started_at": started, "spans": spans}
        httpx.post(f"{server.url}/traces", json=body, headers=headers).raise_for_status()
        if sealed:
            server.services.sealer.seal_now()
        page = httpx.get(f"{server.url}/ui/overview").raise_for_status().text

    cells = {name: re.findall(r"<td[^>]*>([^<]*)</td>", row)[-2:] for name, row in _rows(page, "model").items()}
    assert cells == {"large": ["1\u202f000", "$3.00"], "small": ["250", "$0.75"]}


def _rows(page: str, group: str) -> dict[str, str]:
    """Return the rows of a group of the overview, by name."""
    table = page.partition(f"<h2>By {group}</h2>")[2].partition("</table>")[0]
    return {unescape(name): row for row, name in re.findall(r"(<tr><td><a href=[^>]*>([^<]*)</a>.*?</tr>)", table)}


@given(st.lists(st.none() | st.floats(0, 10), max_size=12))
def test_every_value_of_a_line_is_drawn(values: list[float | None]) -> None:
    """Each run of values is one part of the path, with a length: a browser draws nothing for a single point."""
    parts = [part for part in line_of(values, 10).split("M") if part]
    runs = [len(list(run)) for is_known, run in groupby(values, lambda value: value is not None) if is_known]

    assert [1 + part.count("L") for part in parts] == runs
    assert all("L" in part or float(part.partition("h")[2]) > 1 for part in parts)


def test_a_search_narrows_all_plots(server: LocalServer) -> None:
    """One search applies to every figure, and an invalid search is reported."""
    page = httpx.get(f"{server.url}/ui/overview", params={"q": "release:2.4 error"}).raise_for_status().text
    wrong = httpx.get(f"{server.url}/ui/overview", params={"q": "latency>x"}).raise_for_status().text

    assert "<b>10</b><span>traces</span>" in page
    assert "<b>100.0 %</b><span>errors</span>" in page
    assert "The search could not be read." in wrong
