"""The pages of the local server, over HTTP."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Generator, Sequence
from html.parser import HTMLParser
from typing import Any, Literal, TypeAlias
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider

from cpu import cpu_seconds
from local_http import http_of
from pandaprobe_otel import PandaProbeSpanProcessor
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.traces.comparison import paired_spans
from pandaprobe_otel.traces.records import TraceRecord
from waiting import wait_until

STARTED = "2026-01-02T03:04:05+00:00"
ONE, TWO, THREE = (str(UUID(int=number)) for number in (1, 2, 3))
SPAN = str(UUID(int=11))


class Page(HTMLParser):
    """The elements, the text and the links of a page, as a browser would parse them."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.status = answer.status_code
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and all(value in (attributes.get(key) or "") for key, value in wanted.items())
        ]


@pytest.fixture(scope="module")
def server() -> Generator[LocalServer]:
    """Yield a server whose judge is scripted."""
    with LocalServer(limit=None, scripted_judge=True) as running:
        yield running


@pytest.fixture
def http(server: LocalServer) -> Generator[httpx.Client]:
    """Yield a client of project `shop`, which has no traces."""
    with http_of(server) as client:
        yield client
        for project in ("shop", "bank", "made later"):
            headers = {"X-Project-Name": project}
            ids = [one["trace_id"] for one in client.get("/traces", headers=headers).json()["items"]]
            client.post("/traces/batch/delete", json={"trace_ids": ids}, headers=headers)


def _trace(trace_id: str = ONE, **fields: Any) -> dict[str, Any]:
    return {
        "trace_id": trace_id,
        "name": "refund",
        "started_at": STARTED,
        "ended_at": "2026-01-02T03:04:09+00:00",
        "session_id": "chat 1",
        "input": {"messages": [{"role": "user", "content": "Where is my order?"}]},
        "output": {"messages": [{"role": "assistant", "content": "On its way."}]},
        **fields,
    }


def _agent_spans(first: int = 11) -> list[dict[str, Any]]:
    root, llm, tool = (str(UUID(int=first + offset)) for offset in range(3))
    call = {"function": {"name": "look_up", "arguments": '{"number": 17}'}}
    user = {"role": "user", "content": "Where is my order?"}
    return [
        {"span_id": root, "name": "assistant", "kind": "AGENT", "started_at": STARTED, "ended_at": _at(4)},
        {
            "span_id": llm,
            "parent_span_id": root,
            "name": "chat",
            "kind": "LLM",
            "model": "gpt-x",
            "started_at": _at(0),
            "ended_at": _at(1),
            "completion_start_time": _at(0.5),
            "token_usage": {"prompt_tokens": 40, "completion_tokens": 2},
            "input": {"messages": [user]},
            "output": {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]},
            "metadata": {"tools": [{"name": "look_up"}, {"name": "cancel", "description": "Cancel an order"}]},
        },
        {
            "span_id": tool,
            "parent_span_id": root,
            "name": "look_up",
            "kind": "TOOL",
            "status": "ERROR",
            "error": "order service is down",
            "started_at": _at(1),
            "ended_at": _at(4),
            "input": {"number": 17},
        },
    ]


def _at(seconds: float) -> str:
    return f"2026-01-02T03:04:{5 + seconds:06.3f}+00:00"


def _page(http: httpx.Client, path: str) -> Page:
    answer = http.get(path)
    assert answer.status_code == 200, answer.text[-2000:]
    return Page(answer)


def test_a_browser_gets_the_pages_and_a_client_json(http: httpx.Client) -> None:
    """`/` redirects browsers to the pages and returns JSON to clients, by the `Accept` header."""
    page = http.get("/", headers={"Accept": "text/html,application/xhtml+xml"})
    assert (page.status_code, page.headers["location"]) == (303, "/ui")
    assert http.get("/").json()["name"] == "PandaProbe"


