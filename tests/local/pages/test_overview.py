"""The overview: its figures equal a count, and each drawn point equals the list it links to."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from uuid import UUID

import httpx
import pytest

from local_http import http_of
from pandaprobe_otel.local import LocalServer

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """Yield a server with two hundred traces over ten days."""
    with LocalServer(limit=None) as running:
        with http_of(running, "overview") as http:
            for number in range(200):
                http.post("/traces", json=_trace(number)).raise_for_status()
                for score in _scores(number):
                    http.post("/evaluations/trace-scores", json=score).raise_for_status()
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


def _overview(server: LocalServer, query: dict[str, str] | None = None) -> str:
    """Return the page of the overview."""
    return httpx.get(f"{server.url}/ui/overview", params=query, timeout=60).raise_for_status().text


def _listed(server: LocalServer, link: str) -> int:
    page = httpx.get(f"{server.url}{unescape(link)}", timeout=60).raise_for_status().text
    found = re.search(r'<h1>Traces <span class="count">([^<]*)</span>', page)
    assert found is not None
    return int(found[1].replace("\u202f", ""))


def test_the_figures_of_a_release_are_those_of_a_count(server: LocalServer) -> None:
    """A row has the number of traces and errors, the percentiles of their times, and their tokens."""
    page = _overview(server)
    with http_of(server, "overview") as http:
        traces = http.get("/traces", params={"limit": 200}).raise_for_status().json()["items"]
    for release in ("2.3", "2.4"):
        own = [trace for trace in traces if trace["release"] == release]
        times = sorted(trace["latency_ms"] / 1000 for trace in own)
        count, errors, p50, p95, tokens = re.findall(r"<td[^>]*>([^<]*)</td>", _rows(page, "release")[release])[:5]
        assert (int(count), int(errors)) == (len(own), sum(trace["status"] == "ERROR" for trace in own))
        assert [p50, p95] == [f"{times[math.ceil(share * len(own)) - 1]:.2f} s" for share in (0.5, 0.95)]
        assert float(tokens.rstrip("k")) == pytest.approx(sum(trace["total_tokens"] for trace in own) / 1000, abs=0.1)


def test_each_column_counts_the_traces_that_it_links_to(server: LocalServer) -> None:
    """A click on a point of a plot lists exactly the traces that the point counts."""
    page = _overview(server)
    columns = re.findall(r'<a href="([^"]+)" aria-label="[^"]*: (\d+) traces">', page)

    assert sum(int(count) for _, count in columns) == 200
    assert len(columns) > 30
    for link, count in columns[:: len(columns) // 6]:
        assert _listed(server, link) == int(count)


def test_each_column_of_scores_links_to_the_scored_traces(server: LocalServer) -> None:
    """A column shows the mean of the score that most traces have; its link lists the traces with this score."""
    page = _overview(server)
    columns = re.findall(r'<a href="([^"]+)" aria-label="[^"]*: odd score 0.9 \((\d+) traces\)">', page)

    assert sum(int(count) for _, count in columns) == 40
    assert {_listed(server, link) for link, _ in columns} == {int(count) for _, count in columns}
    assert page.count('<path class="line of-score-2"') == 1


ROWS_OF_PAGE = [
    ({}, "gpt-5", 100),
    ({}, "refund", 200),
    ({}, 'odd "model"', 100),
    ({}, "odd score", 40),
    ({"q": "release:2.3 OR error"}, "2.4", 10),
    ({"q": "(release:2.3 error) OR (release:2.4 error)"}, "odd score", 20),
]


@pytest.mark.parametrize(("query", "name", "traces"), ROWS_OF_PAGE)
def test_each_row_links_to_its_traces(server: LocalServer, query: dict[str, str], name: str, traces: int) -> None:
    """Each name links to the traces behind its figures, with any characters in the name and any search on the page."""
    page = _overview(server, query)
    link = next(href for href, text in re.findall(r'<td><a href="([^"]+)">([^<]*)</a>', page) if unescape(text) == name)

    assert _listed(server, link) == traces


def test_models_have_their_own_tokens_and_cost() -> None:
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
    with LocalServer(limit=None) as server, http_of(server, "models") as http:
        for call in spans:
            body = {"trace_id": str(UUID(int=9)), "name": "a", "started_at": started, "spans": [call]}
            http.post("/traces", json=body).raise_for_status()
            page = _overview(server)  # once more for each change

    cells = {name: re.findall(r"<td[^>]*>([^<]*)</td>", row)[-2:] for name, row in _rows(page, "model").items()}
    assert cells == {"large": ["1\u202f000", "$3.00"], "small": ["250", "$0.75"]}


def _rows(page: str, group: str) -> dict[str, str]:
    """Return the rows of a group of the overview, by name."""
    table = page.partition(f"<h2>By {group}</h2>")[2].partition("</table>")[0]
    return {unescape(name): row for row, name in re.findall(r"(<tr><td><a href=[^>]*>([^<]*)</a>.*?</tr>)", table)}


def test_every_value_of_a_line_is_drawn(server: LocalServer) -> None:
    """Each run of values is one part of the path, with a length: a browser draws nothing for a single point."""
    (single,), (whole,) = (
        re.findall(rf'<path class="line of-{kind}" d="([^"]*)"', _overview(server)) for kind in ("score-2", "p50")
    )
    parts = single.split("M")[1:]

    assert len(parts) == 20
    assert all(re.search(r"h[1-9]\d*\.\d$", part) for part in parts if "L" not in part)
    assert (whole.count("M"), whole.count("L"), whole.count("h")) == (1, 44, 0)


def test_a_search_narrows_all_plots(server: LocalServer) -> None:
    """One search applies to every figure, and an invalid search is reported."""
    page = _overview(server, {"q": "release:2.4 error"})
    wrong = _overview(server, {"q": "latency>x"})

    assert "<b>10</b><span>traces</span>" in page
    assert "<b>100.0 %</b><span>errors</span>" in page
    assert "The search could not be read." in wrong
