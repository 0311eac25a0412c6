"""A failed request leaves nothing in memory or in the database, whatever requests come before and after it.

Values that make the real server (0.5.0) lose data or fail get status 422, with the name of the field.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from itertools import count
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_http import http_of
from pandaprobe_otel.local import LocalServer

PROJECTS = ("first", "second", "third")
START = "2026-01-01T00:00:00Z"
Sent = Callable[[httpx.Client, str, int], httpx.Response]


def trace(http: httpx.Client, project: str, number: int, **fields: Any) -> httpx.Response:
    """POST one trace; a field given as bytes is raw JSON."""
    body = {"trace_id": str(UUID(int=number + 1)), "name": "t", "started_at": START, "spans": [], **fields}
    parts = (f"{json.dumps(key)}: {json_text(value)}" for key, value in body.items())
    content = "{" + ", ".join(parts) + "}"
    sent = {"X-Project-Name": project, "Content-Type": "application/json"}
    return http.post("/traces", content=content, headers=sent)


def json_text(value: Any) -> str:
    """Return the value as JSON."""
    return value.decode() if isinstance(value, bytes) else json.dumps(value)


def span(number: int, **fields: Any) -> dict[str, Any]:
    """Return the body of one span."""
    return {"span_id": str(UUID(int=number + 1)), "name": "s", "started_at": START, **fields}


def named(method: str, path: str, body: Any) -> Sent:
    """Return a function that sends a request for a project."""
    return lambda http, project, number: http.request(
        method, path.format(trace=UUID(int=number + 1)), json=body, headers={"X-Project-Name": project}
    )


DEEP = b"[" * 300 + b"]" * 300
GOOD: dict[str, Sent] = {
    "trace": trace,
    "trace with spans": lambda http, project, number: trace(http, project, number, spans=[span(number)]),
    "monitor": named(
        "POST",
        "/evaluations/monitors",
        {"name": "m", "target_type": "TRACE", "metrics": ["confidence"], "cadence": "daily"},
    ),
}
BAD: dict[str, Sent] = {
    "too deep": lambda http, project, number: trace(http, project, number, input=DEEP),
    "too deep in a span": lambda http, project, number: trace(
        http, project, number, spans=[span(number)], metadata=b'{"a":' + DEEP + b"}"
    ),
    "no number that is stored": lambda http, project, number: trace(
        http, project, number, spans=[span(number, token_usage={"prompt_tokens": 10**30})]
    ),
    "no name": lambda http, project, number: trace(http, project, number, name=""),
    "no kind": lambda http, project, number: trace(http, project, number, spans=[span(number, kind="THING")]),
    "no JSON": lambda http, project, number: trace(http, project, number, input=b"{"),
    "spans of nothing": named("POST", "/traces/{trace}/spans", [span(1)]),
    "change of nothing": named("PATCH", "/traces/{trace}", {"name": "x"}),
    "score of nothing": named(
        "POST", "/evaluations/trace-scores", {"trace_id": str(UUID(int=1 << 100)), "name": "n", "value": "1"}
    ),
    "monitor without cadence": named(
        "POST",
        "/evaluations/monitors",
        {"name": "m", "target_type": "TRACE", "metrics": ["confidence"], "cadence": "x"},
    ),
}
STEPS = st.lists(st.tuples(st.sampled_from([*GOOD, *BAD]), st.sampled_from(PROJECTS)), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def pair() -> Generator[tuple[httpx.Client, httpx.Client]]:
    """Yield two clients: one server gets all requests, the other only the successful ones among them."""
    with (
        LocalServer(limit=None) as every,
        LocalServer(limit=None) as only_good,
        http_of(every, Authorization="Bearer any") as all_of_them,
        http_of(only_good, Authorization="Bearer any") as good_ones,
    ):
        yield all_of_them, good_ones


_runs = count()


@settings(max_examples=30, deadline=None)
@given(steps=STEPS)
def test_after_any_requests_the_server_is_as_if_the_failed_ones_had_not_been(
    pair: tuple[httpx.Client, httpx.Client], steps: list[tuple[str, str]]
) -> None:
    """No answer is a server error, and all counts and lists equal those after the successful requests alone."""
    all_of_them, good_ones = pair
    run = next(_runs)  # the servers stay, so each run has its own projects and traces
    for number, (kind, project) in enumerate(steps, start=run * 100):
        answer = {**GOOD, **BAD}[kind](all_of_them, f"{project} {run}", number)
        assert answer.status_code < 500, (kind, answer.text)
        assert answer.is_success == (kind in GOOD), (kind, answer.text)
        if kind in GOOD:
            GOOD[kind](good_ones, f"{project} {run}", number).raise_for_status()
    assert state(all_of_them, f" {run}") == state(good_ones, f" {run}")


def state(http: httpx.Client, ending: str) -> dict[str, Any]:
    """Return the data of projects whose names have this ending, without generated ids and times."""
    organization = http.get("/organizations").json()[0]["id"]
    projects = sorted(one["name"] for one in http.get(f"/organizations/{organization}/projects").json())
    projects = [name for name in projects if name.endswith(ending)]
    listed = {name: http.get("/traces", headers={"X-Project-Name": name}).json() for name in projects}
    used = http.get(f"/organizations/{organization}/subscriptions/usage").json()
    return {
        "projects": projects,
        "traces": {name: sorted(item["trace_id"] for item in page["items"]) for name, page in listed.items()},
        "used": {key: value for key, value in used.items() if "period" not in key},
    }


ONE, SPAN = str(UUID(int=1)), str(UUID(int=11))
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server() -> Generator[LocalServer]:
    """Yield a server."""
    with LocalServer(limit=None) as running:
        yield running


@pytest.fixture
def http(server: LocalServer) -> Generator[httpx.Client]:
    """Yield a client of a project without traces."""
    with http_of(server, **JSON) as made:
        yield made
        made.delete(f"/traces/{ONE}")


def _trace(**fields: Any) -> dict[str, Any]:
    return {"trace_id": ONE, "name": "t", "started_at": START, **fields}


def _span(**fields: Any) -> dict[str, Any]:
    return {"span_id": SPAN, "name": "s", "started_at": START, **fields}


def _refused(answer: httpx.Response) -> str:
    assert answer.status_code == 422, answer.text
    errors = answer.json()["errors"]
    assert errors[0]["message"]
    field: str = errors[0]["field"]
    return field


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('"input": "a\\u0000b"', "input"),
        ('"input": {"deep": ["x", {"k\\u0000": 1}]}', "input -> deep -> 1"),
        ('"metadata": {"k": "\\ud800"}', "metadata -> k"),
        ('"tags": ["\\uDFFF"]', "tags -> 0"),
        ('"user_id": "\\ud800"', "user_id"),
        ('"ended_at": "0001-01-01T00:00:00+14:00"', "ended_at"),
        ('"spans": [{"name": "s", "started_at": "2026-01-02", "error": "\\u0000"}]', "spans -> 0 -> error"),
    ],
)
def test_text_that_would_lose_the_trace(http: httpx.Client, body: str, field: str) -> None:
    """A NUL or lone surrogate anywhere is refused, and the error names the field."""
    raw = b'{"name": "t", "started_at": "2026-01-02", "input": "\xed\xa0\x80"}'
    assert _refused(http.post("/traces", content=raw)) == "input"
    content = f'{{"name": "t", "started_at": "{START}", {body}}}'
    assert _refused(http.post("/traces", content=content)) == field
    assert http.get("/traces").json()["total"] == 0


def test_escaped_pairs_and_backslashes_are_text(http: httpx.Client) -> None:
    """A surrogate pair is a character, and an escaped backslash before `u0000` is a backslash."""
    content = f'{{"trace_id": "{ONE}", "name": "t", "started_at": "{START}", "input": "\\ud83d\\udc3c \\\\u0000"}}'
    assert http.post("/traces", content=content).status_code == 202
    assert http.get(f"/traces/{ONE}").json()["input"] == "\U0001f43c \\u0000"


@pytest.mark.parametrize("cost", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_costs_that_would_lose_the_trace(http: httpx.Client, cost: str) -> None:
    """A cost that is not a finite number is refused."""
    span = f'{{"name": "s", "started_at": "{START}", "cost": {{"total": {cost}}}}}'
    answer = http.post("/traces", content=f'{{"name": "t", "started_at": "{START}", "spans": [{span}]}}')
    assert _refused(answer) == "spans -> 0 -> cost -> total"


@pytest.mark.parametrize("tokens", [10.5, 10.0, "abc", "", True, {}, [], 2**31, -(2**31) - 1])
def test_token_counts_that_would_poison_the_project(http: httpx.Client, tokens: Any) -> None:
    """A token count that the real server's SQL cannot read is refused."""
    answer = http.post("/traces", json=_trace(spans=[_span(token_usage={"completion_tokens": tokens})]))
    assert _refused(answer) == "spans -> 0 -> token_usage"
    assert "completion_tokens" in answer.json()["errors"][0]["message"]


