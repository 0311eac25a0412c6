"""The cassette file: contents survive a round trip, people and vcrpy can read it, and hostile files do no harm."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import vcr
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pandaprobe_otel
from aws_events import CONTENT_TYPE, chunk, event
from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay import cassette as cassettes
from pandaprobe_otel.replay import shared_parts
from pandaprobe_otel.replay.cassette import load, save
from pandaprobe_otel.replay.interactions import Cassette, Interaction, RecordedAnswer, RecordedRequest, ToolCall
from provider_server import ProviderServer, events_reply

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
BODIES = st.binary(max_size=60) | TEXTS.map(str.encode) | JSON.map(lambda value: json.dumps(value).encode())


def interaction(call: int = 1, *, body: bytes = b"", answer: bytes = b"", **options: Any) -> Interaction:
    """Return a call with these bodies."""
    request = RecordedRequest("POST", "http://x/v1", {"content-type": "application/json"}, body)
    return Interaction(call, request, RecordedAnswer(200, "OK", {}, answer), **options)


def meaning(body: bytes) -> Any:
    """Return the JSON value of a body, or the body if it is not JSON."""
    try:
        return json.loads(body)
    except ValueError:
        return body


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bodies=st.lists(st.tuples(BODIES, BODIES), max_size=4),
    at=TEXTS,
    error=st.none() | TEXTS,
    arguments=st.dictionaries(TEXTS, JSON, max_size=3),
    result=JSON,
)
def test_a_cassette_is_read_back_unchanged(
    bodies: list[tuple[bytes, bytes]],
    at: str,
    error: str | None,
    arguments: dict[str, Any],
    result: Any,
    tmp_path: Path,
) -> None:
    """Bytes, texts and JSON are read back unchanged, except for white space in requests."""
    interactions = tuple(
        interaction(number, body=request, answer=answer, at=at, after=tuple(range(1, number)))
        for number, (request, answer) in enumerate(bodies, start=1)
    )
    tools = (ToolCall("t", arguments, result=result), ToolCall("u", {}, error=error or "", error_type="E", at=at))
    written = Cassette(interactions, tools, client="c 1", scrubbed=("mask",), started_at="2026-01-02T03:04:05+00:00")
    path = tmp_path / "one.yaml"
    save(path, written)
    read = load(path)
    assert (read.tools, read.client, read.scrubbed, read.started_at) == (
        tools,
        "c 1",
        ("mask",),
        "2026-01-02T03:04:05+00:00",
    )
    assert [meaning(one.request.body) for one in read.interactions] == [
        meaning(one.request.body) for one in interactions
    ]
    blank = RecordedRequest("", "")
    assert [replace(one, request=blank) for one in read.interactions] == [
        replace(one, request=blank) for one in interactions
    ]


def conversation(turns: int) -> Cassette:
    """Return a conversation in which each call repeats the earlier messages."""
    tools = [{"type": "function", "function": {"name": f"tool_{n}", "description": "x" * 200}} for n in range(5)]
    messages: list[Any] = [{"role": "system", "content": "Be brief. " * 30}]
    calls: list[Interaction] = []
    for number in range(1, turns + 1):
        messages.append({"role": "user", "content": f"question {number} " + "and so on " * 20})
        body = json.dumps({"model": "gpt-5", "tools": tools, "messages": messages}).encode()
        calls.append(interaction(number, body=body, answer=b'{"a": 1}'))
        messages.append({"role": "assistant", "content": f"answer {number} " + "or not " * 20})
    return Cassette(tuple(calls))


def test_a_conversation_is_written_once(tmp_path: Path) -> None:
    """The file's size is proportional to the number of calls, not to its square, and each request is complete."""
    sizes: dict[int, int] = {}
    for turns in (10, 40):
        save(tmp_path / "one.yaml", conversation(turns))
        sizes[turns] = (tmp_path / "one.yaml").stat().st_size
        bodies = [json.loads(one.request.body) for one in load(tmp_path / "one.yaml").interactions]
        assert bodies == [json.loads(one.request.body) for one in conversation(turns).interactions]
    assert sizes[40] < 4.5 * sizes[10]
    text = (tmp_path / "one.yaml").read_text()
    assert '"tools": {"$same": ' in text
    assert '[{"$same": [39, 78]},' in text


