"""Readable content: Markdown, code, folding JSON, pictures, documents and tool calls; hostile content is only text.

Also the critical path of a trace.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from typing import Any, TypeAlias
from uuid import UUID

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile_markdown import HOSTILE, OTHER, PLACES, TRACE, addresses, trace_of
from local_http import http_of
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.local.pages.json_view import json_tree
from pandaprobe_otel.traces.records import TraceRecord

STARTED = "2026-01-02T03:04:05Z"
ONE = str(UUID(int=1))
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 40).decode()
ALLOWED = {"a": r"(https?:|mailto:|#|\?|/(?!/))", "form": r"/(?!/)", "link": "/ui/static/", "script": "/ui/static/",
           "img": r"(/ui/static/|data:image/(png|jpeg|gif|webp);base64,)", "audio": "data:audio/"}  # fmt: skip
"""The addresses of each element that has any."""
ADDRESSES = {"href", "xlink:href", "src", "action", "formaction", "data", "poster"}
FORBIDDEN = {"style", "srcdoc", "srcset", "ping", "background"}


class Audit(HTMLParser):
    """A parser that collects whatever could run or load in a browser."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Check a tag and its attributes."""
        given = dict(attrs)
        if tag in ("iframe", "object", "embed", "base", "style", "video") or (tag == "script" and "src" not in given):
            self.wrong.append(tag)
        for name, value in given.items():
            allowed = ALLOWED["form"] if name == "formaction" else ALLOWED.get(tag, "$")
            bad = name in ADDRESSES and not re.match(allowed, value or "", re.IGNORECASE)
            if bad or name.startswith("on") or name in FORBIDDEN or (tag, name) == ("meta", "http-equiv"):
                self.wrong.append(f"{tag} {name}={value}")


@pytest.fixture(scope="module")
def server() -> Generator[LocalServer]:
    """Yield a server."""
    with LocalServer(limit=None) as running:
        yield running


@pytest.fixture
def http(server: LocalServer) -> Generator[httpx.Client]:
    """Yield a client."""
    with http_of(server) as client:
        yield client
        client.post("/traces/batch/delete", json={"trace_ids": [ONE, TRACE, OTHER]})


def shown(http: httpx.Client, *spans: dict[str, Any], view: str = "?view=chat", **fields: Any) -> str:
    """Store a trace, and return its page."""
    sent = [
        {"span_id": str(UUID(int=at)), "name": "s", "kind": "LLM", "started_at": STARTED, **span}
        for at, span in enumerate(spans, 1)
    ]
    http.delete(f"/traces/{ONE}")
    body = {"trace_id": ONE, "name": "t", "started_at": STARTED, **fields, "spans": sent}
    http.post("/traces", json=body).raise_for_status()
    return http.get(f"/ui/traces/{ONE}{view}").raise_for_status().text


def text_of(markup: str) -> str:
    """Return the text of the markup, like a browser's `textContent`."""
    return unescape(re.sub(r"<[^>]*>", "", markup))


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_no_content_brings_script_or_a_foreign_request(
    server: LocalServer, http: httpx.Client, place: Callable[[str], list[Any]]
) -> None:
    """On every page that shows a hostile trace, nothing could run or load; `test_hostile_content.py` uses a browser."""
    contents = [each for text in HOSTILE for each in place(text)]
    for body in (trace_of(TRACE, contents), trace_of(OTHER, contents[::-1])):
        http.post("/traces", json=body).raise_for_status()
    score = {
        "trace_id": TRACE,
        "name": HOSTILE[0],
        "value": HOSTILE[1],
        "data_type": "CATEGORICAL",
        "reason": HOSTILE[2],
    }
    http.post("/evaluations/trace-scores", json=score).raise_for_status()
    monitor = {"name": HOSTILE[0], "target_type": "TRACE", "metrics": ["confidence"], "cadence": "daily"}
    http.post("/evaluations/monitors", json={**monitor, "filters": {HOSTILE[0]: HOSTILE[1]}}).raise_for_status()
    session = trace_of(TRACE, contents)["session_id"]
    for path in (*addresses(server, session), f"/ui?{httpx.QueryParams(q=HOSTILE[-1])}", "/ui/monitors"):
        answer = http.get(path)
        assert answer.status_code == 200, path
        assert Audit(answer.text).wrong == [], path
    assert "{{7*7}} {%if%}" in shown(http, {"input": "{{7*7}} {%if%}"}, name="{{7*7}}")