def test_without_traces_the_page_shows_the_line_to_add(server: LocalServer, http: httpx.Client) -> None:
    """A server without traces shows the one line to add and the endpoint to send to."""
    text = _page(http, "/ui").text
    assert "pandaprobe_otel.init()" in text
    assert f"PANDAPROBE_ENDPOINT={server.url}" in text


def test_the_list_shows_questions(http: httpx.Client) -> None:
    """A row has the name, the question, and links to trace and session."""
    http.post("/traces", json=_trace())
    page = _page(http, "/ui")
    assert "Where is my order?" in page.text
    assert page.all("a", href=f"/ui/traces/{ONE}")
    assert page.all("a", href="/ui/session?")


def test_an_outcome_that_is_neither_success_nor_failure_is_marked(http: httpx.Client) -> None:
    """An outcome such as "timed out" is marked in the list, the trace, tree, span and session, and in Markdown."""
    root, *_ = _agent_spans()
    metadata = {"outcome": "timed_out"}
    http.post("/traces", json=_trace(metadata=metadata, spans=[{**root, "status": "UNSET", "metadata": metadata}]))
    http.post("/traces", json=_trace(TWO, metadata={"outcome": 7}, session_id="other"))
    listed = _page(http, "/ui?project=shop")
    assert len(listed.all("span", **{"class": "outcome"})) == 1
    assert [dot["title"] for dot in listed.all("span", **{"class": "dot s-stopped"})] == ["COMPLETED, timed out"]
    shown = _page(http, f"/ui/traces/{ONE}?span={SPAN}")
    assert shown.text.count("timed out") == len(shown.all("span", **{"class": "outcome"})) == 3
    assert "timed out" in _page(http, f"/ui/session?project=shop&id={quote('chat 1')}").text
    markdown = http.get(f"/ui/traces/{ONE}/markdown").text
    assert ", COMPLETED, timed_out, started " in markdown
    assert "**timed_out**" in markdown


def _found(http: httpx.Client, query: str) -> list[str | None]:
    return [link["href"] for link in _page(http, f"/ui?{query}").all("a", href="/ui/traces/")]


def test_projects_are_apart(server: LocalServer, http: httpx.Client) -> None:
    """A project's page shows only traces of this project, and names every project."""
    http.post("/traces", json=_trace(ONE, name="of shop"))
    http.post("/traces", json=_trace(TWO, name="of bank"), headers={"X-Project-Name": "bank"})
    ids = {project.name: project.id for project in server.services.accounts.projects(server.services.accounts.home.id)}
    page = _page(http, f"/ui?project={ids['bank']}")
    assert [option["value"] for option in page.all("option", value="-")] == list(ids.values())
    assert "of bank" in page.text
    assert "of shop" not in page.text


def test_the_views_of_a_trace(http: httpx.Client) -> None:
    """A trace is a tree with bars on one axis; its spans, conversation, tools, scores and JSON have views.

    Each span is a row at its depth. Errors link to their span. A search dims the spans without the text.
    """
    http.post("/traces", json=_trace(spans=_agent_spans()))
    score = {"trace_id": ONE, "name": "helpful", "value": "0.25", "reason": "no date was given"}
    http.post("/evaluations/trace-scores", json=score)
    page = _page(http, f"/ui/traces/{ONE}")
    assert [node["aria-level"] for node in page.all("a", role="treeitem")] == ["1", "2", "3", "3"]
    assert [bar["x"] for bar in page.all("rect", **{"class": "bar"})] == ["0", "0.0%", "0.0%", "25.0%"]
    assert "order service is down" in page.text
    assert "Where the time went" in page.text
    assert page.all("a", href=f"?span={UUID(int=13)}")

    found = _page(http, f"/ui/traces/{ONE}?q=SERVICE%20is").all("a", role="treeitem")
    assert sum("dim" in (node["class"] or "") for node in found) == 2

    call = _page(http, f"/ui/traces/{ONE}/spans/{UUID(int=12)}")
    assert {tool["class"] for tool in call.all("span", **{"class": "tool"})} == {"tool called", "tool"}
    assert "500 ms" in call.text
    assert "1 of 2 called" in call.text
    assert call.all("a", href=f"?span={UUID(int=11)}"), "no link to the parent"

    chat = _page(http, f"/ui/traces/{ONE}?view=chat").text
    assert chat.count("Where is my order?") == 1
    assert '"number": 17' in chat
    for view, words in (("tools", "cancel"), ("scores", "no date was given"), ("json", '"prompt_tokens"')):
        assert words in _page(http, f"/ui/traces/{ONE}?view={view}").text
    assert http.get(f"/ui/traces/{ONE}/raw").json()["trace_id"] == ONE