def test_token_counts_that_are_safe(http: httpx.Client) -> None:
    """Integers, null, digits as text and any other key of the usage are stored."""
    usage: dict[str, Any] = {"prompt_tokens": "12", "completion_tokens": None, "reasoning": 1.5, "x": {"y": []}}
    assert http.post("/traces", json=_trace(spans=[_span(token_usage=usage)])).status_code == 202
    read = http.get(f"/traces/{ONE}").json()
    assert read["total_tokens"] == 12
    assert read["spans"][0]["token_usage"] == usage


def test_numbers_that_the_direct_routes_fail_on(http: httpx.Client) -> None:
    """`POST /traces` stores NaN as null; the routes that write at once refuse NaN."""
    nan = f'{{"trace_id": "{ONE}", "name": "t", "started_at": "{START}", "input": [NaN, 1e999]}}'
    assert http.post("/traces", content=nan).status_code == 202
    assert http.get(f"/traces/{ONE}").json()["input"] == [None, None]
    span = f'[{{"name": "s", "started_at": "{START}", "input": {{"x": NaN}}}}]'
    assert _refused(http.post(f"/traces/{ONE}/spans", content=span)) == "0 -> input -> x"
    assert _refused(http.patch(f"/traces/{ONE}", content='{"output": -Infinity}')) == "output"
    assert http.get(f"/traces/{ONE}").json()["spans"] == []


def test_requests_on_which_the_real_server_fails_are_refused(http: httpx.Client) -> None:
    """If the real server answers 500, and clients retry in vain, the local server answers 422 with the reason."""
    assert http.post("/traces", json=_trace(spans=[_span()])).is_success
    for path in (f"/traces/{ONE}", f"/traces/{ONE}/spans/{SPAN}"):
        assert _refused(http.patch(path, json={"name": ""})) == "name"
    deep = http.post("/traces", content=f'{{"name": "t", "started_at": "{START}", "input": {DEEP.decode()}}}')
    assert _refused(deep) == ""
    assert deep.json()["errors"][0]["message"] == "Value should not be nested deeper than 254 levels"
    assert http.get(f"/traces/{ONE}").json()["name"] == "t"
