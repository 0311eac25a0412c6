"""Keys of requests of each protocol: the fields that change a key, and those that do not."""

from __future__ import annotations

import base64
import json
import re
import time
import uuid
from typing import Any

import pytest

from pandaprobe_otel.replay.interactions import RecordedRequest
from pandaprobe_otel.replay.media import digest_of_bytes, digest_of_text
from pandaprobe_otel.replay.request_keys import RequestReader, read_request
from recorded_conversations import BY_NAME, PROTOCOLS, Body, Protocol, request_of, shop_talk

PNG = b"\x89PNG" + bytes(range(256)) * 4
MODELS = "https://models.example"


def asked(path: str, body: Any, method: str = "POST") -> RecordedRequest:
    """Return a request to a path."""
    return RecordedRequest(method, f"{MODELS}{path}", {}, b"" if body is None else json.dumps(body).encode())


def key(path: str, body: Any) -> str:
    """Return the key of a request to a path."""
    return read_request(asked(path, body)).key


def chat(**fields: Any) -> Body:
    """Return a body of OpenAI's chat completions."""
    return {"model": "gpt-5", "messages": [{"role": "user", "content": "Hi"}], **fields}


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/chat/completions", chat(), ("openai", "chat", "gpt-5")),
        ("/openai/v1/chat/completions", chat(), ("openai", "chat", "gpt-5")),
        ("/openai/deployments/mine/chat/completions?api-version=1", {"messages": []}, ("openai", "chat", "mine")),
        ("/v1/responses", {"model": "gpt-5", "input": "Hi"}, ("openai", "responses", "gpt-5")),
        ("/v1/embeddings", {"model": "e", "input": ["Hi"]}, ("openai", "embeddings", "e")),
        ("/v1/completions", {"model": "m", "prompt": "Hi"}, ("openai", "completion", "m")),
        ("/v1/messages", {"model": "claude", "messages": []}, ("anthropic", "messages", "claude")),
        ("/anthropic/v1/messages?beta=true", {"model": "claude"}, ("anthropic", "messages", "claude")),
        ("/v1/messages/count_tokens", {"model": "claude"}, ("anthropic", "messages/count_tokens", "claude")),
        (
            "/v1/projects/p/locations/l/publishers/anthropic/models/claude@1:streamRawPredict",
            {"messages": []},
            ("anthropic", "streamRawPredict", "claude@1"),
        ),
        ("/v1beta/models/gemini-2:generateContent", {"contents": []}, ("gemini", "generateContent", "gemini-2")),
        (
            "/v1beta/models/gemini-2:streamGenerateContent?alt=sse",
            {"contents": []},
            ("gemini", "streamGenerateContent", "gemini-2"),
        ),
        (
            "/v1/projects/p/locations/l/publishers/google/models/gemini-2:generateContent",
            {"contents": []},
            ("gemini", "generateContent", "gemini-2"),
        ),
        ("/model/a.claude%3A0/converse", {"messages": []}, ("bedrock", "converse", "a.claude:0")),
        ("/model/arn%3Aaws%3Ax%2Fy/converse-stream", {}, ("bedrock", "converse-stream", "arn:aws:x/y")),
        ("/model/titan/invoke", {"inputText": "Hi"}, ("bedrock", "invoke", "titan")),
        (
            "/model/claude/invoke-with-response-stream",
            {"anthropic_version": "1", "messages": []},
            ("bedrock", "invoke-with-response-stream", "claude"),
        ),
        ("/v2/chat", {"model": "command", "messages": []}, ("cohere", "chat", "command")),
        ("/v2/embed", {"model": "embed", "texts": ["Hi"]}, ("cohere", "embed", "embed")),
        ("/api/chat", {"model": "llama", "messages": []}, ("ollama", "chat", "llama")),
        ("/api/embed", {"model": "llama", "input": "Hi"}, ("ollama", "embed", "llama")),
        ("/v1/threads/t/messages", {"content": "Hi"}, ("http", "POST", None)),
        ("/v1/moderations", {"model": "m", "input": "Hi"}, ("http", "POST", "m")),
    ],
)
def test_a_path_tells_the_protocol(path: str, body: Body, expected: tuple[str, str, str | None]) -> None:
    """The path and the body determine the protocol, the operation and the model."""
    request = read_request(asked(path, body))

    assert (request.protocol, request.operation, request.model) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"user": "u"},
        {"metadata": {"run": "1"}},
        {"store": True},
        {"prompt_cache_key": "k"},
        {"safety_identifier": "s"},
        {"service_tier": "flex"},
        {"stream_options": {"include_usage": True}},
        {"stream": False},
        {"temperature": None},
        {"tools": []},
    ],
)
def test_fields_that_decide_no_answer_do_not_count(fields: Body) -> None:
    """Fields that do not affect the answer, and null fields, do not change the key."""
    assert key("/v1/chat/completions", chat(**fields)) == key("/v1/chat/completions", chat())


