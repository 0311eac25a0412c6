"""Actions on the pages: forms that work without scripts."""

from __future__ import annotations

from collections.abc import Generator
from html.parser import HTMLParser
from typing import Any
from uuid import UUID

import httpx
import pytest

from local_http import http_of
from pandaprobe_otel.local import LocalServer
from waiting import wait_until

STARTED = "2026-01-02T03:04:05+00:00"
ONE, TWO, THREE = (str(UUID(int=number)) for number in (1, 2, 3))
PROJECT = "support desk"


@pytest.fixture(scope="module")
def server() -> Generator[LocalServer]:
    """Yield a server whose judge is scripted."""
    with LocalServer(limit=None, scripted_judge=True) as running:
        yield running


@pytest.fixture
def http(server: LocalServer) -> Generator[httpx.Client]:
    """Yield a client of the project, in which the test stores three new traces."""
    with http_of(server, PROJECT) as client:
        reset(client)
        yield client


class Forms(HTMLParser):
    """The forms of a page, as a browser without scripts would send them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.forms: list[tuple[dict[str, str | None], dict[str, list[str]]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self.forms.append((given, {}))
        elif tag in ("input", "textarea", "select") and self.forms and given.get("name"):
            fields = self.forms[-1][1].setdefault(str(given["name"]), [])
            if given.get("type") not in ("radio", "checkbox"):
                fields.append(given.get("value") or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def submitted(http: httpx.Client, page: str, action: str, **filled: Any) -> Forms:
    """Fill in a form of a page, send it as a browser does, and return the page that follows."""
    answer = http.get(page)
    assert answer.status_code == 200, answer.text
    fields = next(fields for given, fields in Forms(answer.text).forms if given.get("action") == action)
    assert set(filled) <= set(fields)
    sent = http.post(
        action,
        data={**fields, **filled},
        headers={"Origin": str(http.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"},
    )
    assert sent.status_code == 303, sent.text
    return Forms(http.get(sent.headers["location"]).raise_for_status().text)


def reset(http: httpx.Client) -> None:
    """Undo what an action changed."""
    http.post("/traces/batch/delete", json={"trace_ids": [ONE, TWO, THREE]})
    for trace_id in (ONE, TWO, THREE):
        body = {"trace_id": trace_id, "name": "refund", "started_at": STARTED, "ended_at": STARTED, "tags": ["old"]}
        http.post("/traces", json=body).raise_for_status()


SELECTED = f"/ui/selected?trace={ONE}&trace={TWO}"


def test_actions_change_what_their_forms_say(http: httpx.Client) -> None:
    """A score, tags and a deletion reach the chosen traces, with any characters, and no others."""
    note = '"kind" & $HOME'
    submitted(http, f"/ui/traces/{ONE}?view=scores", "/ui/act/score", name="-tone's", rating="4", note=note)
    submitted(http, SELECTED, "/ui/act/tag", add="new, it's", remove="old")
    [score] = http.get("/evaluations/trace-scores").json()["items"]
    tags = [http.get(f"/traces/{each}").json()["tags"] for each in (ONE, TWO, THREE)]
    submitted(http, SELECTED, "/ui/act/delete")

    given = ("trace_id", "name", "value", "data_type", "source", "reason")
    assert [score[name] for name in given] == [ONE, "-tone's", "0.75", "NUMERIC", "ANNOTATION", note]
    assert tags == [["it's", "new"], ["it's", "new"], ["old"]]
    assert [each["trace_id"] for each in http.get("/traces").json()["items"]] == [THREE]


def test_chosen_traces_are_evaluated(http: httpx.Client) -> None:
    """The form starts a run of the chosen traces and the chosen metric."""
    submitted(http, SELECTED, "/ui/act/evaluate", metric=["confidence"])
    [run] = http.get("/evaluations/trace-runs").json()["items"]
    wait_until(lambda: http.get(f"/evaluations/trace-runs/{run['id']}").json()["status"] == "COMPLETED")

    assert (run["target_type"], run["metric_names"]) == ("TRACE", ["confidence"])
    assert run["filters"] == {"trace_ids": [ONE, TWO]}


@pytest.mark.parametrize(
    ("action", "fields", "status", "words"),
    [
        ("score", {"trace": ONE, "name": "tone"}, 422, "Choose a rating from 1 to 5."),
        ("score", {"trace": str(UUID(int=9)), "name": "tone", "rating": "3"}, 404, "not found"),
        ("delete", {}, 422, "Choose a trace."),
        ("delete", {"trace": "<script>"}, 422, "badly formed"),
        ("evaluate", {"trace": ONE, "metric": "nonsense"}, 422, "nonsense"),
    ],
)
def test_an_impossible_action_shows_the_reason(
    http: httpx.Client, action: str, fields: dict[str, str], status: int, words: str
) -> None:
    """The page gives the reason and a link back, but never a link to another server."""
    project = http.get("/ui/selected", params={"trace": ONE}).text.partition('name="project" value="')[2][:36]
    answer = http.post(f"/ui/act/{action}", data={"project": project, "next": "//evil.example/ui", **fields})

    assert (answer.status_code, words in answer.text) == (status, True), answer.text
    assert 'href="/ui"' in answer.text
    assert "evil.example" not in answer.text


@pytest.mark.parametrize(("form", "start"), [("html", "<!doctype html>"), ("md", "#"), ("json", "[{")])
def test_chosen_traces_are_exported(http: httpx.Client, form: str, start: str) -> None:
    """Chosen traces are exported as a file that the browser saves and does not open."""
    answer = http.get(f"/ui/selected/export?trace={ONE}&trace={TWO}&form={form}")

    assert answer.text.startswith(start)
    assert answer.headers["content-disposition"] == f'attachment; filename="traces.{form}"'
    assert ONE in answer.text
    assert TWO in answer.text
