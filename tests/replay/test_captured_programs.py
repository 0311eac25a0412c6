"""Captured programs: the cassette that is rebuilt from a trace answers the program as its model did."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any, Final

import anthropic
import boto3
import openai
import pytest
import yaml
from google import genai

import pandaprobe_otel
from command_line import clean_environment, run_here
from conformance.adapter import Adapter
from pandaprobe_otel.registry import uninstrument
from pandaprobe_otel.replay.divergence import Divergence
from provider_server import ProviderServer, Reply, json_reply
from recorded_conversations import BY_NAME, Body, shop_talk
from rings import IN_FULL
from streamed_forms import Sighting, finished, read_to_the_end

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning")
LIBRARIES: Final = {
    "openai": "openai",
    "openai responses": "openai",
    "anthropic": "anthropic",
    "google-genai": "google_genai",
    "Bedrock Converse": "bedrock",
    **{name: name for name in ("mistralai", "ollama", "cohere", "litellm")},
    **dict.fromkeys(("groq", "together"), "like_openai"),
}
"""The modules of the adapters by title."""
COMMON: Final = tuple(LIBRARIES)[:5]
THINKING: Final = ("openai responses", "anthropic", "google-genai")
CUT: Final = ("openai", "anthropic", "google-genai", "Bedrock Converse")
LATER: Final = {
    "thoughts": {"reasoning_summary": "They ask for A-17;\n\nI look."},
    "cut": {"finish_reasons": ["length"]},
}
"""Metadata of answers that are written into a trace: no adapter's answer has them."""
REPLAYED: Final = ("finish_reasons", "response_id", "provider", "stream", "reasoning_summary")