def test_texts_of_models_are_shown_as_markdown(http: httpx.Client) -> None:
    """Lists, tables, links and code are shown, a heading as bold text; plain and very long text stays as it is."""
    source = "# Plan\n\n1. **look**\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nimport os\n```\n\n[docs](https://x.test/a)"
    html = shown(http, {"input": source, "output": "2 * 3 = 6\na_b"})
    long = shown(http, {"input": "**b** " * 20_000})

    assert "<p><strong>Plan</strong></p>" in html
    assert "<strong>look</strong>" in html
    assert "<td>1</td>" in html
    assert '<span class="h-kn">import</span>' in html
    assert 'rel="noopener noreferrer nofollow"' in html
    assert "2 * 3 = 6\na_b" in html
    assert "**b** **b**" in long


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)


@given(JSON_VALUES, st.sampled_from([0, 0, 250]))
def test_the_text_of_a_tree_is_the_json_again(value: Any, depth: int) -> None:
    """The text of a JSON tree is the original JSON at any depth, so copying a tree copies valid JSON."""
    for _ in range(depth):
        value = [value]
    assert json.loads(text_of(str(json_tree(value)))) == value


@pytest.mark.parametrize(
    "value",
    ["x" * 300_000, list(range(500)), {str(number): "y" * 500 for number in range(190)}],
    ids=["a text", "items", "texts"],
)
def test_a_large_value_is_cut_with_a_count(http: httpx.Client, value: Any) -> None:
    """A page shows a bounded part of a value, and the number of omitted characters, items or keys."""
    html = shown(http, {"kind": "TOOL", "input": {"value": value}}, view=f"?span={UUID(int=1)}")

    assert len(text_of(html)) < 150_000
    assert re.search(r"… [\d,]+ more (characters|items|keys)", html)


def test_integers_beyond_64_bits_are_shown_whole(http: httpx.Client) -> None:
    """The page of the trace and the list show such an integer with all its digits."""
    pages = shown(http, {"kind": "TOOL", "output": {"n": 2**70}}, input={"n": 2**70}, view=f"?span={UUID(int=1)}")
    for page in (pages, http.get("/ui").text):
        assert str(2**70) in page


CALLS = [
    {"role": "user", "content": "Where are my orders?"},
    {
        "role": "assistant",
        "reasoning_content": "hm",
        "tool_calls": [
            {"id": "call_1", "function": {"name": "look_up", "arguments": '{"order": 1}'}},
            {"id": "call_2", "function": {"name": "look_up", "arguments": '{"order": 2}'}},
        ],
    },
    {"role": "tool", "tool_call_id": "call_2", "content": "{'state': 'lost', 'open': True}"},
    {"role": "tool", "tool_call_id": "call_1", "content": "{'path': open('x')}"},
    {"role": "tool", "tool_call_id": "call_9", "content": "of another call"},
    {"role": "assistant", "content": "One is lost."},
]


def test_a_result_stands_with_its_call(http: httpx.Client) -> None:
    """Results are matched with calls by id, also from the next request; text of a value is parsed, never executed."""
    apart = [
        {"input": {"messages": CALLS[:1]}, "output": {"messages": [CALLS[1]]}},
        {"input": {"messages": CALLS[:4]}, "output": {"messages": [CALLS[5]]}, "started_at": "2026-01-02T03:04:06Z"},
    ]
    for spans in ([{"input": {"messages": CALLS}}], apart):
        text = " ".join(text_of(shown(http, *spans)).split())
        order = ["Where are my orders?", '"order": 1', "open('x')", '"order": 2', '"state": "lost"', "One is lost."]
        places = [text.find(part) for part in order]
        assert -1 not in places, (order, text)
        assert places == sorted(places)
        assert text.count("Where are my orders?") == 1
        assert '"open": true' in text