def test_a_file_that_people_read(tmp_path: Path) -> None:
    """Each event of a stream has a line of its own, as sent; related fields share a line."""
    body = b'data: {"n":1}\n\ndata: {"n":2}\n\n'
    answer = RecordedAnswer(200, "OK", {"content-type": "text/event-stream"}, body, ((41.2, 15), (80.0, 15)))
    call = replace(interaction(1, body=b'{"model":"gpt-5","stream":true}', at="agent", after=()), answer=answer)
    save(tmp_path / "one.yaml", Cassette((call,), (ToolCall("look_up", {"n": "A"}, result="there", at="agent"),)))
    assert (tmp_path / "one.yaml").read_text() == (
        "version: 1\n"
        "pandaprobe: {format: 1}\n"
        "interactions:\n"
        "- pandaprobe: {call: 1, at: agent, end: read, chunks: [[41, 15], [80, 15]]}\n"
        "  request:\n"
        "    method: POST\n"
        "    uri: http://x/v1\n"
        "    headers:\n"
        "      content-type: [application/json]\n"
        "    body: |\n"
        '      {"model": "gpt-5", "stream": true}\n'
        "  response:\n"
        "    status: {code: 200, message: OK}\n"
        "    headers:\n"
        "      content-type: [text/event-stream]\n"
        "    body:\n"
        "      string: |+\n"
        '        data: {"n":1}\n'
        "\n"
        '        data: {"n":2}\n'
        "\n"
        "tools:\n"
        "- {name: look_up, at: agent, arguments: {n: A}, result: there}\n"
    )


def test_vcrpy_plays_it(server: ProviderServer, tmp_path: Path) -> None:
    """vcrpy can replay a cassette."""
    server.replies(events_reply([{"n": 1}, {"n": 2}]))
    path = tmp_path / "one.yaml"
    with pandaprobe_otel.recording(path):
        live = httpx.post(f"{server.url}/v1/chat", json={"model": "m"}).text
    server.received.clear()
    with vcr.use_cassette(str(path), record_mode="none"):
        assert httpx.post(f"{server.url}/v1/chat", json={"model": "m"}).text == live
    assert server.received == []


def test_chunks_of_a_body_that_was_edited(tmp_path: Path) -> None:
    """If a body was edited by hand, its chunks are split again at the ends of events."""
    body = b'data: {"n":1}\n\ndata: {"n":2}\n\n'
    answer = RecordedAnswer(200, "OK", {"content-type": "text/event-stream"}, body, ((41, 15), (80, 15)))
    path = tmp_path / "one.yaml"
    save(path, Cassette((replace(interaction(), answer=answer),)))
    path.write_text(
        path.read_text().replace('{"n":1}', '{"n":1111}').replace('data: {"n":2}', 'data: {"n":2}\n\n        data: 3')
    )
    (call,) = load(path).interactions
    assert call.answer.body == b'data: {"n":1111}\n\ndata: {"n":2}\n\ndata: 3\n\n'
    assert call.answer.chunks == ((41.0, 18), (80.0, 15), (0.0, 9))


