"""Byte budgets: no field and no trace exceeds its limit, and cuts are marked."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from typing import Any

import orjson
import pytest

from pandaprobe_otel.mapping import EventView, LinkView, MappingOptions, map_views
from pandaprobe_otel.mapping.text import shrink
from views import mapped, mapped_span, only_span, view

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
DIGEST = {"mime_type": "image/png", "bytes": len(PNG), "sha256": hashlib.sha256(PNG).hexdigest()}
DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()


def chat(content: Any, **attributes: Any) -> dict[str, Any]:
    """Return attributes of a model call with one user message of this content."""
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.input.messages": json.dumps([{"role": "user", "content": content}]),
        **attributes,
    }


def size(value: Any) -> int:
    """Return the size of a value as JSON in bytes."""
    return len(orjson.dumps(value))


def test_a_long_field_is_cut_with_its_length_and_its_hash() -> None:
    """The marker has the omitted and total bytes, and a SHA-256 that shows if two texts were equal."""
    text = "ü" + "x" * 400_000
    span = mapped_span("a", {"pandaprobe.output": json.dumps(text)})
    kept, _, marker = span["output"].partition("…")
    total = len(text.encode())
    assert size(span["output"]) <= 262_144
    assert len(kept) > 260_000
    assert text.startswith(kept)
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert marker == f"[cut {total - len(kept.encode())} of {total} bytes, sha256 {digest}]"


def test_other_fields_and_spans_are_not_touched_by_one_that_is_too_long() -> None:
    """Each field has its own budget, so that other fields and spans stay whole."""
    views = [
        view("a", {"pandaprobe.input": '"in"', "pandaprobe.output": json.dumps("x" * 300_000)}),
        view("b", {"pandaprobe.output": json.dumps("y" * 200_000)}, span_id=2, parent=1),
    ]
    a, b = mapped(*views)["spans"]
    assert a["input"] == "in"
    assert "[cut" in a["output"]
    assert b["output"] == "y" * 200_000


def test_a_conversation_of_many_messages_keeps_its_ends() -> None:
    """If cutting texts is not enough, messages in the middle are dropped, and a marker counts them."""
    messages = [{"role": "user", "content": f"message {n:05}"} for n in range(20_000)]
    span = mapped_span("a", {"gen_ai.operation.name": "chat", "gen_ai.input.messages": json.dumps(messages)})
    kept = span["input"]["messages"]
    assert size(span["input"]) <= 262_144
    assert (kept[0]["content"], kept[-1]["content"]) == ("message 00000", "message 19999")
    (marker,) = [message for message in kept if "[cut" in message["content"]]
    assert marker == {"role": "system", "content": f"…[cut {20_001 - len(kept)} of 20000 items]"}


def test_the_budget_of_a_trace_is_shared_by_the_largest_fields() -> None:
    """The largest fields share the trace's budget; names, kinds, tree, numbers and small content stay."""
    options = MappingOptions(max_trace_bytes=200_000)
    views = [view("root", {"pandaprobe.span.kind": "AGENT", "pandaprobe.input": '"question"'}, lasts=100)]
    views += [view(f"call {n}", chat(f"{n}" * 9000), span_id=n, parent=1, at=n) for n in range(2, 60)]
    trace = map_views(views, options=options)
    assert len(trace.encoded()) <= 200_000
    assert trace.encoded() == orjson.dumps({**trace.trace, "spans": trace.spans})
    root, *calls = trace.spans
    assert root["input"] == "question"
    assert [call["name"] for call in calls] == [f"call {n}" for n in range(2, 60)]
    assert {call["parent_span_id"] for call in calls} == {root["span_id"]}
    assert all(call["token_usage"] == {"prompt_tokens": 7, "total_tokens": 7} for call in calls)
    lengths = {len(call["input"]["messages"][0]["content"]) for call in calls}
    assert min(lengths) > 1500
    assert max(lengths) - min(lengths) < 50


def test_a_trace_of_very_many_spans_loses_content_before_spans() -> None:
    """The tree of spans is never cut, even if it alone exceeds the budget."""
    options = MappingOptions(max_trace_bytes=100_000)
    views = [view(f"s{n}", chat("text " * 20), span_id=n + 1, parent=1 if n else None, at=n / 100) for n in range(2000)]
    trace = map_views(views, options=options)
    assert len(trace.spans) == 2000
    assert {span["input"] for span in trace.spans} == {"…[cut]"}
    assert {span["kind"] for span in trace.spans} == {"LLM"}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([{"type": "image_url", "image_url": {"url": DATA_URL}}], lambda part: part["image_url"]["url"]),
        ([{"type": "input_image", "image_url": DATA_URL}], lambda part: part["image_url"]["url"]),
        (
            [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA_URL[22:]}}],
            lambda part: part["image_url"]["url"],
        ),
        ([{"type": "custom", "payload": DATA_URL}], lambda part: part["payload"]),
    ],
    ids=["chat", "responses", "anthropic", "unknown"],
)
def test_pictures_become_their_type_length_and_hash(content: Any, found: Any) -> None:
    """Base64 data of a picture is replaced by type, length and hash."""
    body = mapped(view("a", chat(content)))
    (message,) = only_span(body)["input"]["messages"]
    assert found(message["content"][0]) == DIGEST
    assert DATA_URL[30:60] not in json.dumps(body)
    binary = mapped(view("a", {"gen_ai.tool.name": "t", "gen_ai.tool.call.result": PNG}))
    assert only_span(binary)["output"] == DIGEST


