"""Readable content: Markdown, code, folding JSON, pictures, documents, and tool calls with their results."""

from __future__ import annotations

import base64
import json
import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile_markdown import HOSTILE
from pandaprobe_otel.local.pages.conversation import messages_in, turns_of, with_results
from pandaprobe_otel.local.pages.documents import documents_in
from pandaprobe_otel.local.pages.json_view import MAX_SHOWN, json_tree, value_in
from pandaprobe_otel.local.pages.media import media_in
from pandaprobe_otel.local.pages.rich_text import MAX_PAGE, MAX_SOURCE, page_of_markdown, rich_text

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 40).decode()
SVG = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>").decode()


class Tags(HTMLParser):
    """A parser that collects every tag with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Store a tag with its attributes."""
        self.found.append((tag, dict(attrs)))


def text_of(markup: str) -> str:
    """Return the text of the markup, like a browser's `textContent`."""
    return unescape(re.sub(r"<[^>]*>", "", markup))


@pytest.mark.parametrize("source", HOSTILE)
def test_no_markdown_brings_script_or_a_foreign_request(source: str) -> None:
    """Whatever a model writes, the page has only permitted tags and attributes, safe links and nothing that loads."""
    for tag, attributes in Tags(str(rich_text(source) or "")).found:
        assert tag not in ("script", "img", "iframe", "svg", "style", "form", "input", "object", "base", "meta", "link")
        assert attributes.keys() <= {"href", "title", "class", "start", "rel", "target"}
        href = attributes.get("href") or "#"
        assert re.match(r"(https?://|mailto:|#)", href, re.IGNORECASE), href


def test_texts_of_models_are_shown_as_markdown() -> None:
    """Lists, tables, links and highlighted code are shown; a heading becomes bold text, not a heading of the page."""
    source = "# Plan\n\n1. **look**\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nimport os\n```\n\n[docs](https://x.test/a)"
    html = str(rich_text(source))

    assert "<p><strong>Plan</strong></p>" in html
    assert "<strong>look</strong>" in html
    assert "<td>1</td>" in html
    assert '<span class="h-kn">import</span>' in html
    assert 'rel="noopener noreferrer nofollow"' in html


@pytest.mark.parametrize(
    "source", ["", "plain", "two\nlines", "a paragraph\n\nand another one", "2 * 3 = 6", "a_b", "#"]
)
def test_plain_text_stays_as_it_is(source: str) -> None:
    """Text without Markdown keeps its spaces and line breaks."""
    assert rich_text(source) is None


def test_a_long_text_is_not_read_as_markdown() -> None:
    """Text beyond the length limit is not parsed as Markdown, because parsing time can grow faster than the length."""
    assert rich_text("**b** " * MAX_SOURCE) is None


def test_a_page_reads_only_so_much_markdown() -> None:
    """One page parses a bounded amount of Markdown in total; texts beyond the limit are shown unformatted."""
    text = "**b** " + "x" * (MAX_SOURCE - 10)
    with page_of_markdown():
        read = [rich_text(f"{text}{number}") is not None for number in range(12)]
    with page_of_markdown():
        again = rich_text(text)

    assert read == [True] * (MAX_PAGE // len(text)) + [False] * (12 - MAX_PAGE // len(text))
    assert again is not None


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_the_text_of_a_tree_is_the_json_again(value: Any) -> None:
    """The text of a JSON tree is the original JSON, so copying a tree copies valid JSON."""
    assert json.loads(text_of(str(json_tree(value)))) == value


@pytest.mark.parametrize(
    "value",
    ["x" * (MAX_SHOWN + 10), list(range(500)), {str(number): "y" * 500 for number in range(190)}],
    ids=["a text", "items", "texts"],
)
def test_a_large_value_is_cut_and_says_so(value: Any) -> None:
    """A page shows a bounded part of a value, and gives the number of omitted characters, items or keys."""
    shown = str(json_tree(value))

    assert len(text_of(shown)) < MAX_SHOWN * 1.1
    assert re.search(r"… [\d,]+ more (characters|items|keys)", shown)


def test_deep_json_is_shown() -> None:
    """A page shows JSON that is nested as deeply as the server stores it."""
    value: Any = "deep"
    for _ in range(250):
        value = [value]
    assert json.loads(text_of(str(json_tree(value)))) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, null]}', {"a": [1, None]}),
        ("{'order': 'A-17', 'open': True, 'x': None}", {"order": "A-17", "open": True, "x": None}),
        ("[1, 2]", [1, 2]),
        ("{not: json}", None),
        ("{'a': open('x')}", None),
        ("{'path': '\\d'}", None),
        ("A-17", None),
        ("(" * 5000, None),
        ("[" * 100_000, None),
        ("{1, 2}", None),
    ],
)
def test_results_of_tools_are_values(text: str, value: Any) -> None:
    """A tool's result is often the text of JSON or Python; such text is parsed and never executed."""
    assert value_in(text) == value


