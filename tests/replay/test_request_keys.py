"""Requests of each protocol that a recorded call answers, and those that differ from it in a part that counts."""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pandaprobe_otel
from pandaprobe_otel.replay.divergence import Divergence
from provider_server import ProviderServer, json_reply
from recorded_conversations import BY_NAME, PROTOCOLS, Body, Protocol, Sent, send, shop_talk

PNG = b"\x89PNG" + bytes(range(256)) * 4
CHAT = "/v1/chat/completions"


def of(path: str, body: Any, **parts: Any) -> Sent:
    """Return a request to a path."""
    return Sent(path=path, body=body if isinstance(body, bytes) else json.dumps(body).encode(), **parts)


def chat(**fields: Any) -> Body:
    """Return a body of OpenAI's chat completions."""
    return {"model": "gpt-5", "messages": [{"role": "user", "content": "Hi"}], **fields}


@pytest.fixture
def divergence(server: ProviderServer, tmp_path: Path) -> Callable[..., Divergence | None]:
    """Return a function that records one request, replays another, and returns the divergence, if there is one."""
    server.replies(json_reply({}))

    def difference(recorded: Sent, replayed: Sent, **options: Any) -> Divergence | None:
        with pandaprobe_otel.recording(tmp_path / "one.yaml", mode="all"):
            send(server.url, recorded)
        try:
            with pandaprobe_otel.recording(tmp_path / "one.yaml", mode="none", **options):
                send(server.url, replayed)
        except Divergence as found:
            return found
        return None

    return difference


Differ = Callable[..., Divergence | None]


@pytest.mark.parametrize(
    ("path", "body", "shown"),
    [
        ("/openai/v1/chat/completions", chat(), "chat gpt-5"),
        ("/openai/deployments/mine/chat/completions?api-version=1", {"messages": []}, "chat mine"),
        ("/v1/embeddings", {"model": "e", "input": ["Hi"]}, "embeddings e"),
        ("/v1/completions", {"model": "m", "prompt": "Hi"}, "completion m"),
        ("/v1/messages/count_tokens", {"model": "claude"}, "messages/count_tokens claude"),
        ("/v1/projects/p/publishers/anthropic/models/claude@1:streamRawPredict", {}, "streamRawPredict claude@1"),
        ("/v1beta/models/gemini-2:streamGenerateContent?alt=sse", {}, "streamGenerateContent gemini-2"),
        ("/v1/projects/p/publishers/google/models/gemini-2:generateContent", {}, "generateContent gemini-2"),
        ("/model/arn%3Aaws%3Ax%2Fy/converse-stream", {}, "converse-stream arn:aws:x/y"),
        ("/model/titan/invoke", {"inputText": "Hi"}, "invoke titan"),
        ("/v2/embed", {"model": "embed", "texts": ["Hi"]}, "embed embed"),
        ("/api/embed", {"model": "llama", "input": "Hi"}, "embed llama"),
        ("/v1/threads/t/messages", {"content": "Hi"}, "POST"),
        ("/v1/moderations", {"model": "m", "input": "Hi"}, "POST m"),
    ],
)
def test_a_divergence_names_operation_and_model(path: str, body: Body, shown: str, divergence: Differ) -> None:
    """The path and the body determine the operation and the model that a divergence names."""
    found = divergence(of(path, body), of(path, {**body, "nobody_knows_it": 1}))

    assert shown in str(found).splitlines()[0]


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        *(({name: value}, False) for name, value in (
            ("user", "u"), ("metadata", {"run": "1"}), ("store", True), ("prompt_cache_key", "k"),
            ("safety_identifier", "s"), ("service_tier", "flex"), ("stream_options", {"include_usage": True}),
            ("stream", False), ("temperature", None), ("tools", []),
        )),
        *(({name: value}, True) for name, value in (
            ("stream", True), ("temperature", 0.1), ("max_tokens", 5), ("n", 2), ("tool_choice", "required"),
            ("response_format", {"type": "json_object"}), ("nobody_knows_it", 1), ("model", "gpt-5-mini"),
        )),
    ],
)  # fmt: skip
def test_fields_that_affect_the_answer_count(fields: Body, counts: bool, divergence: Differ) -> None:
    """Unknown fields and those that affect the answer count; metadata, defaults and null fields do not."""
    assert bool(divergence(of(CHAT, chat()), of(CHAT, chat(**fields)))) is counts


def _hint(text: str, *, cached: bool) -> Body:
    return {"type": "text", "text": text, **({"cache_control": {"type": "ephemeral"}} if cached else {})}