class Traced:
    """A program that is traced into a file, from which `pandaprobe-otel replay capture` makes a cassette."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.file = folder / "traces.jsonl"

    def run(self, ask: Callable[[], object]) -> dict[str, Any]:
        """Run a program that asks a model, and return the span of this call."""
        with pandaprobe_otel.agent("program"):
            ask()
        assert pandaprobe_otel.flush()
        (call,) = (span for span in self.spans() if span["kind"] == "LLM")
        return call  # type: ignore[no-any-return]

    def spans(self) -> list[Any]:
        """Return the spans of the last trace."""
        return json.loads(self.file.read_text(encoding="utf-8").splitlines()[-1])["spans"]  # type: ignore[no-any-return]

    def replace(self, call: dict[str, Any]) -> None:
        """Replace the model call in the file, which has one trace."""
        whole = json.loads(self.file.read_text(encoding="utf-8"))
        whole["spans"] = [call if span["span_id"] == call["span_id"] else span for span in whole["spans"]]
        self.file.write_text(json.dumps(whole) + "\n", encoding="utf-8")

    def capture(self) -> Path:
        """Return the cassette of the only trace."""
        done = run_here(
            "replay", "capture", str(self.file), "--to", "test_it.py", environment=clean_environment(self._folder)
        )
        assert done.returncode == 0, done.stderr
        return self._folder / "cassettes" / "test_it.yaml"


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Traced]]:
    """Return a function that begins to trace these integrations with these settings."""
    monkeypatch.chdir(tmp_path)
    begun: list[str] = []

    def begin(*integrations: str, **settings: Any) -> Traced:
        begun.extend(integrations)
        for name in integrations:
            uninstrument(name)  # another test of this process may have left it instrumented
        pandaprobe_otel.init(local=tmp_path / "traces.jsonl", instrument=list(integrations), **settings)
        return Traced(tmp_path)

    yield begin
    pandaprobe_otel.shutdown()
    for name in begun:
        uninstrument(name)


def _adapter(title: str) -> Adapter:
    """Return an adapter; all libraries together take seconds to import."""
    module = import_module(f"conformance.libraries.{LIBRARIES[title]}")
    return next(adapter for adapter in module.ADAPTERS if adapter.title == title)  # type: ignore[no-any-return]


def _reply(adapter: Adapter, kind: str, *, streamed: bool) -> Reply:
    if kind == "refusal":
        return adapter.refused(400) if adapter.refused else Reply(chunks=(adapter.refusal,), status=400)
    wire = getattr(adapter, kind)
    if streamed:
        return Reply(chunks=wire.chunks, content_type=wire.stream_type)
    return Reply(chunks=(wire.whole,), headers=dict(wire.headers))


def _cases() -> Iterator[Any]:
    for title, shape, kind in product(LIBRARIES, ("plain", "stream"), ("answer", "tools", "refusal")):
        marks = () if title in COMMON and (kind != "refusal" or shape == "plain") else IN_FULL
        yield pytest.param(title, shape, kind, id=f"{title}-{shape}-{kind}", marks=marks)
    for kind, titles in (("thoughts", THINKING), ("cut", CUT)):
        for title, shape in product(titles, ("plain", "stream")):
            yield pytest.param(title, shape, kind, id=f"{title}-{shape}-{kind}")


@pytest.mark.parametrize(("title", "shape", "kind"), [*_cases()])
def test_a_rebuilt_answer_is_the_same_to_the_program(
    title: str, shape: str, kind: str, server: ProviderServer, trace: Callable[..., Traced]
) -> None:
    """The client reads the same from a rebuilt answer, tool calls and counts included, and raises the same error."""
    adapter, raised = _adapter(title), list[str]()

    def ask() -> None:
        with adapter.client(server.url, 30.0) as client:
            try:
                if shape == "plain":
                    finished(adapter.calls[shape](client, Sighting()))
                else:
                    form = adapter.forms.get("helper stream", adapter.forms[shape])  # checks the end of a stream
                    finished(read_to_the_end(form, client, Sighting()))
            except Exception as error:  # noqa: BLE001 - whatever the client raises
                raised.append(type(error).__name__)

    server.replies(_reply(adapter, "answer" if kind in LATER else kind, streamed=shape != "plain"))
    traced = trace(adapter.integration, *adapter.also)
    live = traced.run(ask)
    if kind in LATER:
        live["metadata"] |= LATER[kind]
        traced.replace(live)
    cassette = traced.capture()
    server.received.clear()
    with pandaprobe_otel.recording(cassette, mode="none"):
        replayed = traced.run(ask)
    assert server.received == []
    for field in ("output", "token_usage", "model", "status"):
        assert replayed.get(field) == live.get(field)
    for field in REPLAYED:
        assert replayed["metadata"].get(field) == live["metadata"].get(field)
    assert raised == ([raised[0]] * 2 if kind == "refusal" else [])


PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
HINT: Final = {"cache_control": {"type": "ephemeral"}}


def _chat(url: str, body: Body, model: str) -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    body["messages"][0]["role"] = "developer"
    texts = [{"type": "text", "text": text} for text in ("And", "this?")]
    body["messages"] += [{"role": "user", "content": texts}, {"role": "user", "content": [picture]}]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        client.chat.completions.create(**body, max_completion_tokens=7)


def _responses(url: str, body: Body, model: str) -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
    text = {"type": "output_text", "text": "I look.", "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
    body["input"][1:1] = [thought, message]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        client.responses.create(**body, store=False)


def _anthropic(url: str, body: Body, model: str) -> None:
    body["system"] = [{"type": "text", "text": "Be kind."}, {"type": "text", "text": "Be short.", **HINT}]
    body["messages"][1]["content"].insert(0, {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"})
    body["messages"][2]["content"].append({"type": "text", "text": "And now?", **HINT})
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client:
        client.messages.create(**body)


def _gemini(url: str, body: Body, model: str) -> None:
    body["contents"][1]["parts"].insert(0, {"text": "Hm.", "thought": True})
    body["contents"][1]["parts"][1]["thoughtSignature"] = "cw=="
    config = {"system_instruction": body["systemInstruction"], "tools": body["tools"], "temperature": 0.5}
    client: Any = genai.Client(api_key="none", vertexai=False, http_options={"base_url": url})
    client.models.generate_content(model=model, contents=body["contents"], config=config)
    client.close()


def _bedrock(url: str, body: Body, model: str) -> None:
    body["system"].append({"cachePoint": {"type": "default"}})
    body["messages"][1]["content"].insert(0, {"text": "I look."})
    made: Any = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
    client = made.client("bedrock-runtime", endpoint_url=url)
    client.converse(modelId=model, **body)
    client.close()


CONVERSATIONS: Final[dict[str, tuple[str, str, Callable[[str, Body, str], None]]]] = {
    "openai": ("openai", "chat", _chat),
    "openai responses": ("openai", "responses", _responses),
    "anthropic": ("anthropic", "anthropic", _anthropic),
    "google-genai": ("google_genai", "gemini", _gemini),
    "Bedrock Converse": ("bedrock", "converse", _bedrock),
}
"""The integration, the protocol and the call of each client."""


@pytest.mark.parametrize("title", CONVERSATIONS)
def test_a_rebuilt_request_is_the_one_that_was_sent(
    title: str, server: ProviderServer, trace: Callable[..., Traced]
) -> None:
    """A conversation with tools gets the answer of the cassette, and another question is a divergence."""
    integration, protocol, call = CONVERSATIONS[title]

    def ask(question: str) -> None:
        talk = replace(shop_talk(1), question=question)
        call(server.url, BY_NAME[protocol].body(talk, 1), talk.model)

    server.replies(_reply(_adapter(title), "answer", streamed=False))
    traced = trace(integration)
    traced.run(lambda: ask("Where?"))
    cassette = traced.capture()
    with pandaprobe_otel.recording(cassette, mode="none"):
        ask("Where?")
    with (
        pytest.raises(Divergence, match="Divergence at call 1"),
        pandaprobe_otel.recording(cassette, mode="none"),
        pytest.raises(Exception, match="Divergence"),
    ):
        ask("Where now?")


BLOCKS: Final[list[dict[str, Any]]] = [
    {"type": "text", "text": "First a word."},
    {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmF0dXJl"},
    {"type": "tool_use", "id": "t1", "name": "look_up", "input": {"number": "A-17"}},
]
ANSWER: Final[dict[str, Any]] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m-1",
    "content": BLOCKS,
    "stop_reason": "stop_sequence",
    "stop_sequence": "STOP",
    "usage": {"input_tokens": 9, "output_tokens": 4},
}


def _think(url: str, *, stream: bool = False) -> Any:
    asked: dict[str, Any] = {
        "model": "m-1",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "Where?"}],
        "thinking": {"type": "disabled"},
    }
    with anthropic.Anthropic(base_url=url, api_key="secret-key", max_retries=0) as client:
        if not stream:
            return client.messages.create(**asked).model_dump(exclude_none=True)
        with client.messages.stream(**asked) as streamed:
            return streamed.get_final_message().model_dump(exclude_none=True)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_replayable_answer_is_rebuilt_exactly(
    stream: bool, server: ProviderServer, trace: Callable[..., Traced]
) -> None:
    """With `replayable`, the program reads the same parts, signatures and stop reason; the trace has no API key."""
    server.replies(_reply(_adapter("anthropic"), "tools", streamed=True) if stream else json_reply(ANSWER))
    traced = trace("anthropic", replayable=True)
    read: list[Any] = []
    call = traced.run(lambda: read.append(_think(server.url, stream=stream)))
    cassette = traced.capture()
    with pandaprobe_otel.recording(cassette, mode="none"):
        read.append(_think(server.url, stream=stream))
    assert read[1] == read[0]
    assert call["metadata"]["replay"]["request"] == {"max_tokens": 9, "thinking": {"type": "disabled"}}
    assert "secret-key" not in traced.file.read_text(encoding="utf-8")
    if not stream:
        (recorded,) = yaml.safe_load(cassette.read_text(encoding="utf-8"))["interactions"]
        assert json.loads(recorded["response"]["body"]["string"]) == ANSWER


@pytest.mark.parametrize(
    ("settings", "is_kept"),
    [
        ({"replayable": True}, True),
        ({"replayable": True, "capture": "metadata"}, False),
        ({"replayable": True, "capture": {"TOOL": "metadata"}}, False),
        ({"replayable": True, "mask": lambda text: text.replace("A-17", "[masked]")}, False),
    ],
)
def test_capture_and_mask_apply_to_replay_data(
    settings: dict[str, Any], is_kept: bool, server: ProviderServer, trace: Callable[..., Traced]
) -> None:
    """`capture` and masks also apply to the replay data, including arguments of tools."""
    server.replies(json_reply(ANSWER))
    traced = trace("anthropic", **settings)
    traced.run(lambda: _think(server.url))
    assert ("A-17" in traced.file.read_text(encoding="utf-8")) is is_kept


def test_replay_data_are_bounded_and_off_by_default(server: ProviderServer, trace: Callable[..., Traced]) -> None:
    """Replay data over 64 kB is left out with a note; without the setting, a span has none."""
    server.replies(json_reply({**ANSWER, "content": [{"type": "text", "text": "word " * 20_000}]}))
    long = trace("anthropic", replayable=True).run(lambda: _think(server.url))
    assert "more than" in long["metadata"]["replay"]["left_out"]
    pandaprobe_otel.shutdown()
    assert "replay" not in trace("anthropic").run(lambda: _think(server.url))["metadata"]
