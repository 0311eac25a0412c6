"""Values that make the real server (0.5.0) lose data or fail: the local server answers 422 and names the field."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import httpx
import pytest

from pandaprobe_otel.local import LocalServer

STARTED = "2026-01-02T03:04:05+00:00"
ONE = "00000000-0000-4000-8000-000000000001"
TWO = "00000000-0000-4000-8000-000000000002"
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
        client.post("/traces/batch/delete", json={"trace_ids": [ONE, TWO]})


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
        ('"spans": [{"name": "s", "started_at": "2026-01-02", "error": "\\u0000"}]', "spans -> 0 -> error"),
    ],
)
def test_text_that_would_lose_the_trace(http: httpx.Client, body: str, field: str) -> None:
    """A NUL or lone surrogate anywhere is refused, and the error names the field."""
    content = f'{{"name": "t", "started_at": "{STARTED}", {body}}}'
    assert _refused(http.post("/traces", content=content)) == field
    assert http.get("/traces").json()["total"] == 0


def test_a_lone_surrogate_in_a_name(http: httpx.Client) -> None:
    """For a lone surrogate in a field with a length limit, the message is that of the real server."""
    words = "Input should be a valid string, unable to parse raw data as a unicode string"
    span = f'{{"name": "\\ud800", "started_at": "{STARTED}"}}'
    for body, field in (
        (f'{{"name": "\\ud800", "started_at": "{STARTED}"}}', "name"),
        (f'{{"name": "t", "started_at": "{STARTED}", "user_id": "\\ud800"}}', "user_id"),
        (f'{{"name": "t", "started_at": "{STARTED}", "spans": [{span}]}}', "spans -> 0 -> name"),
    ):
        errors = http.post("/traces", content=body).json()["errors"]
        assert errors == [{"field": field, "message": words}]


def test_raw_bytes_of_a_lone_surrogate(http: httpx.Client) -> None:
    """A lone surrogate as raw bytes is refused like its escape sequence."""
    content = b'{"name": "t", "started_at": "2026-01-02", "input": "\xed\xa0\x80"}'
    assert _refused(http.post("/traces", content=content)) == "input"


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
@pytest.mark.parametrize("key", ["prompt_tokens", "completion_tokens"])
def test_token_counts_that_would_poison_the_project(http: httpx.Client, key: str, tokens: Any) -> None:
    """A token count that the real server's SQL cannot read is refused, and lists keep working."""
    answer = http.post("/traces", json=_trace(spans=[_span(token_usage={key: tokens})]))
    assert _refused(answer) == "spans -> 0 -> token_usage"
    assert key in answer.json()["errors"][0]["message"]
    assert http.get("/traces").status_code == 200


def test_token_counts_that_are_safe(http: httpx.Client) -> None:
    """Integers, null, digits as text and any other key of the usage are stored."""
    usage: dict[str, Any] = {"prompt_tokens": "12", "completion_tokens": None, "reasoning": 1.5, "x": {"y": []}}
    assert http.post("/traces", json=_trace(spans=[_span(token_usage=usage)])).status_code == 202
    read = http.get(f"/traces/{ONE}").json()
    assert read["total_tokens"] == 12
    assert read["spans"][0]["token_usage"] == usage


def test_a_sum_of_tokens_beyond_four_bytes(http: httpx.Client) -> None:
    """Two token counts whose sum exceeds four bytes are refused."""
    usage = {"prompt_tokens": 2**31 - 1, "completion_tokens": 1}
    assert _refused(http.post("/traces", json=_trace(spans=[_span(token_usage=usage)]))) == "spans -> 0 -> token_usage"


def test_numbers_that_the_direct_routes_fail_on(http: httpx.Client) -> None:
    """`POST /traces` stores NaN as null; the routes that write at once refuse NaN."""
    nan = f'{{"trace_id": "{ONE}", "name": "t", "started_at": "{STARTED}", "input": [NaN, 1e999]}}'
    assert http.post("/traces", content=nan).status_code == 202
    assert http.get(f"/traces/{ONE}").json()["input"] == [None, None]
    span = f'[{{"name": "s", "started_at": "{STARTED}", "input": {{"x": NaN}}}}]'
    assert _refused(http.post(f"/traces/{ONE}/spans", content=span)) == "0 -> input -> x"
    assert _refused(http.patch(f"/traces/{ONE}", content='{"output": -Infinity}')) == "output"
    assert http.get(f"/traces/{ONE}").json()["spans"] == []


