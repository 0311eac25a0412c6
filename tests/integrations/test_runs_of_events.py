"""Consecutive events that continue one text are read as one event, with the same answer as reading them one by one."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel_integrations._openai_protocol.chat import ChatCompletions
from pandaprobe_otel_integrations._streams.events import Blocks, blocks_in
from pandaprobe_otel_integrations._streams.text_runs import joined
from pandaprobe_otel_integrations.anthropic.messages import Messages
from pandaprobe_otel_integrations.bedrock.converse import Converse
from pandaprobe_otel_integrations.cohere.chat import Chat as CohereChat
from pandaprobe_otel_integrations.google_genai.generate import GenerateContent

WORD: Final = b"@@"
"""Placeholder for a text in the events below."""


def _chat(delta: dict[str, Any], index: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": "c1", "model": "m", "choices": [{"index": index, "delta": delta, "finish_reason": None}], **more}


def _call(function: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "function": function, **more}]}


def _delta(delta: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _content(content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content-delta", "index": 0, "delta": {"message": {"content": content}}}


def _parts(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [*parts]}, "index": 0, **more}], "usageMetadata": {"n": 1}}


def _block(delta: dict[str, Any], index: int = 0, **more: Any) -> dict[str, Any]:
    return {"contentBlockDelta": {"contentBlockIndex": index, "delta": delta, **more}}


CHAT: Final = (
    _chat({"content": "@@"}),
    _chat({"content": "@@"}, obfuscation="aB3"),
    _chat({"content": "@@"}, obfuscation="c"),
    _chat({"content": "@@"}, index=1),
    _chat({"reasoning": "@@", "role": "assistant"}),
    _chat({"content": "@@", "reasoning": "x"}),
    _chat({"content": "@@", "refusal": "x"}),
    _chat({"content": ["@@"]}),
    _chat(_call({"arguments": "@@"})),
    _chat(_call({"arguments": "@@"}, id="t1")),
    _chat(_call({"name": "f", "arguments": "@@"})),
    _chat({"content": "a", **_call({"arguments": "@@"})}),
    _chat({}, usage={"prompt_tokens": 1}),
    {"id": "@@", "model": "m", "choices": []},
)
CLAUDE: Final = (
    _delta({"type": "text_delta", "text": "@@"}),
    _delta({"type": "text_delta", "text": "@@"}, index=1),
    {"text": "@@", **_delta({"type": "text_delta", "text": "a"})},
    _delta({"type": "thinking_delta", "thinking": "@@"}),
    _delta({"type": "input_json_delta", "partial_json": "@@"}, index=2),
    _delta({"type": "signature_delta", "signature": "@@"}),
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": "@@"}},
    {"type": "ping"},
)
COHERE: Final = (
    _content({"text": "@@"}),
    _content({"thinking": "@@"}),
    _content({"thinking": "x", "text": "@@"}),
    {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "@@"}}},
    {
        "type": "tool-call-delta",
        "index": 0,
        "delta": {"message": {"tool_calls": {"id": "t", "function": {"arguments": "@@"}}}},
    },
    {"type": "message-end", "delta": {"finish_reason": "@@"}},
)
GEMINI: Final = (
    _parts({"text": "@@"}),
    _parts({"text": "@@"}, finishReason="STOP"),
    _parts({"text": "@@", "thought": True}),
    _parts({"text": "@@"}, {"text": "b"}),
    _parts({"functionCall": {"name": "@@", "args": {}}}),
)
CONVERSE: Final = (
    _block({"text": "@@"}),
    _block({"text": "@@"}, p="abcd"),
    _block({"text": "@@"}, p="a"),
    _block({"toolUse": {"input": "@@"}}, 1),
    _block({"reasoningContent": {"text": "@@"}}, 2),
    _block({"reasoningContent": {"signature": "@@"}}, 2),
    {"messageStop": {"stopReason": "@@"}},
)

WHOLE: Final = 10
"""Number of the leading pieces that are valid texts by themselves."""
PIECES: Final = (
    *(b"a", b"wo rd", "é€😀".encode(), b"\\n", b'\\"', b"\\\\", b"\\u00e9", b"\\ud83d\\ude00", b"", b"{}"),
    # Pieces that are not valid texts by themselves, but may become valid with the next piece.
    *(b"\\", b"\\u00", b"e9", b"\\ud83d", b"\\ude00", "€".encode()[:2], "€".encode()[2:], b'"', b"\n", b"\x01"),
    *(b'","content":"', b'","text":"', b'"},"x":{"text":"', b'"}\n\ndata: {"', b"\r", b"@@", b"u00e9", b"n"),
)
ODD: Final = (
    *(b"{}", b"", b"\\\\", b"\\", b"\\u00", b"e9", b"\\ud83d", b"\\ude00", "€".encode()[:2], "€".encode()[2:]),
    *(b'"', b"n", b"\n", b'","content":"', b'","text":"'),
)
ENDS: Final = (b"", b"", b"", b"  }", b"\nid: 3", b"x")


def _events(block: bytes) -> bytes:
    return b"data: " + block


def _as_is(block: bytes) -> bytes:
    return block


EVENTS: Final = (_events, "text/event-stream", b"\n\n")
CASES: Final = {
    "chat completions": (ChatCompletions(), CHAT, *EVENTS),
    "chat completions, other line ends": (ChatCompletions(), CHAT, _events, "text/event-stream", b"\r\n\r\n"),
    "messages": (Messages(), CLAUDE, *EVENTS),
    "cohere": (CohereChat(), COHERE, *EVENTS),
    "gemini": (GenerateContent(), GEMINI, *EVENTS),
    "converse": (Converse(), CONVERSE, *EVENTS),
    "converse, lines": (Converse(), CONVERSE, _as_is, "application/x-ndjson", b"\n"),
}


@st.composite
def bodies(draw: st.DrawFn, templates: tuple[dict[str, Any], ...], end: bytes) -> list[bytes]:
    """Draw events of a few kinds, in runs, with texts of all sorts, some of them broken."""
    compact = draw(st.booleans())
    kinds = [
        json.dumps(one, separators=(",", ":") if compact else None).encode()
        for one in draw(st.lists(st.sampled_from(templates), min_size=1, max_size=3))
    ]
    found: list[bytes] = []
    for kind in kinds:
        texts = st.sampled_from(PIECES if draw(st.booleans()) else PIECES[:WHOLE])
        found += [kind.replace(WORD, text) for text in draw(st.lists(texts, max_size=8))]
        if draw(st.booleans()):
            tail = draw(st.sampled_from(ENDS))
            last = kind.replace(WORD, draw(texts))
            found.append((last[:-1] if tail.endswith(b"}") else last) + tail)
    return found


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_answer_is_that_of_reading_one_by_one(name: str, data: st.DataObject) -> None:
    """Reading runs gives the same answer as reading one by one, for all texts, breaks and events between them."""
    endpoint, templates, written, kind, end = CASES[name]
    body = b"".join(written(block) + end for block in data.draw(bodies(templates, end)))

    _is_read_alike(endpoint, body, kind)


@pytest.mark.parametrize("name", CASES)
def test_no_two_texts_become_another(name: str) -> None:
    """Every pair of odd texts gives the same answer in a run and one by one, in every kind of event."""
    endpoint, templates, written, kind, end = CASES[name]
    for template in (json.dumps(one).encode() for one in templates):
        for one in ODD:
            for other in ODD:
                for texts in ((one, other), (b"a", b"b", one, other, b"c")):
                    blocks = (template.replace(WORD, text) for text in texts)
                    _is_read_alike(endpoint, b"".join(written(block) + end for block in blocks), kind)


def test_a_run_is_read_as_one_event() -> None:
    """Padding and line ends do not interrupt a run, and a different event ends it."""
    deltas = [_chat({"content": text}, obfuscation="x" * size) for size, text in enumerate(("Hel", "lo", " ", "you"))]
    texts = (json.dumps(one, separators=(",", ":")) for one in (*deltas, _chat({})))
    body = b"".join(b"data: %b\r\n\r\n" % text.encode() for text in texts)

    events = [*joined(_blocks(body), ChatCompletions().growing)]

    assert [event["choices"][0]["delta"] for event in events] == [{"content": "Hello you"}, {}]


def test_a_run_ends_before_a_text_that_begins_within_a_character() -> None:
    """The texts around a torn character are kept, although the run as a whole cannot be decoded."""
    first, second = "€".encode()[:2], "€".encode()[2:]
    texts = (WORD.replace(b"@@", text) for text in (b"a", b"b", first, second, b"c"))
    kind = json.dumps(_chat({"content": "@@"})).encode()
    body = b"".join(b"data: %b\n\n" % kind.replace(WORD, text) for text in texts)
    (answer,) = ChatCompletions().merged(joined(_blocks(body), ChatCompletions().growing))["choices"]
    assert answer["message"]["content"] == "ab��c"


def _is_read_alike(endpoint: Any, body: bytes, kind: str) -> None:
    blocks = _blocks(body, kind)
    assert endpoint.merged(joined(blocks, endpoint.growing)) == endpoint.merged(joined(blocks, None))


def _blocks(body: bytes, kind: str = "text/event-stream") -> Blocks:
    _, blocks = blocks_in([body], kind)
    assert blocks is not None
    return blocks
