"""Values that make the real server (0.5.0) lose data or fail: the local server answers 422 and names the field."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import httpx
import pytest

from pandaprobe_otel.local import LocalServer

STARTED = "2026-01-02T03:04:05+00:00"
ONE = "00000000-0000-4000-8000-000000000001"
SPAN = "00000000-0000-4000-8000-000000000011"


@pytest.fixture(scope="module")
def server() -> Generator[LocalServer]:
    """Yield a server without limits."""
    with LocalServer(limit=None) as running:
        yield running


@pytest.fixture
def http(server: LocalServer, request: pytest.FixtureRequest) -> Generator[httpx.Client]:
    """Yield a client of a new project, whose traces are deleted afterwards."""
    headers = {
        "X-API-Key": server.api_key,
        "X-Project-Name": f"p{abs(hash(request.node.name))}",
        "Content-Type": "application/json",
    }
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as client:
        yield client
        client.post("/traces/batch/delete", json={"trace_ids": [ONE]})


def _trace(**fields: Any) -> dict[str, Any]:
    return {"trace_id": ONE, "name": "t", "started_at": STARTED, **fields}


def _span(**fields: Any) -> dict[str, Any]:
    return {"span_id": SPAN, "name": "s", "started_at": STARTED, **fields}


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
        ('"spans": [{"name": "s", "started_at": "2026-01-02", "error": "\\u0000"}]', "spans -> 0 -> error"),
    ],
)
def test_text_that_would_lose_the_trace(http: httpx.Client, body: str, field: str) -> None:
    """A NUL or lone surrogate anywhere is refused, and the error names the field."""
    raw = b'{"name": "t", "started_at": "2026-01-02", "input": "\xed\xa0\x80"}'
    assert _refused(http.post("/traces", content=raw)) == "input"
    content = f'{{"name": "t", "started_at": "{STARTED}", {body}}}'
    assert _refused(http.post("/traces", content=content)) == field
    assert http.get("/traces").json()["total"] == 0


def test_escaped_pairs_and_backslashes_are_text(http: httpx.Client) -> None:
    """A surrogate pair is a character, and an escaped backslash before `u0000` is a backslash."""
    content = f'{{"trace_id": "{ONE}", "name": "t", "started_at": "{STARTED}", "input": "\\ud83d\\udc3c \\\\u0000"}}'
    assert http.post("/traces", content=content).status_code == 202
    assert http.get(f"/traces/{ONE}").json()["input"] == "\U0001f43c \\u0000"


@pytest.mark.parametrize("cost", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_costs_that_would_lose_the_trace(http: httpx.Client, cost: str) -> None:
    """A cost that is not a finite number is refused."""
    span = f'{{"name": "s", "started_at": "{STARTED}", "cost": {{"total": {cost}}}}}'
    answer = http.post("/traces", content=f'{{"name": "t", "started_at": "{STARTED}", "spans": [{span}]}}')
    assert _refused(answer) == "spans -> 0 -> cost -> total"


@pytest.mark.parametrize("tokens", [10.5, 10.0, "abc", "", True, {}, [], 2**31, -(2**31) - 1])
def test_token_counts_that_would_poison_the_project(http: httpx.Client, tokens: Any) -> None:
    """A token count that the real server's SQL cannot read is refused, and lists keep working."""
    answer = http.post("/traces", json=_trace(spans=[_span(token_usage={"completion_tokens": tokens})]))
    assert _refused(answer) == "spans -> 0 -> token_usage"
    assert "completion_tokens" in answer.json()["errors"][0]["message"]
    assert http.get("/traces").status_code == 200


def test_token_counts_that_are_safe(http: httpx.Client) -> None:
    """Integers, null, digits as text and any other key of the usage are stored."""
    usage: dict[str, Any] = {"prompt_tokens": "12", "completion_tokens": None, "reasoning": 1.5, "x": {"y": []}}
    assert http.post("/traces", json=_trace(spans=[_span(token_usage=usage)])).status_code == 202
    read = http.get(f"/traces/{ONE}").json()
    assert read["total_tokens"] == 12
    assert read["spans"][0]["token_usage"] == usage


def test_numbers_that_the_direct_routes_fail_on(http: httpx.Client) -> None:
    """`POST /traces` stores NaN as null; the routes that write at once refuse NaN."""
    nan = f'{{"trace_id": "{ONE}", "name": "t", "started_at": "{STARTED}", "input": [NaN, 1e999]}}'
    assert http.post("/traces", content=nan).status_code == 202
    assert http.get(f"/traces/{ONE}").json()["input"] == [None, None]
    span = f'[{{"name": "s", "started_at": "{STARTED}", "input": {{"x": NaN}}}}]'
    assert _refused(http.post(f"/traces/{ONE}/spans", content=span)) == "0 -> input -> x"
    assert _refused(http.patch(f"/traces/{ONE}", content='{"output": -Infinity}')) == "output"
    assert http.get(f"/traces/{ONE}").json()["spans"] == []


def test_moments_that_utc_cannot_express(http: httpx.Client) -> None:
    """A time that lies before the year 1 in UTC is refused."""
    assert _refused(http.post("/traces", json=_trace(started_at="0001-01-01T00:00:00+14:00"))) == "started_at"


def _answers_to_failing_requests(http: httpx.Client) -> list[httpx.Response]:
    """Return the answers to two updates with an empty name, and to a value too deep to be stored."""
    assert http.post("/traces", json=_trace(spans=[_span()])).is_success
    nested = "[" * 300 + "]" * 300
    return [
        http.patch(f"/traces/{ONE}", json={"name": ""}),
        http.patch(f"/traces/{ONE}/spans/{SPAN}", json={"name": ""}),
        http.post("/traces", content=f'{{"name": "t", "started_at": "{STARTED}", "input": {nested}}}'),
    ]


def test_requests_on_which_the_real_server_fails_are_refused(http: httpx.Client) -> None:
    """If the real server answers 500, and clients retry in vain, the local server answers 422 with the reason."""
    answers = _answers_to_failing_requests(http)
    assert [_refused(answer) for answer in answers] == ["name", "name", ""]
    assert answers[2].json()["errors"][0]["message"] == "Value should not be nested deeper than 254 levels"
    assert http.get(f"/traces/{ONE}").json()["name"] == "t"


def test_failures_as_they_were_measured() -> None:
    """Without `retry_after` the local server behaves as server 0.5.0 does, including its failures."""
    with LocalServer(limit=None, retry_after=False) as server:
        headers = {"X-API-Key": server.api_key, "X-Project-Name": "p", "Content-Type": "application/json"}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as client:
            answers = _answers_to_failing_requests(client)
    assert [(answer.status_code, answer.text) for answer in answers] == [(500, "Internal Server Error")] * 3