def test_event_streams_of_bedrock_are_json(tmp_path: Path) -> None:
    """Bedrock's events are written as JSON lines without base64, and the binary frames are read back byte for byte."""
    frames = [
        event("messageStart", {"role": "assistant"}),
        chunk({"type": "content_block_delta", "delta": {"text": "süß"}}),
    ]
    compact = [json.dumps(json.loads(frame[frame.index(b"{") : -4]), separators=(",", ":")) for frame in frames]
    body = b"".join(frames)
    answer = RecordedAnswer(200, "OK", {"content-type": CONTENT_TYPE}, body, tuple((1, len(frame)) for frame in frames))
    path = tmp_path / "one.yaml"
    save(path, Cassette((replace(interaction(), answer=answer),)))
    assert "\\u00fc" in path.read_text()
    assert "base64" not in path.read_text()
    (call,) = load(path).interactions
    save(path, Cassette((call,)))
    assert load(path).interactions == (call,)
    assert len(call.answer.chunks) == 2
    assert all(text.encode() in call.answer.body for text in compact[:1])
    text = path.read_text().replace('"assistant"', '"another one"')
    path.write_text(text)
    assert b"another one" in load(path).interactions[0].answer.body


def test_a_long_answer_lies_beside_the_file(tmp_path: Path) -> None:
    """A long answer is a separate file, which is read back, and removed once no call refers to it."""
    path = tmp_path / "one.yaml"
    long = interaction(answer=b"x" * (cassettes.BLOB_BYTES + 1))
    save(path, Cassette((long,)))
    assert path.stat().st_size < 1000
    assert len(list((tmp_path / "one.blobs").iterdir())) == 1
    assert load(path).interactions == (long,)
    save(path, Cassette((interaction(answer=b"short"),)))
    assert not (tmp_path / "one.blobs").exists()


def test_media_are_digests(tmp_path: Path) -> None:
    """An image in a request is written as a digest."""
    image = "data:image/png;base64," + "iVBORw0KGgo" * 100 + "="
    body = json.dumps({"messages": [{"content": [{"image_url": {"url": image}}]}]}).encode()
    save(tmp_path / "one.yaml", Cassette((interaction(body=body),)))
    text = (tmp_path / "one.yaml").read_text()
    assert "iVBORw0KGgo" not in text
    assert '{"$sha256": ' in text