def test_a_part_of_a_trace_as_markdown(http: httpx.Client) -> None:
    """A trace, or a span with its descendants, is available as Markdown; code fences in the content cannot break it."""
    spans = _agent_spans()
    spans[2]["input"] = "```\ncode\n```"
    http.post("/traces", json=_trace(spans=spans))
    whole = http.get(f"/ui/traces/{ONE}/markdown").text
    part = http.get(f"/ui/traces/{ONE}/markdown", params={"span": str(UUID(int=13))}).text
    assert whole.startswith("# refund\n")
    assert whole.count("## AGENT assistant") == 1
    assert "### LLM chat" in whole
    assert "LLM chat" not in part
    assert "````\n```\ncode\n```\n````" in part


def test_a_session_is_a_sequence_of_turns(http: httpx.Client) -> None:
    """A session shows the question, tools, errors and answer of each trace, oldest first."""
    http.post("/traces", json=_trace(ONE, spans=_agent_spans()))
    second = {"started_at": "2026-01-02T03:05:05+00:00", "input": "Thanks", "output": "You are welcome."}
    http.post("/traces", json=_trace(TWO, **second))
    page = _page(http, f"/ui/session?id={quote('chat 1')}")
    assert "order service is down" in page.text
    assert page.text.index("Where is my order?") < page.text.index("Thanks") < page.text.index("You are welcome.")
    assert _page(http, "/ui/sessions").all("a", href="chat+1")


def test_two_traces_side_by_side(http: httpx.Client) -> None:
    """A comparison matches spans, names the differences, and shows the changed lines."""
    http.post("/traces", json=_trace(ONE, spans=_agent_spans()))
    other = _agent_spans(31)
    other[2] |= {"status": "OK", "error": None, "output": "found"}
    other.append({"name": "extra", "kind": "TOOL", "started_at": _at(2), "parent_span_id": other[0]["span_id"]})
    http.post("/traces", json=_trace(TWO, spans=other, output="It arrives today."))
    page = _page(http, f"/ui/diff?trace={ONE}&trace={TWO}")
    assert len(page.all("div", **{"class": "c-same"})) == 2
    assert len(page.all("div", **{"class": "c-changed"})) == 1
    assert len(page.all("div", **{"class": "c-right"})) == 1
    assert "output, status, error" in page.text
    assert "It arrives today." in page.text
    assert "Tick two traces" in _page(http, f"/ui/diff?trace={ONE}").text


