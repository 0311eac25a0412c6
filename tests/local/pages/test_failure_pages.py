"""The pages of failures, over HTTP: their content, their forms, and protection from other sites."""

from __future__ import annotations

import re
from collections.abc import Generator
from html import unescape

import httpx
import pytest

from failed_traces import body, failed_tool
from pandaprobe_otel.local import LocalServer
from stored_traces import identity

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def http() -> Generator[httpx.Client]:
    """Yield a client of a server with three failed traces: two alike, and one of a tool with a hostile name."""
    with LocalServer(limit=None) as server:
        headers = {"X-API-Key": server.api_key, "X-Project-Name": "shop"}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as client:
            for number in range(3):
                name = HOSTILE if number == 2 else "look_up"
                failed = {**failed_tool(name, f"LookupError: {name} {number}"), "span_id": identity(f"s{number}")}
                trace = body(failed, status="ERROR")
                trace["spans"][0] = {**trace["spans"][0], "span_id": identity(f"r{number}")}
                failed["parent_span_id"] = identity(f"r{number}")
                client.post("/traces", json={**trace, "trace_id": identity(f"t{number}")}).raise_for_status()
            yield client


def _page(http: httpx.Client, path: str = "") -> str:
    return http.get(f"/ui/failures{path}").raise_for_status().text


def _fingerprints(http: httpx.Client) -> list[str]:
    return list(dict.fromkeys(re.findall(r"/ui/failures/([0-9a-f]{16})", _page(http, "?state=all"))))


def _send(http: httpx.Client, fingerprint: str, action: str, **form: str) -> httpx.Response:
    return http.post(f"/ui/failures/{fingerprint}/{action}", data=form, headers={"Origin": str(http.base_url)})


def test_the_list_leads_to_a_group_and_that_to_its_traces(http: httpx.Client) -> None:
    """The list shows groups; a group shows the reason, the newest trace at the failed span, and commands."""
    shown = _page(http)
    assert "LookupError in look_up" in shown
    assert shown.index("LookupError in look_up") < shown.index("LookupError in &lt;script")
    group = unescape(_page(http, f"/{_fingerprints(http)[0]}"))
    assert "without variable parts" in group
    assert "look_up <value>" in group
    assert f"/ui/traces/{identity('t1')}?span={identity('s1')}" in group
    options = f"--project=shop --endpoint={str(http.base_url).rstrip('/')}"
    assert f"pandaprobe-otel capture {identity('t1')} --to=tests/ {options}" in group
    assert 'probe.spans.tool("look_up").errors.not_called()' in group
    trace = http.get(f"/ui/traces/{identity('t1')}").raise_for_status().text
    assert f"/ui/failures/{_fingerprints(http)[0]}" in trace


def test_no_name_of_a_trace_runs(http: httpx.Client) -> None:
    """A hostile name is shown as text in the list, the group, the commands and the choices for merging."""
    for path in ("", *(f"/{one}" for one in _fingerprints(http))):
        shown = _page(http, path)
        assert "<script>alert" not in shown
        assert "<img" not in shown.replace('<img src="/ui/static/', "")


def test_a_search_that_cannot_be_read_says_where(http: httpx.Client) -> None:
    """For an invalid search, the page shows the error and no groups."""
    shown = _page(http, "?q=latency%3E5x")
    assert "latency has no unit" in shown
    assert "LookupError in look_up" not in shown


def test_a_person_handles_a_group(http: httpx.Client) -> None:
    """Each form returns to the group; the list shows open groups, and counts the others."""
    first, second = _fingerprints(http)
    answer = _send(http, first, "name", name="  No such order ")
    assert (answer.status_code, f"/ui/failures/{first}" in answer.headers["location"]) == (303, True)
    assert "No such order" in _page(http)
    _send(http, first, "mute", **{"for": "10"})
    assert "No such order" not in _page(http)
    assert "1 in <a" in _page(http)
    assert "for 10 traces" in _page(http, f"/{first}")
    _send(http, first, "resolve", release="2.4")
    assert "in 2.4" in _page(http, f"/{first}")
    _send(http, first, "open")
    assert "No such order" in _page(http)
    _send(http, first, "name", name="")
    assert "LookupError in look_up" in _page(http)
    merged = _send(http, second, "merge", into=first)
    assert merged.headers["location"].split("?")[0].endswith(first)
    assert _fingerprints(http) == [first]
    assert "<b>3</b><span>traces</span>" in _page(http, f"/{second}")
    _send(http, second, "separate")
    assert _fingerprints(http) == [first, second]


def test_a_page_of_another_site_changes_nothing(http: httpx.Client) -> None:
    """A form from another site is refused, and no GET changes a group."""
    first = _fingerprints(http)[0]
    form = {"name": "Owned"}
    for origin in ("https://evil.example", "null"):
        refused = http.post(f"/ui/failures/{first}/name", data=form, headers={"Origin": origin})
        assert refused.status_code == 403
    assert http.get(f"/ui/failures/{first}/name", params=form).status_code == 405
    assert "Owned" not in _page(http)


def test_unknown_groups_and_actions_are_refused(http: httpx.Client) -> None:
    """An unknown group has status 404; an unknown action has status 422."""
    assert http.get("/ui/failures/0123456789abcdef").status_code == 404
    assert _send(http, "0123456789abcdef", "open").status_code == 404
    assert _send(http, _fingerprints(http)[0], "explode").status_code == 422
    assert _send(http, _fingerprints(http)[0], "merge", into="0123456789abcdef").status_code == 404
