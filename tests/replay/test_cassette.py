"""The cassette file: contents survive a round trip, people and vcrpy can read it, and hostile files do no harm."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import vcr
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import pandaprobe_otel
from aws_events import CONTENT_TYPE, chunk, event
from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay import cassette as cassettes
from pandaprobe_otel.replay.scrubbing import Scrubber
from provider_server import ProviderServer, Reply, events_reply
from recorded_conversations import BY_NAME, requests_of, send, shop_talk
from rings import IN_FULL
from span_recorder import recording as spans_recorded

LOADERS: list[Any] = [yaml.SafeLoader, *filter(None, [getattr(yaml, "CSafeLoader", None)])]
WORDS = ["yes", "null", "1e5", "2026-01-01", "a: b", "a #b", "- a", "? a", "<<", "=", "~", "http://x:1/a", "…", "a'b"]
LINES = st.lists(st.sampled_from(["", " ", "\t", "  a", "a ", "data: {}", "#", "---", "...", "- x", "é"]), max_size=6)
TEXTS = st.one_of(
    st.sampled_from(WORDS),
    LINES.map("\n".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.text('\n\t \r\x85\u2028\ufeff\x7f{}[]:,#&*!|>%@`"\\a', max_size=8),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
BODIES = st.one_of(
    st.binary(max_size=60),
    TEXTS.map(str.encode),
    st.tuples(JSON, st.booleans()).map(lambda one: json.dumps(one[0], ensure_ascii=one[1]).encode()),
    st.text(max_size=9).map(lambda text: json.dumps({"messages": [text]}).encode()),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for cassettes that are recorded one after the other."""
    return tmp_path_factory.mktemp("cassettes")


@pytest.mark.parametrize("examples", [60, pytest.param(5000, marks=IN_FULL)])
def test_a_recording_is_replayed_unchanged(examples: int, server: ProviderServer, folder: Path) -> None:
    """Any answers, names of spans, arguments, results and errors of tools are replayed, and all YAML parsers agree."""
    path = folder / "one.yaml"

    @settings(max_examples=examples)
    @given(
        bodies=st.lists(st.tuples(BODIES, BODIES), max_size=4),
        name=TEXTS,
        error=TEXTS,
        arguments=st.dictionaries(TEXTS, JSON, max_size=3),
        result=JSON,
    )
    def check(bodies: list[tuple[bytes, bytes]], name: str, error: str, arguments: dict[str, Any], result: Any) -> None:
        given = [error, arguments, result]
        assume(Scrubber().value(given) == given)  # what looks like a credential is replaced

        @pandaprobe_otel.tool
        def works(given: dict[str, Any]) -> Any:
            return result

        @pandaprobe_otel.tool
        def fails() -> None:
            raise ValueError(error)

        def run() -> list[Any]:
            with httpx.Client() as client, pandaprobe_otel.span(name or "x"):
                found: list[Any] = [client.post(server.url, content=sent).content for sent, _ in bodies]
            try:
                fails()
            except ValueError as raised:
                found.append(str(raised))
            return [*found, works(arguments)]

        answers = iter([Reply(chunks=(answer,), content_type="application/octet-stream") for _, answer in bodies])
        server.script = lambda _: next(answers)
        with pandaprobe_otel.recording(path, mode="all", tools=True) as recording:
            live = run()
        with pandaprobe_otel.recording(path, mode="none", tools=True):
            assert run() == live
        document, *others = (yaml.load(path.read_bytes(), Loader=loader) for loader in LOADERS)
        assert [document] == (others or [document])
        places = [call["pandaprobe"].get("at", "") for call in document.get("interactions", ())]
        assert places == [call.at for call in recording.calls]

    with spans_recorded():
        check()


def test_a_conversation_is_written_once(server: ProviderServer, folder: Path) -> None:
    """The file's size is proportional to the number of calls, not to its square, and each request is complete."""
    server.replies(Reply(chunks=(b"{}",)))
    path, sizes = folder / "one.yaml", dict[int, int]()
    for rounds in (10, 40):
        sent = requests_of(shop_talk(rounds), BY_NAME["chat"])
        with pandaprobe_otel.recording(path, mode="all"):
            send(server.url, *sent)
        sizes[rounds] = path.stat().st_size
        with pandaprobe_otel.recording(path, mode="none"):
            send(server.url, *sent)
    assert sizes[40] < 4.5 * sizes[10]
    text = path.read_text()
    assert '"tools": [{"$same": [1, ' in text
    assert re.search(r'\[\{"\$same": \[39, \d+\]\},', text)