def test_a_trace_of_another_project_is_not_overwritten(http: httpx.Client) -> None:
    """A trace id of another project is refused, and that project's trace stays unchanged."""
    http.post("/traces", json=_trace(name="mine"))
    other = http.post("/traces", json=_trace(name="theirs"), headers={"X-Project-Name": "other"})
    assert _refused(other) == "trace_id"
    assert http.get(f"/traces/{ONE}").json()["name"] == "mine"


def test_a_span_of_another_trace_is_not_changed(http: httpx.Client) -> None:
    """A span id of another trace is refused with its index, and nothing of the request is stored."""
    http.post("/traces", json=_trace(spans=[_span(name="first")]))
    fresh = {"name": "fresh", "started_at": STARTED}
    second = http.post("/traces", json={**_trace(), "trace_id": TWO, "spans": [fresh, _span(name="second")]})
    assert _refused(second) == "spans -> 1 -> span_id"
    assert http.get(f"/traces/{TWO}").status_code == 404
    assert http.get(f"/traces/{ONE}").json()["spans"][0]["name"] == "first"
    http.post("/traces", json={**_trace(), "trace_id": TWO})
    assert _refused(http.post(f"/traces/{TWO}/spans", json=[fresh, _span()])) == "1 -> span_id"


def test_lists_beyond_eight_bytes(http: httpx.Client) -> None:
    """An offset beyond the database's integers is refused."""
    assert _refused(http.get("/traces", params={"offset": 10**20})) == "query -> offset"


def test_scores_that_the_server_fails_on(http: httpx.Client) -> None:
    """Names and values over 255 characters are refused, and a score of an unknown trace gets 404."""
    http.post("/traces", json=_trace())
    score = {"trace_id": ONE, "name": "n", "value": "0.5"}
    assert _refused(http.post("/evaluations/trace-scores", json={**score, "name": "x" * 256})) == "name"
    categorical = {**score, "value": "x" * 256, "data_type": "CATEGORICAL"}
    assert _refused(http.post("/evaluations/trace-scores", json=categorical)) == "value"
    unknown = http.post("/evaluations/trace-scores", json={**score, "trace_id": TWO})
    assert (unknown.status_code, unknown.json()) == (404, {"detail": f"Trace {TWO} not found."})


def test_filters_that_the_server_fails_on(http: httpx.Client) -> None:
    """An invalid date in a filter is refused, for runs and for monitors."""
    run = {"metrics": ["confidence"], "filters": {"date_from": "yesterday"}}
    assert _refused(http.post("/evaluations/trace-runs", json=run)) == "filters -> date_from"
    monitor = {"name": "m", "target_type": "TRACE", "metrics": ["confidence"], "cadence": "daily"}
    answer = http.post("/evaluations/monitors", json={**monitor, "filters": {"date_to": "soon"}})
    assert _refused(answer) == "filters -> date_to"
    created = http.post("/evaluations/monitors", json=monitor).json()
    path = f"/evaluations/monitors/{created['id']}"
    assert _refused(http.patch(path, json={"name": None})) == "name"
    assert http.get(path).json()["name"] == "m"


def test_moments_that_utc_cannot_express(http: httpx.Client) -> None:
    """A time that lies before the year 1 in UTC is refused."""
    assert _refused(http.post("/traces", json=_trace(started_at="0001-01-01T00:00:00+14:00"))) == "started_at"


def _answers_to_what_fails_there(http: httpx.Client) -> list[httpx.Response]:
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
    answers = _answers_to_what_fails_there(http)
    assert [_refused(answer) for answer in answers] == ["name", "name", ""]
    assert answers[2].json()["errors"][0]["message"] == "Value should not be nested deeper than 254 levels"
    assert http.get(f"/traces/{ONE}").json()["name"] == "t"


def test_failures_as_they_were_measured() -> None:
    """Without `retry_after` the local server behaves as server 0.5.0 does, including its failures."""
    with LocalServer(limit=None, retry_after=False) as server:
        headers = {"X-API-Key": server.api_key, "X-Project-Name": "p", "Content-Type": "application/json"}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as client:
            answers = _answers_to_what_fails_there(client)
    assert [(answer.status_code, answer.text) for answer in answers] == [(500, "Internal Server Error")] * 3