HEAD = "version: 1\ninteractions:\n"
CALL = """- pandaprobe: {{call: {call}}}
  request: {{method: POST, uri: 'http://x', body: '{body}'}}
  response: {{status: {{code: 200, message: OK}}, body: {{string: ''}}}}
"""
BAD = {
    "invalid YAML": ("a: [", "one.yaml:2: invalid YAML"),
    "no mapping": ("- 1\n", "one.yaml:1: not a cassette"),
    "no text": ("\x00", "invalid YAML"),
    "a newer format": ("pandaprobe: {format: 2}\n", "one.yaml:1: has the format 2, but this version reads 1"),
    "a reference": ("a: &x [1]\nb: *x\n", "one.yaml:2: has a YAML reference"),
    "an object of Python": (
        f"{HEAD}- !!python/object/apply:os.system ['touch planted']\n",
        "one.yaml:3: cannot be read",
    ),
    "too deep": ("a: " + "[" * 60 + "]" * 60, "one.yaml:1: has more than 48 levels"),
    "no list": ("interactions: 3\n", "one.yaml:1: `interactions` must be a list"),
    "no request": (
        f"{HEAD}- {{response: {{status: {{code: 200}}}}}}\n",
        "one.yaml:3: the entry cannot be used: 'request'",
    ),
    "a number twice": (HEAD + CALL.format(call=1, body="") * 2, "one.yaml:6: call 1 occurs twice"),
    "no number": (HEAD + CALL.format(call="'1'", body=""), "one.yaml:3: `call` must be a whole number"),
    "a wrong end": (HEAD + CALL.format(call="1, end: soon", body=""), "one.yaml:3: `end` is 'soon'"),
    "wrong chunks": (
        HEAD + CALL.format(call="1, chunks: [[x, 1]]", body=""),
        "one.yaml:3: 'x' is not the time of a chunk",
    ),
    "half a chunk": (HEAD + CALL.format(call="1, chunks: [[1]]", body=""), "one.yaml:3: the entry cannot be used"),
    "nothing above": (
        HEAD + CALL.format(call=1, body='{"a": {"$same": 1}}'),
        "one.yaml:4: there is no earlier call 1 with 'a'",
    ),
    "itself": (
        HEAD + CALL.format(call=1, body='{"a": [{"$same": [1, 2]}]}'),
        "one.yaml:4: there is no earlier call 1 with 'a'",
    ),
    "too many items": (
        HEAD + CALL.format(call=1, body='{"a": [1]}') + CALL.format(call=2, body='{"a": [{"$same": [1, 2]}]}'),
        "one.yaml:7: call 1 has no 2 items in 'a'",
    ),
    "a blob elsewhere": (HEAD + CALL.format(call="1, blob: ../../secret", body=""), "is not the name of a blob"),
    "a blob that is not there": (
        HEAD + CALL.format(call="1, blob: 0123456789abcdef.txt", body=""),
        "cannot be read: No such",
    ),
    "no events": (
        HEAD + CALL.format(call="1, framed: aws", body="").replace("string: ''", "string: '{}'"),
        "is not an event",
    ),
    "a tool without result": ("tools:\n- {name: x}\n", "one.yaml:2: a tool call must have either"),
    "a tool without name": ("tools:\n- {result: 1}\n", "one.yaml:2: the entry cannot be used: 'name'"),
    "a date": (HEAD + CALL.format(call=1, body="").replace("POST", "2026-01-01"), "must be a text, but is date"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_cassette(name: str, tmp_path: Path) -> None:
    """The error names the line of an invalid file, and nothing in the file is executed."""
    text, said = BAD[name]
    path = tmp_path / "one.yaml"
    path.write_text(text)
    with pytest.raises(RecordingError) as caught:
        load(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == ["one.yaml"]


def test_costs_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is refused if it is too large, as written or with its references resolved."""
    path = tmp_path / "one.yaml"
    save(path, conversation(10))
    monkeypatch.setattr(shared_parts, "MAX_BYTES", 10_000)
    with pytest.raises(RecordingError, match=r"one.yaml:\d+: with their references resolved"):
        load(path)
    monkeypatch.undo()
    monkeypatch.setattr(cassettes, "MAX_FILE_BYTES", 1000)
    with pytest.raises(RecordingError, match="Record it in parts"):
        load(path)
    with pytest.raises(RecordingError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("library", [httpx, requests])
def test_a_file_of_vcrpy_is_played(library: Any, tmp_path: Path, server: ProviderServer) -> None:
    """Cassettes recorded with vcrpy are replayed unchanged, also with compressed bodies."""
    body = gzip.compress(b'{"a": 1}', mtime=0)
    document = {
        "version": 1,
        "interactions": [
            {
                "request": {"method": "POST", "uri": f"{server.url}/v1", "headers": {}, "body": '{"model": "m"}'},
                "response": {
                    "status": {"code": 200, "message": "OK"},
                    "headers": {
                        "Content-Type": ["application/json"],
                        "Content-Encoding": ["gzip"],
                        "Content-Length": [str(len(body))],
                    },
                    "body": {"string": body},
                },
            }
        ],
    }
    path = tmp_path / "one.yaml"
    path.write_text(yaml.safe_dump(document))
    with pandaprobe_otel.recording(path, mode="none"):
        assert library.post(f"{server.url}/v1", json={"model": "m"}).json() == {"a": 1}


def test_headers_that_vcrpy_keeps_as_bytes_are_read(tmp_path: Path) -> None:
    """A cassette in which vcrpy has kept botocore's headers as bytes is read."""
    request = {
        "method": "POST",
        "uri": "https://x/model/m/converse",
        "body": "{}",
        "headers": {"Content-Type": [b"a/b"]},
    }
    answer = {"status": {"code": 200, "message": "OK"}, "headers": {"X-A": [b"1"]}, "body": {"string": "{}"}}
    file = tmp_path / "vcr.yaml"
    file.write_text(yaml.safe_dump({"version": 1, "interactions": [{"request": request, "response": answer}]}))
    (read,) = load(file).interactions
    assert read.request.headers == {"content-type": "a/b"}