@pytest.mark.parametrize("values", [(1, True), (0, False), (1.0, 1), (-0.0, 0.0)], ids=str)
def test_equal_values_of_other_types_are_not_shared(
    values: tuple[Any, Any], server: ProviderServer, tmp_path: Path
) -> None:
    """Python takes 1, 1.0 and true for equal, but a request that changes from one to the other is saved as sent."""
    filler: dict[str, Any] = {"text": "long enough to be worth a reference " * 3}
    server.replies(Reply(chunks=(b"{}",)))
    bodies: list[Any] = [
        {"messages": [filler, {"flag": one}, filler], "options": {**filler, "deep": [one]}} for one in values
    ]
    with pandaprobe_otel.recording(tmp_path / "one.yaml"), httpx.Client() as client:
        for body in bodies:
            client.post(server.url, json=body)
    calls = cassettes.load(tmp_path / "one.yaml").interactions
    assert [json.dumps(json.loads(call.request.body)) for call in calls] == list(map(json.dumps, bodies))


def test_a_file_that_people_read(server: ProviderServer, tmp_path: Path) -> None:
    """Each event of a stream has a line of its own, as sent; related fields share a line."""
    server.replies(Reply(chunks=(b'data: {"n":1}\n\n', b'data: {"n":2}\n\n'), content_type="text/event-stream"))

    @pandaprobe_otel.tool
    def look_up(n: str) -> str:
        return "there"

    with spans_recorded(), pandaprobe_otel.recording(tmp_path / "one.yaml", tools=True), pandaprobe_otel.span("agent"):
        httpx.post(f"{server.url}/v1", json={"model": "gpt-5", "stream": True})
        look_up("A")
    head, _, text = (tmp_path / "one.yaml").read_text().partition("interactions:\n")
    assert head.startswith("version: 1\npandaprobe: {format: 1, ")
    assert text.replace(server.url, "http://x") == (
        "- pandaprobe: {call: 1, at: agent, end: read}\n"
        "  request:\n"
        "    method: POST\n"
        "    uri: http://x/v1\n"
        "    headers:\n"
        "      accept: ['*/*']\n"
        "      content-type: [application/json]\n"
        "    body: |\n"
        '      {"model": "gpt-5", "stream": true}\n'
        "  response:\n"
        "    status: {code: 200, message: Whatever}\n"
        "    headers:\n"
        "      content-type: [text/event-stream]\n"
        "    body:\n"
        "      string: |+\n"
        '        data: {"n":1}\n'
        "\n"
        '        data: {"n":2}\n'
        "\n"
        "tools:\n"
        "- {name: look_up, at: agent > look_up, arguments: {n: A}, result: there}\n"
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


@pytest.mark.parametrize("library", [httpx, requests])
def test_a_file_of_vcrpy_is_played(library: Any, tmp_path: Path, server: ProviderServer) -> None:
    """Cassettes recorded with vcrpy are replayed in any order, also with compressed bodies, and headers in bytes."""

    def entry(text: str, kind: str | bytes) -> dict[str, Any]:
        body = gzip.compress(json.dumps({"a": text}).encode(), mtime=0)
        headers = {"Content-Type": [kind], "Content-Encoding": ["gzip"], "Content-Length": [str(len(body))]}
        request = {"method": "POST", "uri": f"{server.url}/v1", "headers": {}, "body": json.dumps({"model": text})}
        answer = {"status": {"code": 200, "message": "OK"}, "headers": headers, "body": {"string": body}}
        return {"request": {**request, "headers": {"Content-Type": [kind]}}, "response": answer}

    path = tmp_path / "one.yaml"
    interactions = [entry("m", "application/json"), entry("n", b"application/json")]
    path.write_text(yaml.safe_dump({"version": 1, "interactions": interactions}))
    with pandaprobe_otel.recording(path, mode="none"):
        for text in ("n", "m"):
            assert library.post(f"{server.url}/v1", json={"model": text}).json() == {"a": text}


def pieces(url: str) -> list[bytes]:
    """Return the pieces of an answer."""
    with httpx.stream("POST", url, json={"q": 1}) as response:
        return list(response.iter_raw())


def test_events_of_a_body_that_was_edited(server: ProviderServer, tmp_path: Path) -> None:
    """A body that was edited by hand is replayed event by event too."""
    server.replies(Reply(chunks=(b'data: {"n":1}\n\n', b'data: {"n":2}\n\n'), content_type="text/event-stream"))
    path = tmp_path / "one.yaml"
    with pandaprobe_otel.recording(path):
        pieces(server.url)
    path.write_text(
        path.read_text().replace('{"n":1}', '{"n":1111}').replace('data: {"n":2}', 'data: {"n":2}\n\n        data: 3')
    )
    with pandaprobe_otel.recording(path, mode="none"):
        assert pieces(server.url) == [b'data: {"n":1111}\n\n', b'data: {"n":2}\n\n', b"data: 3\n\n"]


def test_event_streams_of_bedrock_are_json(server: ProviderServer, tmp_path: Path) -> None:
    """Bedrock's events are written as JSON lines without base64, and can be edited there."""
    frames = [
        event("messageStart", {"role": "assistant"}),
        chunk({"type": "content_block_delta", "delta": {"text": "süß"}}),
    ]
    server.replies(Reply(chunks=frames, content_type=CONTENT_TYPE))
    path = tmp_path / "one.yaml"
    with pandaprobe_otel.recording(path):
        pieces(server.url)
    text = path.read_text()
    assert "\\u00fc" in text
    assert "base64" not in text
    path.write_text(text.replace('"assistant"', '"another one"'))
    with pandaprobe_otel.recording(path, mode="none"):
        first, second = pieces(server.url)
    assert b'"another one"' in first
    encoded = json.loads(second[second.index(b"{") : -4])["bytes"]
    assert json.loads(base64.b64decode(encoded))["delta"] == {"text": "süß"}


HEAD = "version: 1\ninteractions:\n"
CALL = """- pandaprobe: {{call: {call}}}
  request: {{method: POST, uri: 'http://x', body: '{body}'}}
  response: {{status: {{code: 200, message: OK}}, body: {{string: ''}}}}
"""


def call(call: object = 1, body: str = "") -> str:
    """Return the entry of a call."""
    return CALL.format(call=call, body=body)


BAD = {
    "a: [": "one.yaml:2: invalid YAML",
    "- 1\n": "one.yaml:1: not a cassette",
    "\x00": "invalid YAML",
    "pandaprobe: {format: 2}\n": "one.yaml:1: has the format 2, but this version reads 1",
    "a: &x [1]\nb: *x\n": "one.yaml:2: has a YAML reference",
    f"{HEAD}- !!python/object/apply:os.system ['touch planted']\n": "one.yaml:3: cannot be read",
    "a: " + "[" * 60 + "]" * 60: "one.yaml:1: has more than 48 levels",
    "interactions: 3\n": "one.yaml:1: `interactions` must be a list",
    f"{HEAD}- {{response: {{status: {{code: 200}}}}}}\n": "one.yaml:3: 'request' is missing",
    HEAD + call() * 2: "one.yaml:6: call 1 occurs twice",
    HEAD + call("'1'"): "one.yaml:3: `call` must be a whole number",
    HEAD + call("1, end: soon"): "one.yaml:3: `end` is 'soon'",
    HEAD + call(body='{"a": [{"$same": 1}]}'): "one.yaml:4: 1 in 'a' must have the form [call, number of items]",
    HEAD + call(body='{"a": [1]}') + call(2, '{"a": [{"$same": [1, 2]}]}'): "one.yaml:7: call 1 has no 2 items in 'a'",
    HEAD + call("1, framed: aws").replace("string: ''", "string: '{}'"): "is not an event",
    "tools:\n- {name: x}\n": "one.yaml:2: a tool call must have either",
    "tools:\n- {result: 1}\n": "one.yaml:2: 'name' is missing",
    HEAD + call().replace("POST", "2026-01-01"): "must be a text, but is date",
}


@pytest.mark.parametrize("text", BAD, ids=BAD.values())
def test_a_file_that_is_no_cassette(text: str, tmp_path: Path) -> None:
    """The error names the line of an invalid file, and nothing in the file is executed."""
    path = tmp_path / "one.yaml"
    path.write_text(text)
    with pytest.raises(RecordingError) as caught:
        pandaprobe_otel.recording(path, mode="none").open()
    assert BAD[text] in str(caught.value)
    assert str(path) in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == ["one.yaml"]


def test_costs_are_bounded(server: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is refused if it is too large, as written or with its references resolved."""
    path = tmp_path / "one.yaml"
    server.replies(Reply(chunks=(b"{}",)))
    with pandaprobe_otel.recording(path):
        send(server.url, *requests_of(shop_talk(10), BY_NAME["chat"]))
    for name, message in (
        ("MAX_BYTES", r"one.yaml:\d+: with their references resolved"),
        ("MAX_FILE_BYTES", "Record it in parts"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(cassettes, name, 1000)
            with pytest.raises(RecordingError, match=message):
                pandaprobe_otel.recording(path, mode="none").open()
    with pytest.raises(RecordingError, match="cannot be read"):
        pandaprobe_otel.recording(tmp_path, mode="none").open()


def test_a_value_that_yaml_cannot_contain(tmp_path: Path) -> None:
    """A recording with half of a UTF-16 pair is refused when it is saved, and the old file stays."""
    path = tmp_path / "one.yaml"
    path.write_text("version: 1\n")

    @pandaprobe_otel.tool
    def half() -> str:
        return "\ud800"

    with (
        pytest.raises(RecordingError, match="cannot contain a value"),
        pandaprobe_otel.recording(path, mode="all", tools=True),
    ):
        half()

    assert path.read_text() == "version: 1\n"
    assert [each.name for each in tmp_path.iterdir()] == ["one.yaml"]