@pytest.mark.parametrize(
    "fields",
    [
        {"stream": True},
        {"temperature": 0.1},
        {"max_tokens": 5},
        {"n": 2},
        {"response_format": {"type": "json_object"}},
        {"tool_choice": "required"},
        {"nobody_knows_it": 1},
        {"model": "gpt-5-mini"},
    ],
)
def test_fields_that_decide_an_answer_count(fields: Body) -> None:
    """Fields that affect the answer change the key, and so do unknown fields."""
    assert key("/v1/chat/completions", chat(**fields)) != key("/v1/chat/completions", chat())


def test_numbers_count_by_their_value() -> None:
    """1 and 1.0 have the same key; true has another."""
    keys = [key("/v1/chat/completions", chat(top_p=value)) for value in (1, 1.0, True)]

    assert keys[0] == keys[1] != keys[2]


def test_integers_of_any_size_count_with_all_their_digits() -> None:
    """Arguments that differ in the last digit of a number of more than 64 bits give different keys, as in texts."""
    path = "/v1/chat/completions"
    amounts = (10**30, 10**30 + 1)
    keys = [key(path, chat(seed=amount)) for amount in amounts]
    texts = [key(path, chat(messages=[{"role": "tool", "content": json.dumps({"wei": amount})}])) for amount in amounts]

    assert len({*keys, *texts}) == 4
    assert [key(path, chat(seed=amount)) for amount in amounts] == keys


