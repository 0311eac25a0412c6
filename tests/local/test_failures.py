"""Groups of failures: the API and the pages show them; people name, mute, resolve, merge and separate them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from uuid import UUID

import httpx
import pytest

from failed_traces import body, failed_tool, said
from local_http import http_of
from pandaprobe_otel.failures.find import find_failures
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.local.store import failure_reader
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
        """Return the groups in any state."""
        answer = self.http.get("/local/failures", params={"state": "all", **query}).raise_for_status().json()
        assert answer["unread_traces"] == 0
        items: list[dict[str, Any]] = answer["items"]
        return items

    def state(self, day: float) -> str:
        """Return the state of the only group on a day."""
        self.day(day)
        (group,) = self.groups()
        state: str = group["state"]
        return state

    def act(self, action: str, fingerprint: str = "", **form: str) -> httpx.Response:
        """Send a form for a group, or for the first one."""
        fingerprint = fingerprint or self.groups()[0]["fingerprint"]
        return self.http.post(
            f"/ui/failures/{fingerprint}/{action}", data=form, headers={"Origin": str(self.http.base_url).rstrip("/")}
        )

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
    assert first["example"] == {"trace_id": new, "text": "LookupError: order 99 not found"}
    assert [one["trace_id"] for one in whole["examples"]] == [new, old]
    assert first["parts"]["message"] == "order <value> not found"
    assert "ids, numbers" in first["why"]


def test_filters_choose_traces_and_groups(shop: Shop) -> None:
    """A search and a time count only their traces; a state chooses groups; an invalid filter gets status 422."""
    for day in (0, 10):
        shop.post(failing(), day)
    shop.post(other(), 0)
    shop.day(10)
    (late,) = shop.groups(since="5d")
    assert (late["name"], late["count"]) == (LOOK_UP, 1)
    assert [one["name"] for one in shop.groups(query="tool:refund status:error")] == [REFUND]
    assert shop.groups(query="tool:search") == []
    assert shop.http.get("/local/failures", params={"state": "resolved"}).json()["other_states"] == 2
    assert shop.http.get("/local/failures", params={"since": "soon"}).status_code == 422
    assert "latency has no unit" in shop.page("?q=latency%3E5x")


def test_a_change_of_a_trace_changes_its_groups(shop: Shop) -> None:
    """Patching, judging or deleting a trace updates its groups; only a group's name is kept."""
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
    shop.act("name", name="  No such order ")
    shop.http.delete(f"/traces/{gone}").raise_for_status()
    assert shop.groups() == []
    shop.post(failing())
    assert [one["name"] for one in shop.groups()] == ["No such order"]
    shop.act("name", name="")
    assert [one["name"] for one in shop.groups()] == [LOOK_UP]


def test_a_recovered_failure_makes_no_group(shop: Shop) -> None:
    """A trace that recovered from a failure makes no group; it is counted in the group as recovered."""
    shop.post(body(failed_tool("look_up", "LookupError: order 3 not found"), tool("look_up", 5, 6, {})))
    assert shop.groups() == []
    shop.post(failing())
    (group,) = shop.groups()
    assert (group["count"], group["recovered"]) == (1, 1)


def test_a_muted_group_comes_back(shop: Shop) -> None:
    """A group is new for a week; a muted one reopens after a time, after further traces, or never."""
    shop.post(failing())
    assert [shop.state(day) for day in (1, 6.9, 7)] == ["new", "new", "ongoing"]
    shop.act("mute")
    assert shop.state(100) == "muted"
    shop.day(10)
    shop.act("mute", **{"for": "week"})
    assert [shop.state(day) for day in (16, 17.1)] == ["muted", "ongoing"]
    shop.act("mute", **{"for": "10"})
    for number in range(10):
        assert shop.state(18) == "muted"
        shop.post(failing(), 18 + number / 100)
    assert shop.state(19) == "ongoing"


def test_a_resolved_group_comes_back_when_a_later_trace_fails(shop: Shop) -> None:
    """A late trace that started before does not reopen the group; nor does a release older than that with the fix."""
    shop.post(failing(), 0, "1.0")
    shop.day(1)
    shop.act("resolve")
    shop.post(failing(), 0.5, "1.0")
    assert shop.state(2) == "resolved"
    shop.post(failing(), 1.5, "1.0")
    assert shop.state(2) == "regressed"
    shop.act("resolve", release="1.1")
    shop.post(failing(), 3, "1.0")
    assert shop.state(4) == "resolved"
    shop.post(body(said("Hello.")), 4, "1.1")
    shop.post(failing(), 5, "1.0")
    assert shop.state(6) == "resolved"
    shop.post(failing(), 7, "1.2")
    assert shop.state(8) == "regressed"
    shop.act("resolve", release="1.1")
    shop.post(failing(), 9)
    assert shop.state(10) == "regressed"
    shop.act("open")
    assert shop.state(10) == "ongoing"


