"""Actions on the pages: forms that work without scripts, and the equivalent command and line of Python."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Generator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from command_line import clean_environment, run_here
from local_http import http_of
from pandaprobe_otel import Client
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
    """The forms of a page, as a browser without scripts would send them, with the first command and line of Python."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.forms: list[tuple[dict[str, str | None], dict[str, list[str]]]] = []
        self.marked: dict[str, str] = {}
        self._mark = ""
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        marks = (name for name in ("data-command", "data-python") if name in given and name not in self.marked)
        self._mark = next(marks, self._mark)
        if tag == "form":
            self.forms.append((given, {}))
        elif tag in ("input", "textarea", "select") and self.forms and given.get("name"):
            fields = self.forms[-1][1].setdefault(str(given["name"]), [])
            if given.get("type") not in ("radio", "checkbox"):
                fields.append(given.get("value") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "pre":
            self._mark = ""

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._mark:
            self.marked[self._mark] = self.marked.get(self._mark, "") + data


def submitted(http: httpx.Client, page: str, action: str, **filled: Any) -> Forms:
    """Fill in a form of a page, send it as a browser does, and return the page that follows."""
    answer = http.get(page)
    assert answer.status_code == 200, answer.text
    fields = next(fields for given, fields in Forms(answer.text).forms if given.get("action") == action)
    assert set(filled) <= set(fields) | {"verb"}
    sent = http.post(
        action,
        data={**fields, **filled},
        headers={"Origin": str(http.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"},
    )
    assert sent.status_code == 303, sent.text
    return Forms(http.get(sent.headers["location"]).raise_for_status().text)


def rows_of(http: httpx.Client) -> Any:
    """Return the scores, monitors and traces that actions change, without ids and times."""
    volatile = {"id", "created_at", "updated_at", "trace_id", "next_run_at", "completed_at", "last_run_at"}
    items: list[Mapping[str, Any]] = []
    for path in ("/evaluations/trace-scores", "/evaluations/monitors", "/traces"):
        items += http.get(path).raise_for_status().json()["items"]
    return [{name: value for name, value in item.items() if name not in volatile} for item in items]


def reset(http: httpx.Client) -> None:
    """Undo what an action changed."""
    http.post("/traces/batch/delete", json={"trace_ids": [ONE, TWO, THREE]})
    for monitor in http.get("/evaluations/monitors").json()["items"]:
        http.delete(f"/evaluations/monitors/{monitor['id']}")
    for trace_id in (ONE, TWO, THREE):
        body = {"trace_id": trace_id, "name": "refund", "started_at": STARTED, "ended_at": STARTED, "tags": ["old"]}
        http.post("/traces", json=body).raise_for_status()


SELECTED = f"/ui/selected?trace={ONE}&trace={TWO}"
ACTIONS: dict[str, Callable[[httpx.Client], Forms]] = {
    "score": lambda http: submitted(
        http, f"/ui/traces/{ONE}?view=scores", "/ui/act/score", name="-tone's", rating="4", note='"kind" & $HOME'
    ),
    "score without a note": lambda http: submitted(
        http, f"/ui/traces/{ONE}?view=scores", "/ui/act/score", name="tone", rating="1"
    ),
    "tag": lambda http: submitted(http, SELECTED, "/ui/act/tag", add="new, it's", remove="old"),
    "delete": lambda http: submitted(http, SELECTED, "/ui/act/delete"),
    "delete one": lambda http: submitted(http, f"/ui/selected?trace={ONE}", "/ui/act/delete"),
    "monitor": lambda http: submitted(
        http, "/ui/monitors", "/ui/act/monitor", name="nightly", metric=["confidence"], tags="old", cadence="daily"
    ),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_command_and_python_line_equal_the_action_of_the_page(
    http: httpx.Client, server: LocalServer, tmp_path: Path, name: str
) -> None:
    """The command and the line of Python that a page shows leave the same rows as the action on the page."""
    before = rows_of(http)
    after = ACTIONS[name](http)
    expected = rows_of(http)
    command, python = shlex.split(after.marked["data-command"]), after.marked["data-python"]

    reset(http)
    assert rows_of(http) == before
    environment = clean_environment(tmp_path, PANDAPROBE_API_KEY=server.api_key)
    ran = run_here(*command[1:], environment=environment)
    assert (ran.returncode, command[0]) == (0, "pandaprobe-otel"), ran.stderr
    assert rows_of(http) == expected

    reset(http)
    variables: dict[str, Any] = {"Client": lambda **given: Client(server.api_key, **given)}
    exec(python, variables)
    variables["client"].close()
    assert rows_of(http) == expected != before


def test_chosen_traces_are_evaluated(http: httpx.Client, server: LocalServer, tmp_path: Path) -> None:
    """The page, the command and the line of Python each start a run of the chosen traces and the chosen metric."""
    after = submitted(http, SELECTED, "/ui/act/evaluate", metric=["confidence"])
    run_here(
        *shlex.split(after.marked["data-command"])[1:],
        environment=clean_environment(tmp_path, PANDAPROBE_API_KEY=server.api_key),
    )
    variables: dict[str, Any] = {"Client": lambda **given: Client(server.api_key, **given)}
    exec(after.marked["data-python"], variables)
    variables["client"].close()

    runs = http.get("/evaluations/trace-runs").json()["items"]
    wait_until(lambda: all(run["status"] == "COMPLETED" for run in http.get("/evaluations/trace-runs").json()["items"]))

    assert len(runs) == 3
    assert {(run["target_type"], *run["metric_names"]) for run in runs} == {("TRACE", "confidence")}
    assert [run["filters"] for run in runs] == [{"trace_ids": [ONE, TWO]}] * 3


def test_a_queue_is_annotated_one_by_one(http: httpx.Client) -> None:
    """The queue shows how many traces are scored and left; at the end it links to the first one without a score."""
    queue = f"/ui/annotate?name=tone&trace={ONE}&trace={TWO}&trace={THREE}"
    second = submitted(http, queue, "/ui/act/score", rating="5")
    assert "2 of 3" in second.text
    assert "1 scored, 2 left" in second.text
    third = submitted(http, f"{queue}&at=2", "/ui/act/score", rating="2", note="rude")

    assert "2 of 3 scored. 1 left" in " ".join(third.text.split())
    scores = http.get("/evaluations/trace-scores").json()["items"]
    assert {(s["trace_id"], s["value"], s["reason"], s["source"]) for s in scores} == {
        (ONE, "1.0", None, "ANNOTATION"),
        (THREE, "0.25", "rude", "ANNOTATION"),
    }


def test_a_monitor_is_paused_resumed_run_and_deleted(http: httpx.Client) -> None:
    """Each row of a monitor has buttons to pause, resume, run and delete the monitor."""
    ACTIONS["monitor"](http)
    [monitor] = http.get("/evaluations/monitors").json()["items"]
    address = f"/evaluations/monitors/{monitor['id']}"
    action = f"/ui/act/monitors/{monitor['id']}"

    submitted(http, "/ui/monitors", action, verb="pause")
    assert http.get(address).json()["status"] == "PAUSED"
    submitted(http, "/ui/monitors", action, verb="resume")
    assert http.get(address).json()["status"] == "ACTIVE"
    submitted(http, "/ui/monitors", action, verb="trigger")
    assert http.get(f"{address}/runs").json()["total"] == 1
    submitted(http, "/ui/monitors", action, verb="delete")
    assert http.get(address).status_code == 404


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


def test_the_export_command_writes_the_file_of_the_page(
    http: httpx.Client, server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shown command writes the same file as the page, apart from the time of the export."""
    shown = Forms(http.get(f"/ui/selected?trace={ONE}").text).marked["data-command"]
    saved = http.get(f"/ui/selected/export?trace={ONE}&form=html").text
    monkeypatch.chdir(tmp_path)
    ran = run_here(*shlex.split(shown)[1:], environment=clean_environment(tmp_path, PANDAPROBE_API_KEY=server.api_key))

    assert ran.returncode == 0, ran.stderr
    moment = re.compile(r"exported [-0-9: ]+ UTC|\+00:00|(?<=\d)Z")
    written = (tmp_path / "traces.html").read_text(encoding="utf-8")
    assert moment.sub("", written).strip() == moment.sub("", saved).strip()