def test_a_hint_for_a_cache_does_not_count() -> None:
    """Cache hints do not change the key, whether as fields, as with Anthropic, or as items, as with Bedrock."""
    plain = {"model": "c", "system": "S", "messages": [{"role": "user", "content": "Hi"}]}
    hint = {"cache_control": {"type": "ephemeral"}}
    marked = {
        "model": "c",
        "system": [{"type": "text", "text": "S", **hint}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", **hint}]}],
    }
    point = {"cachePoint": {"type": "default"}}
    converse = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
    pointed = {"messages": [{"role": "user", "content": [{"text": "Hi"}, point]}]}

    assert key("/v1/messages", marked) == key("/v1/messages", plain)
    assert key("/model/m/converse", pointed) == key("/model/m/converse", converse)


def test_a_text_is_an_input_of_one_message() -> None:
    """For the Responses API, a text and a single user message with this text have the same key."""
    text = {"model": "gpt-5", "input": "Hi"}
    turns = {"model": "gpt-5", "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]}

    assert key("/v1/responses", text) == key("/v1/responses", turns)


@pytest.mark.parametrize("protocol", [one for one in PROTOCOLS if one.name != "ollama"], ids=lambda one: one.name)
def test_a_result_that_is_given_to_the_other_call_is_another_request(protocol: Protocol) -> None:
    """Ids of tool calls do not change the key, unless two results swap their calls."""
    body = json.dumps(protocol.body(shop_talk(1), 1))
    others = body.replace("call_0a", "toolu_x1").replace("call_0b", "toolu_x2")
    last = body.rindex("call_0a"), body.rindex("call_0b")
    swapped = f"{body[: last[0]]}call_0b{body[last[0] + 7 : last[1]]}call_0a{body[last[1] + 7 :]}"
    path = protocol.path("m")

    assert key(path, json.loads(others)) == key(path, json.loads(body))
    assert key(path, json.loads(swapped)) != key(path, json.loads(body))


def test_an_id_among_arguments_is_content() -> None:
    """Ids in arguments or results of tools are content, such as those of orders, and change the key."""
    talks = [
        BY_NAME["chat"].body(shop_talk(1), 1),
        BY_NAME["anthropic"].body(shop_talk(1), 1),
    ]
    paths = ("/v1/chat/completions", "/v1/messages")
    for path, body in zip(paths, talks, strict=True):
        text = json.dumps(body)
        one, other = (json.loads(text.replace("number", "id").replace("A-0", value)) for value in ("A-1", "A-2"))
        assert key(path, one) != key(path, other)


def test_ids_within_texts_are_renamed_together() -> None:
    """Consistently replaced ids in texts do not change the key; an id in the place of another does."""
    first, second = (str(uuid.uuid4()) for _ in range(2))

    def of(*names: str) -> str:
        return key("/v1/chat/completions", chat(messages=[{"role": "user", "content": "\n".join(names)}]))

    assert of(first, second, first) == of(second, first, second)
    assert of(first, second, first) != of(first, second, second)
    assert of("call_aB3dE6gH9jK2") == of("call_zY8xW7vU6tS5")


def test_media_count_by_their_digest() -> None:
    """Media and their digests have the same key, because cassettes have only digests."""
    encoded = base64.b64encode(PNG).decode()
    url = f"data:image/png;base64,{encoded}"
    for image, path in (
        ({"type": "image_url", "image_url": {"url": url}}, "/v1/chat/completions"),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": encoded}}, "/v1/messages"),
    ):
        body = chat(messages=[{"role": "user", "content": [image, {"type": "text", "text": "What is it?"}]}])
        kept = json.loads(json.dumps(body).replace(json.dumps(url), json.dumps(digest_of_text(url))))
        kept = json.loads(
            json.dumps(kept).replace(json.dumps(encoded), json.dumps(digest_of_text(encoded, key="data")))
        )
        other = json.loads(json.dumps(body).replace(encoded, base64.b64encode(PNG[::-1]).decode()))

        assert encoded not in json.dumps(kept)
        assert key(path, kept) == key(path, body) != key(path, other)


def test_the_boundary_of_a_form_does_not_count() -> None:
    """The random boundary of a form does not change the key; its fields, file names and contents do."""

    def upload(boundary: str, content: bytes, model: str = "whisper", header: bool = True) -> str:
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="model"\r\n\r\n{model}\r\n'.encode(),
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'.encode(),
            b"Content-Type: audio/wav\r\n\r\n" + content + b"\r\n",
            f"--{boundary}--\r\n".encode(),
        ]
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"} if header else {}
        request = RecordedRequest("POST", f"{MODELS}/v1/audio/transcriptions", headers, b"".join(parts))
        found = read_request(request)
        assert found.fields["body"]["file"]["content"] == digest_only(content)
        return found.key

    def digest_only(content: bytes) -> dict[str, Any]:
        return {"$sha256": digest_of_bytes(content)["$sha256"]}

    assert upload("abc", PNG) == upload("another-1", PNG) == upload("xyz", PNG, header=False)
    assert upload("abc", PNG) != upload("abc", PNG[::-1])
    assert upload("abc", PNG) != upload("abc", PNG, model="other")


def test_unknown_requests_count_by_method_path_query_and_body() -> None:
    """An unknown request's key depends on method, path, query and body, not on the query's order or UUIDs in paths."""

    def of(uri: str, body: bytes = b"", method: str = "GET") -> str:
        return read_request(RecordedRequest(method, f"{MODELS}{uri}", {}, body)).key

    assert of("/search?q=a&n=1") == of("/search?n=1&q=a")
    assert of("/batches/batch_1") != of("/batches/batch_2")
    assert of(f"/runs/{uuid.uuid4()}") == of(f"/runs/{uuid.uuid4()}")
    assert (
        len({of("/a"), of("/b"), of("/a?x=1"), of("/a", method="DELETE"), of("/a", b"text"), of("/a", b'{"a":1}')}) == 6
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
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
def test_any_body_has_a_key(body: bytes) -> None:
    """A body that is not JSON, or nested too deeply, or with a lone surrogate, has a key."""
    request = RecordedRequest("POST", f"{MODELS}/v1/chat/completions", {}, body)

    assert read_request(request).key == read_request(request).key
    assert read_request(request).key != key("/v1/chat/completions", chat())


def test_ignored_paths_do_not_count() -> None:
    """`ignore` paths can name a field, one turn, all turns, a field of a tool, and a field in JSON within a text."""
    protocol = BY_NAME["chat"]
    body = protocol.body(shop_talk(1), 1)

    def with_changes() -> Body:
        other = json.loads(json.dumps(body))
        other["model"] = "gpt-6"
        other["temperature"] = 0.9
        other["messages"][1]["content"] = "another question"
        other["messages"][3]["content"] = '{"status": "lost"}'
        other["tools"][0]["function"]["description"] = "another"
        return other  # type: ignore[no-any-return]

    ignore = ("model", "temperature", "messages[1].content", "messages.*.content.status", "tools.*.description")
    keys = {read_request(request_of(protocol, one), ignore=ignore).key for one in (body, with_changes())}
    assert len(keys) == 1
    for left_out in range(len(ignore)):
        fewer = ignore[:left_out] + ignore[left_out + 1 :]
        assert len({read_request(request_of(protocol, one), ignore=fewer).key for one in (body, with_changes())}) == 2


def test_ignored_patterns_count_in_no_text() -> None:
    """`ignore` patterns apply to all texts, also in JSON within texts."""
    day = re.compile(r"\d{4}-\d\d-\d\d")

    def of(date: str) -> str:
        messages = [
            {"role": "system", "content": f"Today is {date}."},
            {"role": "tool", "content": f'{{"day": "{date}"}}'},
        ]
        return read_request(asked("/v1/chat/completions", chat(messages=messages)), ignore=[day]).key

    assert of("2026-01-02") == of("2026-11-28")


def test_a_reader_that_knows_the_messages_finds_the_same() -> None:
    """A reader that remembers messages finds the same keys, wherever a message is."""
    protocol = BY_NAME["chat"]
    reader = RequestReader()
    talk = shop_talk(4)
    requests = [request_of(protocol, protocol.body(talk, rounds)) for rounds in (4, 2, 3, 4, 1)]
    for request in requests:
        messages = json.loads(request.body)["messages"]
        turned = request_of(protocol, {"model": "m", "messages": messages[::-1]})
        assert reader.read(turned) == read_request(turned)
        assert reader.read(turned).key == read_request(turned).key
        assert reader.read(request).key == read_request(request).key


def test_the_key_of_a_long_conversation_costs_little() -> None:
    """The key of an 84 kB conversation, whose messages were seen before, takes less than 5 ms of CPU time."""
    messages = [{"role": "user", "content": f"{place} " + "word " * 400} for place in range(42)]
    request = asked("/v1/chat/completions", chat(messages=messages))
    reader = RequestReader()
    assert len(request.body) > 84_000
    first = reader.read(request).key

    costs: list[float] = []
    for _ in range(20):
        begin = time.thread_time()
        assert reader.read(request).key == first
        costs.append(time.thread_time() - begin)

    assert min(costs) < 0.005


@pytest.mark.parametrize(
    ("path", "turns", "call", "result"),
    [
        (
            "/v1/chat/completions",
            "messages",
            lambda ids: [{"role": "assistant", "tool_calls": [{"id": one, "type": "function"} for one in ids]}],
            lambda ids: [{"role": "tool", "tool_call_id": one, "content": f"result {one}"} for one in ids],
        ),
        (
            "/v1/responses",
            "input",
            lambda ids: [{"type": "function_call", "call_id": one} for one in ids],
            lambda ids: [{"type": "function_call_output", "call_id": one, "output": f"result {one}"} for one in ids],
        ),
        (
            "/v1/messages",
            "messages",
            lambda ids: [{"role": "assistant", "content": [{"type": "tool_use", "id": one} for one in ids]}],
            lambda ids: [
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": one, "content": f"for {one}"} for one in ids],
                }
            ],
        ),
        (
            "/model/nova/converse",
            "messages",
            lambda ids: [{"role": "assistant", "content": [{"toolUse": {"toolUseId": one}} for one in ids]}],
            lambda ids: [
                {
                    "role": "user",
                    "content": [{"toolResult": {"toolUseId": one, "content": [{"text": one}]}} for one in ids],
                }
            ],
        ),
        (
            "/v1beta/models/gemini:generateContent",
            "contents",
            lambda ids: [{"role": "model", "parts": [{"functionCall": {"id": one}} for one in ids]}],
            lambda ids: [
                {
                    "role": "user",
                    "parts": [{"functionResponse": {"id": one, "response": {"result": one}}} for one in ids],
                }
            ],
        ),
    ],
    ids=["chat", "responses", "anthropic", "bedrock", "gemini"],
)
def test_results_may_come_in_any_order(path: str, turns: str, call: Any, result: Any) -> None:
    """Results of parallel tools may come in any order, but a missing or unknown one changes the key."""
    ids = ("call_1", "call_2", "call_3")
    asked_first: list[Any] = [{"role": "user", "content": "Hi"}, *call(ids)]

    def key_of(*results: str) -> str:
        return key(path, {"model": "m", turns: [*asked_first, *result(results)]})

    assert key_of(*ids) == key_of("call_3", "call_1", "call_2")
    assert key_of(*ids) != key_of("call_1", "call_2")
    assert key_of("call_1", "call_2", "other") != key_of("other", "call_1", "call_2")