def test_a_text_cut_twice_has_its_first_length() -> None:
    """If the mapping cuts a text that a decorator has cut before, the marker has the original length and hash."""
    once = shrink({"text": "x" * 100_000}, 10_000, digest=True)
    twice = shrink(once, 1000, digest=True)
    digest = hashlib.sha256(b"x" * 100_000).hexdigest()
    kept = twice["text"].index("…")
    assert twice["text"] == "x" * kept + f"…[cut {100_000 - kept} of 100000 bytes, sha256 {digest}]"


@pytest.mark.parametrize(
    ("pictures", "spans", "is_kept"), [(1, 1, True), (30, 1, True), (60, 1, False), (30, 20, False)]
)
def test_pictures_are_kept_whole_or_not_at_all(pictures: int, spans: int, is_kept: bool) -> None:
    """Small pictures are sent with their data unless a span or the trace gets too large; none is cut in the middle."""
    picture = {"type": "image_url", "image_url": {"url": DATA_URL}}
    views = [view("a", chat([picture] * pictures), span_id=at, parent=at - 1 or None) for at in range(1, spans + 1)]
    body = mapped(*views, options=MappingOptions(inline_media=262_144))

    text = json.dumps(body)
    assert len(text) < 4_194_304
    assert (DATA_URL in text) is is_kept
    assert (str(DIGEST["sha256"]) in text) is not is_kept
    assert text.count("iVBORw0KGgo") == (text.count(DATA_URL) if is_kept else 0)
    assert "cut" not in text


def test_room_for_pictures_is_not_given_to_texts() -> None:
    """A field without pictures keeps its limit where small pictures are sent with their data."""
    options = MappingOptions(max_field_bytes=4096, inline_media=262_144)
    (span,) = map_views([view("a", chat("x" * 100_000))], options=options).spans
    assert 3000 < len(json.dumps(span["input"])) <= 4096


# -- the limits and markers in `docs/recorded.md` ----------------------------------------------------------------------

CHAT = {"gen_ai.operation.name": "chat"}


def test_links_and_events() -> None:
    """The first links and events are kept, with the number of the others."""
    links = tuple(LinkView(number, number) for number in range(1, 41))
    events = [EventView(f"step {number}", 5, {}) for number in range(200)]
    metadata = mapped_span("work", CHAT, links=links, events=events)["metadata"]
    assert (len(metadata["links"]), metadata["left_out_links"]) == (32, 8)
    assert (len(metadata["events"]), metadata["events"][-1]) == (129, {"name": "[72 more of 200 events]"})


def test_ids() -> None:
    """A name or id too long for the server is cut, and the whole is in the metadata."""
    long = {"session.id": "s" * 300, "user.id": "u" * 300, "gen_ai.request.model": "m" * 300}
    body = mapped(view("n" * 600, {**CHAT, **long}))
    span = only_span(body)
    other = mapped_span("n" * 599 + "m", CHAT)
    assert span["name"] != other["name"]
    assert "full_name" not in mapped_span("n" * 512, CHAT)["metadata"]
    assert [len(text) for text in (body["name"], body["session_id"], body["user_id"])] == [512, 255, 255]
    assert (len(span["name"]), len(span["model"])) == (512, 255)
    assert (span["metadata"]["full_name"], span["metadata"]["full_model"]) == ("n" * 600, "m" * 300)
    assert (body["metadata"]["full_session_id"], body["metadata"]["full_user_id"]) == ("s" * 300, "u" * 300)


def test_queries_of_databases() -> None:
    """Database queries are metadata, with a limit for long texts."""
    metadata = mapped_span("SELECT", {"db.system": "postgresql", "db.query.text": "q" * 5000})["metadata"]
    assert metadata["db.query.text"] == f"{'q' * 2048}…[cut 2952 of 5000 characters]"


@pytest.mark.parametrize("name", ["pandaprobe.output", "gen_ai.tool.call.result"])
def test_nan_and_lone_surrogates_do_not_break_json(name: str) -> None:
    """NaN in JSON from Python, and lone surrogates in JSON from JavaScript, do not break the structure."""
    value = {"score": math.nan, "best": -math.inf, "text": "cut \ud83d", "n": 1}
    span = mapped_span("work", {"pandaprobe.span.kind": "TOOL", name: json.dumps(value)})
    assert span["output"] == {"score": None, "best": None, "text": "cut \ufffd", "n": 1}
    for plain in ("NaN is no number", "[NaN", '{"a": NaN'):
        span = mapped_span("work", {"pandaprobe.span.kind": "TOOL", "gen_ai.tool.call.result": plain})
        assert span["output"] == plain