def _anthropic(*, cached: bool) -> Body:
    messages = [{"role": "user", "content": [_hint("Hi", cached=cached)] if cached else "Hi"}]
    return {"model": "c", "system": [_hint("S", cached=True)] if cached else "S", "messages": messages}


def _converse(*points: Body) -> Body:
    return {"messages": [{"role": "user", "content": [{"text": "Hi"}, *points]}]}


_TURN = {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
_WEI = 10**30
_LINES = [str(uuid.uuid4()), str(uuid.uuid4())]


def _lines(*lines: str) -> Body:
    return chat(messages=[{"role": "user", "content": "\n".join(lines)}])


@pytest.mark.parametrize(
    ("path", "body", "other", "is_same"),
    [
        (CHAT, chat(top_p=1), chat(top_p=1.0), True),
        (CHAT, chat(top_p=1), chat(top_p=True), False),
        (CHAT, chat(seed=_WEI), chat(seed=_WEI + 1), False),
        (CHAT, _lines(json.dumps({"wei": _WEI})), _lines(json.dumps({"wei": _WEI + 1})), False),
        ("/v1/messages", _anthropic(cached=False), _anthropic(cached=True), True),
        ("/model/m/converse", _converse(), _converse({"cachePoint": {"type": "default"}}), True),
        ("/v1/responses", {"model": "m", "input": "Hi"}, {"model": "m", "input": [_TURN]}, True),
        (CHAT, _lines(*_LINES, _LINES[0]), _lines(*_LINES[::-1], _LINES[1]), True),
        (CHAT, _lines(*_LINES, _LINES[0]), _lines(*_LINES, _LINES[1]), False),
        (CHAT, _lines("call_aB3dE6gH9jK2"), _lines("call_zY8xW7vU6tS5"), True),
        ("/search?q=a&n=1", b"", "/search?n=1&q=a", True),
        ("/batches/batch_1", b"", "/batches/batch_2", False),
        (f"/runs/{_LINES[0]}", b"", f"/runs/{_LINES[1]}", True),
        ("/a", b"", "/a?x=1", False),
        ("/a", b"", b"text", False),
        ("/a", b"text", b"other", False),
        *((CHAT, body, body, True) for body in (b"{", b"\xff\xfe\x00", b'[{"messages": 1}]', b'{"messages": 1e300}')),
        ("/a", b"", Sent(path="/a", method="DELETE"), False),
    ],
)
def test_requests_with_the_same_meaning_get_the_answer(
    path: str, body: Any, other: Any, is_same: bool, divergence: Differ
) -> None:
    """Numbers count by value, ids by position, cache hints not at all; unknown paths by path, query and body."""
    if not isinstance(other, Sent):
        other = of(other, body) if isinstance(other, str) else of(path, other)

    assert (divergence(of(path, body), other) is None) is is_same


@pytest.mark.parametrize("protocol", [one for one in PROTOCOLS if one.name != "ollama"], ids=lambda one: one.name)
def test_results_belong_to_their_calls(protocol: Protocol, divergence: Differ) -> None:
    """Ids of tool calls do not count, unless two results swap their calls; a missing result counts."""
    body = json.dumps(protocol.body(shop_talk(1), 1))
    others = body.replace("call_0a", "toolu_x1").replace("call_0b", "toolu_x2")
    last = body.rindex("call_0a"), body.rindex("call_0b")
    swapped = f"{body[: last[0]]}call_0b{body[last[0] + 7 : last[1]]}call_0a{body[last[1] + 7 :]}"
    sent, same, wrong = (of(protocol.path("m"), text.encode()) for text in (body, others, swapped))

    assert divergence(sent, same) is None
    assert divergence(sent, wrong)


@pytest.mark.parametrize("name", ["chat", "responses", "anthropic", "converse", "gemini"])
def test_results_may_come_in_any_order(name: str, divergence: Differ) -> None:
    """Results of parallel tools may come in any order, but another result in place of one counts."""
    protocol = BY_NAME[name]
    body = protocol.body(shop_talk(1), 1)
    turns = body[protocol.turns]
    results = next((inner for inner in turns[-1].values() if isinstance(inner, list)), None)
    if results is None:
        swapped = [*turns[:-2], turns[-1], turns[-2]]
    else:
        part = "parts" if name == "gemini" else "content"
        swapped = [*turns[:-1], {**turns[-1], part: results[::-1]}]
    sent, same = (of(protocol.path("m"), {**body, protocol.turns: one}) for one in (turns, swapped))

    assert divergence(sent, same) is None
    assert divergence(sent, of(protocol.path("m"), same.body.replace(b"on its way", b"lost")))


@pytest.mark.parametrize("name", ["chat", "anthropic"])
def test_an_id_among_arguments_is_content(name: str, divergence: Differ) -> None:
    """Ids in arguments or results of tools are content, such as those of orders, and count."""
    text = json.dumps(BY_NAME[name].body(shop_talk(1), 1)).replace("number", "id")
    one, other = (of(BY_NAME[name].path("m"), text.replace("A-0", value).encode()) for value in ("A-1", "A-2"))

    assert divergence(one, other)


@pytest.mark.parametrize(
    ("path", "picture"),
    [
        (CHAT, lambda data: {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}),
        ("/v1/messages", lambda data: {"type": "image", "source": {"type": "base64", "data": data}}),
    ],
)
def test_media_are_compared_by_their_digests(path: str, picture: Any, divergence: Differ, tmp_path: Path) -> None:
    """A picture is kept as a digest, which answers the same picture and no other."""
    sent, other = (
        of(path, chat(messages=[{"role": "user", "content": [picture(base64.b64encode(data).decode())]}]))
        for data in (PNG, PNG[::-1])
    )

    assert divergence(sent, sent) is None
    assert "$sha256" in (tmp_path / "one.yaml").read_text()
    assert "iVBO" not in (tmp_path / "one.yaml").read_text()
    assert divergence(sent, other)


def _form(boundary: str, content: bytes = PNG, model: str = "whisper", file: str = "a.wav") -> Sent:
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="model"\r\n\r\n{model}\r\n'.encode(),
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{file}"\r\n'.encode(),
        b"Content-Type: audio/wav\r\n\r\n" + content + b"\r\n",
        f"--{boundary}--\r\n".encode(),
    ]
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    return of("/v1/audio/transcriptions", b"".join(parts), headers=headers)


