"""Byte budgets: no field and no trace exceeds its limit, and cuts are marked."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections import Counter
from typing import Any

import orjson
import pytest

from pandaprobe_otel.mapping import MappingOptions, map_views
from pandaprobe_otel.mapping.shrink import shrink
from views import mapped, only_span, view

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
    span = only_span(mapped(view("a", {"pandaprobe.output": json.dumps(text)})))
    kept, _, marker = span["output"].partition("…")
    total = len(text.encode())
    assert size(span["output"]) <= 262_144
    assert len(kept) > 260_000
    assert text.startswith(kept)
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert marker == f"[cut {total - len(kept.encode())} of {total} bytes, sha256 {digest}]"


@pytest.mark.parametrize(
    "line", ['say "x"\n', "Привет, мир. ", "🐼", "plain " * 20 + "ж"], ids=["escaped", "Cyrillic", "emoji", "mixed"]
)
def test_a_long_text_keeps_what_fits_whatever_its_characters_take(line: str) -> None:
    """A text of multi-byte characters keeps as many characters as fit into the bytes."""
    value = {
        "messages": [{"role": "user", "content": line * (3_000_000 // len(line))}, {"role": "user", "content": "b"}]
    }
    cut = shrink(value, 262_144, digest=True)

    assert 0.9 * 262_144 < size(cut) <= 262_144
    assert cut["messages"][1] == value["messages"][1]


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
    span = only_span(
        mapped(view("a", {"gen_ai.operation.name": "chat", "gen_ai.input.messages": json.dumps(messages)}))
    )
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
    assert trace.encoded() == orjson.dumps(trace.body())
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


def test_binary_attributes_become_their_type_length_and_hash() -> None:
    """Bytes, which JSON does not have, are replaced by type, length and hash."""
    body = mapped(view("a", {"gen_ai.tool.name": "t", "gen_ai.tool.call.result": PNG}))
    assert only_span(body)["output"] == DIGEST


def test_an_icon_stays() -> None:
    """A data URL under a kilobyte is kept, because a digest would save little."""
    url = "data:image/png;base64," + base64.b64encode(PNG[:100]).decode()
    (message,) = only_span(mapped(view("a", chat([{"type": "image_url", "image_url": {"url": url}}]))))["input"][
        "messages"
    ]
    assert message["content"][0]["image_url"]["url"] == url


@pytest.mark.parametrize("length", [512, 513, 5000])
def test_long_names_stay_different(length: int) -> None:
    """A name over the server's limit is cut with a hash, and the whole name is in the metadata."""
    names = [("n" * (length - 1)) + letter for letter in "ab"]
    body = mapped(*(view(name, span_id=n + 1, at=n) for n, name in enumerate(names)))
    found = [span["name"] for span in body["spans"]]
    assert len(set(found)) == 2
    assert {len(name) for name in found} == {512}
    whole = [span["metadata"].get("full_name") for span in body["spans"]]
    assert whole == (names if length > 512 else [None, None])


@pytest.mark.parametrize("field", ["session_id", "user_id", "environment", "release"])
def test_long_ids_stay_different_and_whole_in_the_metadata(field: str) -> None:
    """An id over the server's limit of 255 characters is cut with a hash, and the whole id is in the metadata."""
    attribute = {"session_id": "session.id", "user_id": "user.id"}.get(field, f"pandaprobe.{field}")
    one, other = (mapped(view("a", {attribute: "i" * 400 + letter})) for letter in "ab")
    assert len(one[field]) == len(other[field]) == 255
    assert one[field] != other[field]
    assert one["metadata"][f"full_{field}"] == "i" * 400 + "a"


@pytest.mark.parametrize("value", ["", " ", "\n"])
def test_no_name_is_empty(value: str) -> None:
    """An empty name, which the server refuses, is replaced."""
    body = mapped(view(value))
    assert (body["name"], only_span(body)["name"]) == ("span", "span")


def test_a_text_cut_twice_has_its_first_length() -> None:
    """If the mapping cuts a text that a decorator has cut before, the marker has the original length and hash."""
    once = shrink({"text": "x" * 100_000}, 10_000, digest=True)
    twice = shrink(once, 1000, digest=True)
    digest = hashlib.sha256(b"x" * 100_000).hexdigest()
    kept = twice["text"].index("…")
    assert twice["text"] == "x" * kept + f"…[cut {100_000 - kept} of 100000 bytes, sha256 {digest}]"


def test_a_large_text_is_encoded_and_hashed_a_few_times_only() -> None:
    """A large text is hashed once and encoded a few times, although trace and root share it."""
    spans = [view("a", chat("long text " * 100_000))]
    calls: Counter[str] = Counter()
    sys.setprofile(lambda frame, event, what: calls.update([what.__name__]) if event == "c_call" else None)
    try:
        only_span(mapped(*spans))
    finally:
        sys.setprofile(None)
    assert calls["openssl_sha256"] + calls["sha256"] == 1
    assert calls["dumps"] <= 14


@pytest.mark.parametrize(
    ("pictures", "spans", "is_kept"), [(1, 1, True), (30, 1, True), (60, 1, False), (30, 20, False)]
)
def test_pictures_are_kept_whole_or_not_at_all(pictures: int, spans: int, is_kept: bool) -> None:
    """Small pictures are sent with their data unless a span or the trace gets too large; none is cut in the middle."""
    picture = {"type": "image_url", "image_url": {"url": DATA_URL}}
    views = [view("a", chat([picture] * pictures), span_id=at, parent=at - 1 or None) for at in range(1, spans + 1)]
    body = map_views(views, options=MappingOptions(inline_media=262_144)).body()

    text = json.dumps(body)
    assert len(text) < 4_194_304
    assert (DATA_URL in text) is is_kept
    assert (str(DIGEST["sha256"]) in text) is not is_kept
    assert text.count("iVBORw0KGgo") == (text.count(DATA_URL) if is_kept else 0)
    assert "cut" not in text