CALLS = [
    {"role": "user", "content": "Where are my orders?"},
    {
        "role": "assistant",
        "tool_calls": [
            {"id": "call_1", "function": {"name": "look_up", "arguments": '{"order": 1}'}},
            {"id": "call_2", "function": {"name": "look_up", "arguments": '{"order": 2}'}},
        ],
    },
    {"role": "tool", "tool_call_id": "call_2", "content": "lost"},
    {"role": "tool", "tool_call_id": "call_1", "content": "on its way"},
    {"role": "tool", "tool_call_id": "call_9", "content": "of another call"},
    {"role": "assistant", "content": "One is lost."},
]


def test_a_result_stands_with_its_call() -> None:
    """Results are matched with tool calls by id, in any order; a result without a call stays a separate message."""
    shown = with_results(messages_in(CALLS, "user"))

    assert [(message.role, message.text) for message in shown] == [
        ("user", "Where are my orders?"),
        ("assistant", ""),
        ("tool", "of another call"),
        ("assistant", "One is lost."),
    ]
    assert [call.result.text if call.result else None for call in shown[1].calls] == ["on its way", "lost"]
    assert shown[2].answers == "call_9"


def test_a_result_in_the_next_request_stands_with_the_call_of_the_answer_before() -> None:
    """A result in the next request is shown with the tool call in the model's previous answer."""
    base = {"kind": "LLM", "name": "chat"}
    spans = [
        {**base, "input": {"messages": CALLS[:1]}, "output": {"messages": [CALLS[1]]}},
        {**base, "input": {"messages": CALLS[:4]}, "output": {"messages": [CALLS[5]]}},
    ]
    turns = turns_of(spans)

    assert [[message.role for message in turn.messages] for turn in turns] == [["user"], []]
    assert [call.result.text if call.result else None for call in turns[0].answer[0].calls] == ["on its way", "lost"]


def test_reasoning_is_apart_from_what_was_said() -> None:
    """Reasoning is kept apart from the answer, whether it is a content part or a separate field."""
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Yes."}]
    (anthropic,) = messages_in([{"role": "assistant", "content": parts}], "user")
    (deepseek,) = messages_in([{"role": "assistant", "content": "Yes.", "reasoning_content": "hm"}], "user")

    assert (anthropic.text, anthropic.reasoning) == (deepseek.text, deepseek.reasoning) == ("Yes.", ("hm",))
    assert anthropic.extra == deepseek.extra == ()


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"inline_data": {"mime_type": "image/png", "data": PNG}},
        {"b64_json": PNG},
    ],
)
def test_pictures_in_the_shapes_of_providers(part: dict[str, Any]) -> None:
    """A picture in the format of each model provider is shown."""
    found = media_in(part)

    assert found is not None
    assert (found.mime_type, found.size, found.source) == ("image/png", 48, f"data:image/png;base64,{PNG}")


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{SVG}"}},
        {"type": "image_url", "image_url": {"url": f"data:image/svg+xml;base64,{SVG}"}},
        {"type": "image_url", "image_url": {"url": "data:text/html,<script>alert(1)</script>"}},
        {"data": "no base64 at all!"},
        {"type": "text", "text": "hello"},
        "text",
    ],
)
def test_only_bytes_of_a_picture_are_shown_as_one(part: Any) -> None:
    """The bytes decide what is a picture, not the declared type: SVG may contain a script."""
    assert media_in(part) is None


def test_media_that_were_not_kept_say_what_they_were() -> None:
    """Media that were not stored are shown by type, size and digest; a remote picture is shown only as its address."""
    marker = {"mime_type": "image/jpeg", "bytes": 1024, "sha256": "ab" * 32}
    kept, address = (
        media_in({"type": "image", "image": marker}),
        media_in({"image_url": {"url": "https://x.test/a.png"}}),
    )

    assert kept is not None
    assert (kept.mime_type, kept.size, kept.sha256, kept.source) == ("image/jpeg", 1024, "ab" * 32, None)
    assert address is not None
    assert (address.address, address.source) == ("https://x.test/a.png", None)


def test_documents_are_cards() -> None:
    """Cards have text, title, score and source; other fields are kept beside the card."""
    found = documents_in(
        [
            {
                "page_content": "Refunds take 5 days.",
                "score": 0.83333,
                "metadata": {"title": "Refunds", "url": "kb/1", "v": 2},
            },
            {"content": "Orders", "id": "d-2"},
        ]
    )

    assert [(one.text, one.title, one.score, one.source, one.beside) for one in found] == [
        ("Refunds take 5 days.", "Refunds", 0.83333, "kb/1", {"metadata": {"v": 2}}),
        ("Orders", None, None, "d-2", {}),
    ]


@pytest.mark.parametrize("payload", [[], None, "text", [1], [{"role": "user", "content": "hi"}], [{"content": "a"}, 7]])
def test_only_a_list_of_documents_is_shown_as_cards(payload: Any) -> None:
    """A payload that is not a list of documents is not shown as cards, so nothing of it is lost."""
    assert documents_in(payload) == []
