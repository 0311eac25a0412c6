"""Groups of failures, as the API and the pages show them."""

from __future__ import annotations

import re
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from uuid import UUID

import pytest

from failed_traces import body, failed_tool, said
from local_http import http_of
from pandaprobe_otel.failures.find import find_failures
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.local.store import failures
from stored_traces import tool

START = datetime(2026, 1, 1, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
LOOK_UP, REFUND = "LookupError in look_up", "PermissionError in refund"


def failing(order: int = 17) -> dict[str, Any]:
    """Return a trace in which a tool did not find an order."""
    return body(failed_tool("look_up", f"LookupError: order {order} not found"), status="ERROR")


def other() -> dict[str, Any]:
    """Return a trace with another failure."""
    return body(failed_tool("refund", "PermissionError: not yours"), status="ERROR")


class Shop:
    """A project of a server on a given day; traces start at the present."""

    def __init__(self, server: LocalServer, now: list[datetime]) -> None:
        self.http = http_of(server)
        self._now = now
        self._sent = 0

    def day(self, number: float) -> None:
        """Set the day."""
        self._now[0] = START + timedelta(days=number)

    def post(self, trace: dict[str, Any], day: float | None = None, release: str | None = None) -> str:
        """Store a trace that starts on a day, and return its id."""
        self._sent += 1
        started = self._now[0] if day is None else START + timedelta(days=day)
        ids: dict[str, str] = {}

        def fresh(old: str) -> str:
            return ids.setdefault(old, str(UUID(int=1000 * self._sent + len(ids))))

        spans = [
            {
                **span,
                "span_id": fresh(span["span_id"]),
                "parent_span_id": span["parent_span_id"] and fresh(span["parent_span_id"]),
            }
            for span in trace["spans"]
        ]
        moments = {"started_at": started.isoformat(), "ended_at": (started + timedelta(seconds=1)).isoformat()}
        sent = {**trace, **moments, "trace_id": fresh("trace"), "spans": spans, "release": release}
        self.http.post("/traces", json=sent).raise_for_status()
        return ids["trace"]

    def groups(self, **query: Any) -> list[dict[str, Any]]:
        """Return the groups."""
        answer = self.http.get("/local/failures", params=query).raise_for_status().json()
        items: list[dict[str, Any]] = answer["items"]
        return items

    def page(self, path: str = "") -> str:
        """Return the text of a page of failures."""
        return unescape(self.http.get(f"/ui/failures{path}").raise_for_status().text)


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Generator[Shop]:
    """Yield an empty project."""
    now = [START]
    monkeypatch.setattr("pandaprobe_otel.local.services.now_micros", lambda: round(now[0].timestamp() * 1e6))
    with LocalServer(limit=None) as server:
        made = Shop(server, now)
        with made.http:
            yield made


def test_traces_that_failed_alike_are_one_group(shop: Shop) -> None:
    """A group has a count, times, releases, a trend, examples and a reason; groups with most traces come first."""
    shop.post(other(), 0, "1")
    old, new = shop.post(failing(17), 1, "1"), shop.post(failing(99), 3, "2")
    shop.post(body(said("Hello.")), 3, "2")
    shop.day(4)
    first, second = shop.groups()
    whole = shop.http.get(f"/local/failures/{first['fingerprint']}").json()

    assert [(one["name"], one["count"]) for one in (first, second)] == [(LOOK_UP, 2), (REFUND, 1)]
    assert [datetime.fromisoformat(first[at]) for at in ("first_seen", "last_seen")] == [
        START + timedelta(days=1),
        START + timedelta(days=3),
    ]
    assert (first["releases"], sum(first["trend"]), sum(map(bool, first["trend"]))) == (["1", "2"], 2, 2)
    assert (first["example"]["trace_id"], first["example"]["text"]) == (new, "LookupError: order 99 not found")
    assert [one["trace_id"] for one in whole["examples"]] == [new, old]
    assert first["parts"]["message"] == "order <value> not found"
    assert "ids, numbers" in first["why"]


def test_filters_choose_traces_and_groups(shop: Shop) -> None:
    """A search and a time count only their traces; an invalid filter gets status 422."""
    for day in (0, 10):
        shop.post(failing(), day)
    shop.post(other(), 0)
    shop.day(10)
    (late,) = shop.groups(since="5d")
    assert (late["name"], late["count"]) == (LOOK_UP, 1)
    assert [one["name"] for one in shop.groups(query="tool:refund status:error")] == [REFUND]
    assert shop.groups(query="tool:search") == []
    assert shop.http.get("/local/failures", params={"since": "soon"}).status_code == 422
    assert "latency has no unit" in shop.page("?q=latency%3E5x")


def test_a_change_of_a_trace_changes_its_groups(shop: Shop) -> None:
    """Patching, judging or deleting a trace updates its groups."""
    mended = shop.post(body(said("Hello."), status="ERROR"))
    assert [one["name"] for one in shop.groups()] == ["answer failed"]
    shop.http.patch(f"/traces/{mended}", json={"status": "COMPLETED"}).raise_for_status()
    assert shop.groups() == []
    score = {"trace_id": mended, "name": "task_completion", "value": "0.2", "reason": "look_up failed"}
    made = shop.http.post("/evaluations/trace-scores", json=score).raise_for_status().json()
    assert [one["kind"] for one in shop.groups()] == ["judged"]
    shop.http.patch(f"/evaluations/trace-scores/{made['id']}", json={"value": "0.9"}).raise_for_status()
    assert shop.groups() == []
    gone = shop.post(failing())
    shop.http.delete(f"/traces/{gone}").raise_for_status()
    assert shop.groups() == []


def test_a_recovered_failure_makes_no_group(shop: Shop) -> None:
    """A trace that recovered from a failure makes no group; it is counted in the group as recovered."""
    shop.post(body(failed_tool("look_up", "LookupError: order 3 not found"), tool("look_up", 5, 6, {})))
    assert shop.groups() == []
    shop.post(failing())
    (group,) = shop.groups()
    assert (group["count"], group["recovered"]) == (1, 1)


def test_the_pages_lead_to_the_traces_and_run_no_name(shop: Shop) -> None:
    """A group shows the reason, the newest trace at the failed span, and commands; a hostile name is shown as text."""
    newest = [shop.post(failing(number)) for number in (1, 2)][-1]
    shop.post(body(failed_tool(HOSTILE, f"LookupError: {HOSTILE}"), status="ERROR"))
    shown = shop.page()
    first, second = dict.fromkeys(re.findall(r"/ui/failures/([0-9a-f]{16})", shown))
    group = shop.page(f"/{first}")
    address = str(shop.http.base_url).rstrip("/")

    assert shown.index(LOOK_UP) < shown.index("LookupError in <script")
    assert "without variable parts" in group
    assert f"/ui/traces/{newest}?span=" in group
    assert f"pandaprobe-otel replay capture {newest} --to=tests/ --project=shop --endpoint={address}" in group
    assert f"/ui/failures/{first}" in shop.http.get(f"/ui/traces/{newest}").text
    for path in ("", f"/{first}", f"/{second}"):
        raw = shop.http.get(f"/ui/failures{path}").text
        assert "<script>alert" not in raw
        assert "<img" not in raw.replace('<img src="/ui/static/', "")


def test_a_trace_that_the_rules_cannot_read_is_stored(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of the rules is logged; the trace is stored, and other traces are grouped."""

    def odd(trace: Any, *given: Any) -> Any:
        if trace["name"] == "bad":
            raise ValueError("bad")
        return find_failures(trace, *given)

    monkeypatch.setattr(failures, "find_failures", odd)
    bad = shop.post({**other(), "name": "bad"})
    shop.post({**other(), "name": "good"})

    assert [one["count"] for one in shop.groups()] == [1]
    assert shop.http.get(f"/traces/{bad}").status_code == 200
    assert f"of trace {bad} cannot be found" in caplog.text


def test_a_running_trace_has_no_failure_yet(shop: Shop) -> None:
    """A trace counts when it has ended, since it may recover until then."""
    running = shop.post({**failing(), "status": "RUNNING"})
    assert shop.groups() == []
    shop.http.patch(f"/traces/{running}", json={"status": "COMPLETED"}).raise_for_status()
    assert [one["count"] for one in shop.groups()] == [1]
