"""Lists of traces and sessions: for any history of the traces, they agree with sorting and sums over all of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_http import http_of
from pandaprobe_otel.local import LocalServer

Trace = dict[str, Any]
TAGS = ("all", "half", "few")


def moment(seconds: int) -> str:
    """Return a time."""
    return f"2026-01-02T03:04:{seconds:02}.000000+00:00"


def latency(trace: Trace) -> int | None:
    """Return the seconds that a trace took; None while it runs."""
    return None if trace["ended"] is None else trace["ended"] - trace["started"]


KEYS: dict[str, Callable[[list[Trace]], Any]] = {
    "recent": lambda traces: max(trace["number"] for trace in traces),
    "trace_count": len,
    "latency": lambda traces: sum(latency(trace) or 0 for trace in traces),
    "cost": lambda traces: sum(round(trace["cost"] * 1e9) for trace in traces),
}
fields: dict[str, st.SearchStrategy[Any]] = {
    "session_id": st.sampled_from([None, "a", "a", "Bc", "Bc"]),
    "status": st.sampled_from(["COMPLETED", "ERROR"]),
    "started": st.integers(0, 9),
    "ended": st.none() | st.integers(0, 9),
    "cost": st.sampled_from([0.0, 0.1, 0.2, 0.3, 5e-9, 1e6]),
    "tags": st.lists(st.sampled_from(TAGS), unique=True),
}
added = st.tuples(st.just("add"), st.integers(0, 9), st.fixed_dictionaries(fields))
changed = st.one_of(
    added,
    st.tuples(st.just("change"), st.integers(0, 9), st.fixed_dictionaries(fields)),
    st.tuples(st.just("delete"), st.integers(0, 9), st.none()),
)


class Lists:
    """A project of a server, with all its traces in order of arrival."""

    def __init__(self, server: LocalServer, number: int) -> None:
        self.http = http_of(server, f"p{number}")
        self._first = 1 + 1000 * number
        self.traces: list[Trace] = []

    def add(self, **given: Any) -> None:
        """Add a trace."""
        number = len(self.traces) and self.traces[-1]["number"] + 1
        trace = {"number": number, **given}
        self.traces.append(trace)
        span = {"name": "m", "kind": "LLM", "started_at": moment(0), "cost": {"total": given["cost"]}}
        body = {"trace_id": self._id(trace), "name": "n", "spans": [span], **_sent(given)}
        self.http.post("/traces", json=body).raise_for_status()

    def step(self, kind: str, number: int, given: Any) -> None:
        """Add, change or delete a trace."""
        if kind == "add" or not self.traces:
            if given is not None:
                self.add(**given)
            return
        trace = self.traces[number % len(self.traces)]
        if kind == "delete":
            self.traces.remove(trace)
            self.http.delete(f"/traces/{self._id(trace)}").raise_for_status()
        else:
            given = {**given, "cost": trace["cost"], "started": trace["started"]}
            trace.update(given)
            sent = _sent(given)
            self.http.patch(f"/traces/{self._id(trace)}", json={**sent, "started_at": None}).raise_for_status()

    def _id(self, trace: Trace) -> str:
        return str(UUID(int=self._first + trace["number"]))

    def sessions(self, sort_by: str, text: str, has_error: bool | None) -> list[str]:
        """Return the ids of the sessions in descending order, from their traces."""
        found: list[tuple[bool, Any, int, str]] = []
        known = sorted((one for one in self.traces if one["session_id"]), key=lambda one: str(one["session_id"]))
        for session, group in itertools.groupby(known, lambda trace: str(trace["session_id"])):
            members = [*group]
            failed = any(trace["status"] == "ERROR" for trace in members)
            unknown = sort_by == "latency" and all(trace["ended"] is None for trace in members)
            if text in session.lower() and has_error in (None, failed):
                last = max(trace["number"] for trace in members)
                found.append((unknown, KEYS[sort_by](members), last, session))
        return [session for *_, session in sorted(found, reverse=True)]

    def listed(self, path: str, **query: Any) -> tuple[list[dict[str, Any]], int]:
        """Return the items and the total."""
        page = self.http.get(path, params={**query, "limit": 50}).json()
        return page["items"], page["total"]


def _sent(given: Trace) -> dict[str, Any]:
    moments = {"started_at": moment(given["started"]), "ended_at": given["ended"] and moment(given["ended"])}
    if given["ended"] == 0:
        moments["ended_at"] = moment(0)
    return {**moments, **{name: given[name] for name in ("session_id", "status", "tags")}}


@pytest.fixture(scope="module")
def server() -> Generator[LocalServer]:
    """Yield a server, in which each example has its own project."""
    with LocalServer(limit=None) as running:
        yield running


_runs = count()


@settings(max_examples=20, deadline=None)
@given(st.lists(added, min_size=4, max_size=6), st.lists(changed, max_size=10))
def test_lists_agree_with_their_traces(server: LocalServer, first: list[Any], later: list[Any]) -> None:
    """After any changes, each order and filter gives the traces and sessions in order, and their number."""
    lists = Lists(server, next(_runs))
    with lists.http:
        for change in (*first, *later):
            lists.step(*change)
        for sort_by, text, has_error in itertools.product(KEYS, ("", "b"), (None, True, False)):
            query = {"sort_by": sort_by, "sort_order": "desc", "query": text, "has_error": has_error}
            found, total = lists.listed(
                "/sessions", **{name: one for name, one in query.items() if one not in (None, "")}
            )
            expected = lists.sessions(sort_by, text, has_error)
            assert ([one["session_id"] for one in found], total) == (expected, len(expected)), query
        for tags, status in itertools.product((("all",), ("few", "half"), ()), (None, "ERROR")):
            query = {"tags": tags, **({"status": status} if status else {})}
            fitting = [
                one
                for one in lists.traces
                if (not tags or {*tags} & {*one["tags"]}) and status in (None, one["status"])
            ]
            found, total = lists.listed("/traces", sort_by="latency", sort_order="asc", **query)
            ordered = sorted(fitting, key=lambda one: (latency(one) is None, latency(one) or 0, one["number"]))
            assert ([one["trace_id"] for one in found], total) == ([lists._id(one) for one in ordered], len(ordered))
        for path in ("/sessions", "/traces"):
            assert lists.listed(path, offset=50)[0] == []