def test_evaluations_lead_to_the_traces_they_judged(server: LocalServer, http: httpx.Client) -> None:
    """A metric has figures; a metric and the mean of a run list the traces behind them."""
    server.judge.set("coherence", [0.92, 0.31], reason="it hedged")
    http.post("/traces", json=_trace(ONE)).raise_for_status()
    http.post("/traces", json=_trace(TWO)).raise_for_status()
    body = {"trace_ids": [ONE, TWO], "metrics": ["coherence"], "name": "nightly"}
    run = http.post("/evaluations/trace-runs/batch", json=body).raise_for_status().json()["id"]
    monitor = {"name": "watch", "target_type": "TRACE", "metrics": ["coherence"], "cadence": "daily"}
    http.post("/evaluations/monitors", json=monitor)
    wait_until(lambda: http.get(f"/evaluations/trace-runs/{run}").json()["status"] == "COMPLETED")

    page, run_page = _page(http, "/ui/evaluations"), _page(http, f"/ui/runs/{run}")
    assert "nightly" in page.text
    assert "it hedged" in run_page.text
    assert "watch" in _page(http, "/ui/monitors").text
    (metric,) = page.all("a", title="with this score")
    (mean,) = [link for link in run_page.all("a", href="score") if "view" not in str(link)]
    for link in (metric, mean):
        listed = http.get(str(link["href"])).text
        assert (ONE in listed, TWO in listed) == (True, True)


def test_a_perfect_score_of_nothing_is_not_shown_as_a_success(http: httpx.Client) -> None:
    """A score of 1.0 that was given because there was nothing to judge is marked as such."""
    http.post("/traces", json=_trace(input=None, output=None))
    score = {
        "trace_id": ONE,
        "name": "coherence",
        "value": "1.0",
        "reason": "Input or output is empty; coherence assumed.",
    }
    http.post("/evaluations/trace-scores", json=score)
    classes = [span["class"] for span in _page(http, f"/ui/traces/{ONE}").all("span", **{"class": "score"})]
    assert classes == ["score vacuous"] * 2


def test_pages_with_a_token_need_it() -> None:
    """With auth the pages need the server's token; the cookie does not hold it, and scripts cannot read the cookie."""
    with LocalServer(auth=True, token="open sesame") as server:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as http:
            paths = ("/ui", f"/ui/traces/{ONE}", "/ui/sessions", "/ui/monitors", "/ui/diff", "/ui/failures")
            closed = [*map(http.get, paths), http.post("/ui/act/delete")]
            api = http.get("/local/failures", headers={"X-Project-Name": "x"})
            wrong = http.post("/ui/sign-in", data={"token": "sesame"})
            right = http.post("/ui/sign-in", data={"token": "open sesame"})
            inside = http.get("/ui")
        cookie = right.headers["set-cookie"].lower()
        with httpx.Client(
            base_url=server.url, cookies={"pandaprobe_local": "guess"}, trust_env=False, timeout=60
        ) as http:
            guessed = http.get("/ui")
    assert [answer.headers.get("location") for answer in closed] == ["/ui/sign-in"] * 7
    assert api.status_code == 401
    assert (wrong.status_code, right.status_code, inside.status_code) == (401, 303, 200)
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "sesame" not in cookie
    assert "PANDAPROBE_API_KEY" in inside.text, "the empty page names no API key"
    assert guessed.status_code == 303


def _post_spans(http: httpx.Client, trace_id: str, spans: list[dict[str, Any]]) -> None:
    assert http.post("/traces", json=_trace(trace_id, spans=spans[:500])).status_code == 202
    for first in range(500, len(spans), 500):
        assert http.post(f"/traces/{trace_id}/spans", json=spans[first : first + 500]).status_code == 201


