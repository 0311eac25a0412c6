"""A failed request leaves nothing in memory or in the database, whatever requests come before and after it."""

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
        client(every) as all_of_them,
        client(only_good) as good_ones,
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


def client(server: LocalServer) -> httpx.Client:
    """Return a client with access to everything."""
    headers = {"X-API-Key": server.api_key, "Authorization": "Bearer any"}
    return httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60)


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