def test_the_boundary_of_a_form_does_not_count(divergence: Differ) -> None:
    """The random boundary of a form does not count; its fields and contents do."""
    assert divergence(_form("abc"), _form("another-1")) is None
    assert divergence(_form("abc"), _form("abc", PNG[::-1]))
    assert divergence(_form("abc"), _form("abc", model="other"))
    assert divergence(_form("abc"), _form("abc", file="b.wav"))


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe\x00",
        b'{"messages": NaN}',
        b'{"messages": "\\ud800"}',
        b'{"messages": [' + b"[" * 900 + b"]" * 900 + b"]}",
        b'{"messages": 1e300, "n": 123456789012345678901234567890}',
        b'[{"messages": 1}]',
        json.dumps({"messages": ["[" * 900 + "]" * 900]}).encode(),
    ],
)
def test_any_body_is_recorded(body: bytes, divergence: Differ) -> None:
    """A body that is not JSON, or too deep, or with a lone surrogate, is recorded, and answers no other one."""
    assert divergence(of(CHAT, body), of(CHAT, chat()))


def test_ignored_paths_do_not_count(divergence: Differ) -> None:
    """`ignore` paths can name a field, one turn, all turns, a field of a tool, and a field in JSON within a text."""
    body = BY_NAME["chat"].body(shop_talk(1), 1)
    other = json.loads(json.dumps(body))
    other |= {"model": "gpt-6", "temperature": 0.9}
    other["messages"][1]["content"] = "another question"
    other["messages"][3]["content"] = '{"status": "lost"}'
    other["tools"][0]["function"]["description"] = "another"
    ignore = ("model", "temperature", "messages[1].content", "messages.*.content.status", "tools.*.description")

    assert divergence(of(CHAT, body), of(CHAT, other), ignore=ignore) is None
    for left_out in ignore:
        assert divergence(of(CHAT, body), of(CHAT, other), ignore=[path for path in ignore if path != left_out])


def test_ignored_patterns_count_in_no_text(divergence: Differ) -> None:
    """`ignore` patterns apply to all texts, also in JSON within texts."""
    one, other = (
        chat(
            messages=[{"role": "system", "content": f"Today: {day}."}, {"role": "tool", "content": f'{{"d": "{day}"}}'}]
        )
        for day in ("2026-01-02", "2026-11-28")
    )

    assert divergence(of(CHAT, one), of(CHAT, other), ignore=[re.compile(r"\d{4}-\d\d-\d\d")]) is None