def test_many_spans_are_shown(http: httpx.Client) -> None:
    """2,000 spans, some in cycles, are rendered once each, in time proportional to their number."""
    spans = [
        {
            "span_id": str(UUID(int=100 + number)),
            "parent_span_id": str(UUID(int=100 + number // 3)),
            "name": f"step {number}",
            "started_at": _at(number / 1000),
            "ended_at": _at(number / 1000 + 0.5),
        }
        for number in range(2000)
    ]
    spans[5]["parent_span_id"] = str(UUID(int=100 + 17))

    def takes() -> float:  # with the server's part, which runs in this process
        return cpu_seconds(lambda: http.get(f"/ui/traces/{ONE}"), rounds=2)

    _post_spans(http, ONE, spans[:200])
    of_a_tenth = takes()
    _post_spans(http, ONE, spans)
    page = _page(http, f"/ui/traces/{ONE}")
    assert takes() < 30 * of_a_tenth  # the ratio would be a hundred if each span were compared with every other
    assert len({node["href"] for node in page.all("a", role="treeitem")}) == 2001
    assert len(page.all("a", role="treeitem")) == 2001


def test_traces_of_any_depth_are_shown_and_compared(http: httpx.Client) -> None:
    """A chain of spans is shown and compared at depths beyond Python's recursion limit."""
    for trace_id, first in ((ONE, 100), (TWO, 5000)):
        ids = [str(UUID(int=first + number)) for number in range(1500)]
        links = zip(ids, [None, *ids], strict=False)
        named = [
            {"span_id": span, "parent_span_id": parent, "name": "s", "started_at": STARTED} for span, parent in links
        ]
        _post_spans(http, trace_id, named)
    assert len(_page(http, f"/ui/traces/{ONE}").all("a", role="treeitem")) == 1501
    assert len(_page(http, f"/ui/diff?trace={ONE}&trace={TWO}").all("div", **{"class": "c-same"})) == 1500


Steps: TypeAlias = Sequence[tuple[str, float, float]]
"""Inputs of steps, with their begins and ends in seconds."""


def test_parallel_siblings_are_compared_by_input() -> None:
    """Siblings that overlap are matched by input, because their order is chance; others by order."""

    def changes(right: Steps, left: Steps) -> list[int]:
        sides = [
            [{"span_id": str(at), "input": given, "started_at": _at(begin), "ended_at": _at(end)}
             for at, (given, begin, end) in enumerate(steps)]
            for steps in (left, right)
        ]  # fmt: skip
        pairs = paired_spans(*(TraceRecord({"spans": spans}) for spans in sides))
        return [sum(pair.change == change for pair in pairs) for change in ("same", "changed", "left", "right")]

    one_by_one = [("a", 1, 2), ("b", 3, 4)]
    assert changes([("a", 1, 5), ("b", 2, 6), ("c", 3, 7)], [("c", 1, 5), ("a", 2, 6), ("b", 3, 7)]) == [3, 0, 0, 0]
    assert changes(one_by_one, [("b", 1, 2), ("a", 3, 4)]) == [1, 1, 0, 0]
    assert changes(one_by_one, [("b", 1, 3), ("a", 2, 4)]) == [2, 0, 0, 0]
    assert changes(one_by_one, [("a", 1, 2)]) == [1, 0, 0, 1]


def test_static_files_are_the_projects_own(http: httpx.Client) -> None:
    """Style and script are served with their types; unknown names and paths outside the folder get 404."""
    types = {
        name: http.get(f"/ui/static/{name}").headers["content-type"] for name in ("app.css", "app.js", "panda.svg")
    }
    assert types["app.css"].startswith("text/css")
    assert types["app.js"].startswith("text/javascript")
    assert [http.get(f"/ui/static/{name}").status_code for name in ("x.css", "..%2Frendering.py")] == [404, 404]
    script = http.get("/ui/static/app.js").text
    assert "http://" not in script
    assert "https://" not in script
    assert "innerHTML" not in script


def test_the_project_of_the_last_trace_is_shown(server: LocalServer, http: httpx.Client) -> None:
    """The default project is that of the last stored trace, not the newest project."""
    http.post("/traces", json=_trace(ONE)).raise_for_status()
    other = {"X-API-Key": server.api_key, "X-Project-Name": "made later"}
    http.post("/traces", json=_trace(TWO), headers=other).raise_for_status()
    assert _found(http, "") == [f"/ui/traces/{TWO}"]
    http.post("/traces", json=_trace(ONE)).raise_for_status()
    http.post("/traces", json=_trace(THREE)).raise_for_status()

    assert f"/ui/traces/{THREE}" in _found(http, "")


def test_an_unknown_number_is_shown_as_a_dash(http: httpx.Client) -> None:
    """Unknown tokens and costs are shown as a dash; known zeros as 0 and $0."""
    span = {"span_id": SPAN, "name": "chat", "kind": "LLM", "started_at": "2026-01-01T00:00:00Z"}
    http.post("/traces", json=_trace(ONE, spans=[span])).raise_for_status()
    priced = {**span, "span_id": str(UUID(int=77)), "token_usage": {"prompt_tokens": 0}, "cost": {"total": 0.0}}
    http.post("/traces", json=_trace(TWO, spans=[priced])).raise_for_status()
    unknown, free = (http.get(f"/ui/traces/{each}").text for each in (ONE, TWO))

    assert re.findall(r"<b>([^<]*)</b><span>(tokens|cost)</span>", unknown) == [("–", "tokens"), ("–", "cost")]
    assert re.findall(r"<b>([^<]*)</b><span>(tokens|cost)</span>", free) == [("0", "tokens"), ("$0", "cost")]


STACK = 'Traceback (most recent call last):\n  File "app.py", line 9, in look_up\n    return orders[key]\n'


def test_an_error_has_its_type_and_its_stack(http: httpx.Client) -> None:
    """The type that only the metadata names is shown and found; the stack trace has lines, and is shown once."""
    metadata = {"error_type": "KeyError", "stack_trace": STACK, "scope": "app"}
    failed = {"span_id": SPAN, "name": "look_up", "kind": "TOOL", "status": "ERROR", "started_at": STARTED}
    span = {**failed, "error": "'missing key 7431'", "metadata": metadata}
    http.post("/traces", json=_trace(status="ERROR", spans=[span])).raise_for_status()
    plain = {**failed, "span_id": str(UUID(int=12)), "error": "openai.APITimeoutError: 8 s", "metadata": {}}
    http.post("/traces", json=_trace(TWO, status="ERROR", spans=[plain])).raise_for_status()

    html = http.get(f"/ui/traces/{ONE}", params={"span": SPAN}).text
    assert "KeyError: &#39;missing key 7431&#39;" in html
    assert html.count("line 9, in look_up") == 1
    assert re.search(r"<pre[^>]*>Traceback .most recent call last.:\n  File", html)
    assert "KeyError: " in http.get(f"/ui/traces/{ONE}").text
    assert "KeyError: 'missing key 7431'" in http.get(f"/ui/traces/{ONE}/markdown").text
    for query, found in (
        ("error_type:KeyError", [ONE]),
        ("error_type:APITimeoutError", [TWO]),
        ("error_type:TimeoutError", []),
    ):
        listed = http.get("/ui", params={"q": query}).text
        assert [one for one in (ONE, TWO) if f"/ui/traces/{one}" in listed] == found, query


@pytest.mark.parametrize(("media", "is_shown"), [(None, True), ("digest", False)])
def test_small_pictures_are_shown(
    server: LocalServer, http: httpx.Client, media: Literal["digest"] | None, is_shown: bool
) -> None:
    """A local server gets small pictures with their data; otherwise the page shows their type and size."""
    data = b64encode(b"\x89PNG\r\n\x1a\n" + bytes(3_000)).decode()
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    messages = json.dumps([{"role": "user", "parts": [part]}])
    call = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.input.messages": messages}
    provider = TracerProvider(shutdown_on_exit=False)
    processor = PandaProbeSpanProcessor(
        endpoint=server.url, api_key=server.api_key, project_name="shop", media=media, live=False
    )
    provider.add_span_processor(processor)
    provider.get_tracer("app").start_span("chat m", attributes=call).end()
    assert processor.force_flush(60_000)
    provider.shutdown()

    (trace,) = http.get("/traces").json()["items"]
    html = http.get(f"/ui/traces/{trace['trace_id']}?view=chat").text
    assert (f'<img class="media" src="data:image/png;base64,{data}"' in html) is is_shown
    assert is_shown or "<b>image/png</b> 3\u202f008 bytes" in html
