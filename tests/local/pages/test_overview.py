"""The overview: figures against a slow count, and each drawn point against the list it links to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.local.pages.overview_figures import BUCKETS, overview_of

START = datetime(2026, 1, 1, tzinfo=UTC)


def _row(at: int, took: int | None, status: str, tokens: int) -> dict[str, Any]:
    return {
        "started_at": at,
        "ended_at": None if took is None else at + took,
        "status": status,
        "tokens": tokens,
        "cost": tokens / 1000,
        "release": f"r{tokens % 3}" if tokens else None,
        "environment": None,
    }


ROWS = st.lists(
    st.builds(
        _row,
        st.integers(0, 10_000),
        st.none() | st.integers(0, 5_000),
        st.sampled_from(["COMPLETED", "ERROR"]),
        st.integers(0, 50),
    ),
    min_size=1,
    max_size=80,
)


@given(ROWS, st.integers(1, 4000))
def test_no_trace_is_lost_between_the_columns(rows: list[dict[str, Any]], more: int) -> None:
    """The columns add up to the whole, and each trace stands in the column of its start."""
    end = max(row["started_at"] for row in rows) + more
    overview = overview_of(rows, [], 0, end)

    assert len(overview.buckets) == BUCKETS
    for bucket in overview.buckets[:-1]:
        mine = [row for row in rows if bucket.start <= row["started_at"] < bucket.end]
        assert bucket.figures.count == len(mine)
        assert bucket.figures.errors == sum(row["status"] == "ERROR" for row in mine)
    assert sum(bucket.figures.count for bucket in overview.buckets) == overview.total.count == len(rows)
    assert sum(bucket.figures.tokens for bucket in overview.buckets) == sum(row["tokens"] for row in rows)
    assert sum(group.figures.count for group in overview.groups["release"]) == sum(row["tokens"] > 0 for row in rows)


@given(ROWS)
def test_percentiles_are_values_that_occurred(rows: list[dict[str, Any]]) -> None:
    """Half of the traces took no longer than p50, nineteen of twenty no longer than p95."""
    figures = overview_of(rows, [], 0, 10_001).total
    times = [(row["ended_at"] - row["started_at"]) / 1000 for row in rows if row["ended_at"] is not None]

    for share, found in ((0.5, figures.p50_ms), (0.95, figures.p95_ms)):
        if not times:
            assert found is None
            continue
        assert found in times
        assert sum(time <= found for time in times) >= share * len(times)
        assert sum(time < found for time in times) < share * len(times) or found == min(times)


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """Two hundred traces over ten days."""
    with LocalServer(limit=None) as running:
        headers = {"X-API-Key": running.api_key, "X-Project-Name": "overview"}
        with httpx.Client(base_url=running.url, headers=headers) as http:
            for number in range(200):
                http.post("/traces", json=_trace(number)).raise_for_status()
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
    return {
        "trace_id": str(UUID(int=number + 1)),
        "name": "shop",
        "status": "ERROR" if number % 10 == 0 else "COMPLETED",
        "started_at": started.isoformat(),
        "ended_at": ended,
        "release": ("2.3", "2.4")[number >= 100],
        "spans": [model, tool],
    }


def _listed(server: LocalServer, link: str) -> int:
    page = httpx.get(f"{server.url}{unescape(link)}").raise_for_status().text
    found = re.search(r'<h1>Traces <span class="count">([^<]*)</span>', page)
    assert found is not None
    return int(found[1].replace("\u202f", ""))


def test_each_column_counts_the_traces_that_it_links_to(server: LocalServer) -> None:
    """Whoever clicks on a point sees what it is made of."""
    page = httpx.get(f"{server.url}/ui/overview").raise_for_status().text
    columns = re.findall(r'<a href="([^"]+)" aria-label="[^"]*: (\d+) traces">', page)

    assert sum(int(count) for _, count in columns) == 200
    assert len(columns) > 30
    for link, count in columns[:: len(columns) // 6]:
        assert _listed(server, link) == int(count)


@pytest.mark.parametrize(("name", "traces"), [("gpt-5", 100), ("refund", 200), ("2.4", 100), ('odd "model"', 100)])
def test_each_row_links_to_its_traces(server: LocalServer, name: str, traces: int) -> None:
    """Models, tools and releases lead to the traces behind their figures, whatever stands in their names."""
    page = httpx.get(f"{server.url}/ui/overview").raise_for_status().text
    link = next(href for href, text in re.findall(r'<td><a href="([^"]+)">([^<]*)</a>', page) if unescape(text) == name)

    assert _listed(server, link) == traces


def test_a_search_narrows_all_plots(server: LocalServer) -> None:
    """One filter holds for every figure, and what cannot be read is said."""
    page = httpx.get(f"{server.url}/ui/overview", params={"q": "release:2.4 error"}).raise_for_status().text
    wrong = httpx.get(f"{server.url}/ui/overview", params={"q": "latency>x"}).raise_for_status().text

    assert "<b>10</b><span>traces</span>" in page
    assert "<b>100.0 %</b><span>errors</span>" in page
    assert "The search could not be read." in wrong