def test_messages_in_many_forms(http: httpx.Client) -> None:
    """Conversations in the usual formats are read; fields that accompany messages are shown, too."""
    part = {"type": "text", "text": "Blue.", "citations": [{"cited_text": "sky"}]}
    payloads: list[Any] = [
        [{"role": "user", "content": "as a list"}],
        {"role": "user", "content": [{"type": "text", "text": "as a part"}]},
        {"choices": [{"message": {"role": "assistant", "content": "as a choice"}}]},
        [{"role": "user", "parts": [{"text": "as Google writes"}]}],
        {"messages": ["plain"]},
        {"messages": [{"role": None, "content": None}, 7]},
        [{"role": "assistant", "content": [{"type": "tool_use", "name": "fetch", "input": {"b": 2}}]}],
        [{"role": "assistant", "content": [{"type": "thinking", "thinking": "thought of"}, part], "confidence": 0.9}],
        {"messages": [{"role": "user", "content": "last"}], "customer_id": "c-1"},
    ]
    assert "customer_id" in shown(http, {"input": payloads[-1]}, view=f"?span={UUID(int=1)}")
    text = text_of(shown(http, *({"input": payload} for payload in payloads)))

    for words in ("as a list", "as a part", "as a choice", "as Google writes", "plain", "fetch", "last"):
        assert words in text, words
    for words in ("thought of", "Blue.", "cited_text", "confidence"):
        assert words in text, words


def test_pictures_in_the_forms_of_providers(http: httpx.Client) -> None:
    """A picture in each provider's format is shown; the bytes decide, not the type; others are described."""
    marker = {"mime_type": "image/jpeg", "bytes": 1024, "sha256": "ab" * 32}
    svg = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>").decode()
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"inline_data": {"mime_type": "image/png", "data": PNG}},
        {"b64_json": PNG},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{svg}"}},
        {"type": "image", "image": marker},
        {"image_url": {"url": "https://x.test/a.png"}},
    ]
    html = shown(http, {"input": {"messages": [{"role": "user", "content": parts}]}})

    assert html.count(f'<img class="media" src="data:image/png;base64,{PNG}"') == html.count('<img class="media"') == 5
    assert "image/jpeg" in html
    assert "https://x.test/a.png" in html


def test_documents_are_cards(http: httpx.Client) -> None:
    """Cards have text, title, score and source; other fields are kept, and other lists are not shown as cards."""
    about = {"title": "Refunds", "url": "kb/1", "v": 2}
    documents = [{"page_content": "Refunds take 5 days.", "score": 0.83333, "metadata": about}, {"content": "Orders"}]
    view = f"?span={UUID(int=1)}"
    cards = shown(http, {"kind": "RETRIEVER", "output": documents}, view=view)
    other = shown(http, {"kind": "RETRIEVER", "output": [*documents, 7]}, view=view)

    for words in ("Refunds take 5 days.", "Refunds", "0.83", "kb/1", "&#34;v&#34;", "Orders"):
        assert words in cards, words
    assert text_of(other).count("Refunds take 5 days.") == 1


Step: TypeAlias = tuple[int, int]
"""A span's start and end, in microseconds."""
START = datetime(2026, 1, 1, tzinfo=UTC)


def _span(name: str, step: Step, offset: int, parent: str | None = None) -> dict[str, Any]:
    begin, end = ((START + timedelta(microseconds=offset + at)).isoformat() for at in step)
    return {"span_id": name, "parent_span_id": parent, "started_at": begin, "ended_at": end}


def _critical(steps: Sequence[Step], offset: int = 0) -> set[Step]:
    """Return the critical ones of steps under one root."""
    spans = [_span(str(number), step, offset, "root") for number, step in enumerate(steps)]
    trace = TraceRecord({"spans": [_span("root", (0, max(end for _, end in steps)), offset), *spans]})
    root = trace.by_id["root"]
    critical = [one for one in root.children if one in trace.critical_path]
    return {(one.begin_us - root.begin_us, one.end_us - root.begin_us) for one in critical}


def _waited_for(steps: Sequence[Step]) -> set[Step]:
    """Return the critical steps by a walk back in time, which finds the step that is waited for at each microsecond."""
    found: set[Step] = set()
    current: Step | None = None
    for now in range(max(end for _, end in steps), -1, -1):
        if current is not None and current[0] < now:
            continue  # the current step was still running at this time
        ended = [step for step in steps if step[1] == now and step[0] < now]
        current = min(ended, default=None)
        found.update({current} if current is not None else ())
    return found


def _steps() -> st.SearchStrategy[list[Step]]:
    step = st.tuples(st.integers(0, 60), st.integers(1, 30)).map(lambda drawn: (drawn[0], drawn[0] + drawn[1]))
    return st.lists(step, min_size=1, max_size=12, unique=True)


@given(_steps(), st.integers(0, 10_000_000))
def test_the_critical_path_equals_a_walk_back_in_time(steps: list[Step], offset: int) -> None:
    """The critical path equals that of a simpler algorithm, which walks back in time, at any time of the day."""
    assert _critical(steps, offset) == _waited_for(steps)