def test_a_merge_sticks(shop: Shop) -> None:
    """Later traces count for the merged group, also after a second merge, until the groups are separated."""
    both = failed_tool("refund", "PermissionError: not yours", 6)
    for trace in (
        failing(),
        other(),
        body(failed_tool("look_up", "LookupError: order 3 not found"), both, status="ERROR"),
    ):
        shop.post(trace)
    one, two = (group["fingerprint"] for group in shop.groups())
    assert shop.act("merge", two, into=one).headers["location"].split("?")[0].endswith(one)
    assert shop.act("merge", one, into=two).status_code == 404
    (merged,) = shop.groups()
    assert (merged["fingerprint"], merged["count"]) == (one, 3)
    moved = shop.post(other())
    shop.post(body(*(tool("search", at, at + 0.5, {"query": "a"}) for at in (1, 2, 3))))
    found, loop = shop.groups()
    assert found["count"] == 4
    shop.act("merge", one, into=loop["fingerprint"])
    (found,) = shop.groups()
    assert (found["fingerprint"], found["count"]) == (loop["fingerprint"], 5)
    assert f"/ui/failures/{loop['fingerprint']}" in shop.http.get(f"/ui/traces/{moved}").text
    assert "<b>5</b><span>traces</span>" in shop.page(f"/{two}")
    shop.act("separate", two)
    assert sorted(group["count"] for group in shop.groups()) == [3, 3]


def test_the_pages_lead_to_the_traces_and_run_no_name(shop: Shop) -> None:
    """A group shows the reason, the newest trace at the failed span, and commands; a hostile name is shown as text."""
    newest = [shop.post(failing(number)) for number in (1, 2)][-1]
    shop.post(body(failed_tool(HOSTILE, f"LookupError: {HOSTILE}"), status="ERROR"))
    shown = shop.page("?state=all")
    first, second = dict.fromkeys(re.findall(r"/ui/failures/([0-9a-f]{16})", shown))
    group = shop.page(f"/{first}")
    address = str(shop.http.base_url).rstrip("/")

    assert shown.index(LOOK_UP) < shown.index("LookupError in <script")
    assert "without variable parts" in group
    assert f"/ui/traces/{newest}?span=" in group
    assert f"pandaprobe-otel replay capture {newest} --to=tests/ --project=shop --endpoint={address}" in group
    assert 'probe.spans.tool("look_up").errors.not_called()' in group
    assert f"/ui/failures/{first}" in shop.http.get(f"/ui/traces/{newest}").text
    for path in ("", f"/{first}", f"/{second}"):
        raw = shop.http.get(f"/ui/failures{path}").text
        assert "<script>alert" not in raw
        assert "<img" not in raw.replace('<img src="/ui/static/', "")


def test_the_list_has_open_groups_and_counts_the_others(shop: Shop) -> None:
    """The page of a handled group shows the terms; another site and unknown groups or actions change nothing."""
    shop.post(failing())
    (group,) = shop.groups()
    fingerprint = group["fingerprint"]
    shop.act("mute", **{"for": "10"})
    assert LOOK_UP not in shop.page()
    assert "1 in <a" in shop.page()
    assert "for 10 traces" in shop.page(f"/{fingerprint}")
    shop.act("resolve", release="2.4")
    assert "in 2.4" in shop.page(f"/{fingerprint}")

    for origin in ("https://evil.example", "null"):
        address = f"/ui/failures/{fingerprint}/name"
        assert shop.http.post(address, data={"name": "Owned"}, headers={"Origin": origin}).status_code == 403
    assert shop.http.get(address, params={"name": "Owned"}).status_code == 405
    unknown = "0123456789abcdef"
    refused = [shop.act("open", unknown), shop.act("merge", into=unknown), shop.act("explode")]
    assert [answer.status_code for answer in refused] == [404, 404, 422]
    assert shop.http.get(f"/ui/failures/{unknown}").status_code == 404
    assert "Owned" not in shop.page("?state=all")


def test_a_trace_that_cannot_be_read_or_kept_stops_no_other(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Other traces are read, the list says how many are not, and such a trace is read again after its next change."""
    keep, full = failure_reader._keep, [sqlite3.OperationalError("disk full")]

    def odd(trace: Any, *given: Any) -> Any:
        if trace["name"] == "bad":
            raise ValueError("bad")
        return find_failures(trace, *given)

    def keep_later(*given: Any) -> None:
        if full:
            raise full.pop()
        keep(*given)

    def found() -> tuple[int, int]:
        listed = shop.http.get("/local/failures", params={"state": "all"}).raise_for_status().json()
        return listed["total"], listed["unread_traces"]

    monkeypatch.setattr(failure_reader, "find_failures", odd)
    monkeypatch.setattr(failure_reader, "_keep", keep_later)
    shop.post({**other(), "name": "bad"})
    good = shop.post({**other(), "name": "good"})

    assert found() == (0, 2)
    assert "of trace 1 cannot be found" in caplog.text
    assert "disk full" in caplog.text
    shop.http.patch(f"/traces/{good}", json={"output": "changed"}).raise_for_status()
    assert found() == (1, 1)
