"""Model calls that are not chats, by each library that has them: the app gets the same, and one span records the call.

The openai client's calls have tests of their own; groq and together share its readers.
"""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cohere
import ollama
import pytest
from google import genai
from google.oauth2.credentials import Credentials

from library_members import skip_without
from litellm_library import litellm
from openai_traffic import message_item, response
from pandaprobe_otel.registry import instrument, uninstrument
from provider_server import ProviderServer, Reply, events_reply, json_reply
from span_recorder import SpanRecorder

# litellm and cohere deprecate arguments that they add themselves, google-genai deprecates pictures and videos.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:The generate_", "ignore:.*experimental"),
]
PICTURE = b"\x89PNG" + bytes(range(200))
PICTURES = {"predictions": [{"bytesBase64Encoded": base64.b64encode(PICTURE).decode(), "mimeType": "image/png"}]}
USAGE = {"prompt_tokens": 14, "completion_tokens": 45, "total_tokens": 59}
HEARD = {"model": "voxtral", "text": "It is sunny.", "language": "en", "usage": USAGE}
META = {"billed_units": {"input_tokens": 14, "output_tokens": 45}}
QUESTION: Any = {"role": "user", "content": "Hi"}


@contextmanager
def _mistral(url: str) -> Iterator[Any]:
    try:
        module: Any = importlib.import_module("mistralai.client")
        made = module.Mistral
    except (ImportError, AttributeError):
        made = importlib.import_module("mistralai").Mistral
    with made(api_key="none", server_url=url) as client:
        yield client


@contextmanager
def _google(url: str) -> Iterator[Any]:
    options: Any = {"base_url": url}
    yield genai.Client(api_key="none", vertexai=False, http_options=options)


@contextmanager
def _vertex(url: str) -> Iterator[Any]:
    options: Any = {"base_url": url}
    given: Any = {"vertexai": True, "project": "p", "location": "l", "credentials": Credentials(token="none")}  # type: ignore[no-untyped-call, unused-ignore]
    yield genai.Client(http_options=options, **given)


@contextmanager
def _cohere(url: str) -> Iterator[Any]:
    with cohere.Client(api_key="none", base_url=url) as client:
        yield client


@contextmanager
def _ollama(url: str) -> Iterator[Any]:
    yield ollama.Client(host=url)


@contextmanager
def _litellm(url: str) -> Iterator[Any]:
    class Placed:
        """litellm's functions with the scripted server's address."""

        def __getattr__(self, name: str) -> Any:
            return lambda **given: getattr(litellm, name)(**given, api_base=f"{url}/v1", api_key="none", max_retries=0)

    yield Placed()


CLIENTS: dict[str, Callable[[str], Any]] = {
    "mistralai": _mistral,
    "google_genai": _google,
    "cohere": _cohere,
    "ollama": _ollama,
    "litellm": _litellm,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One way of asking, with the answer and the span's name, input texts, output texts and tokens."""

    needs: str
    ask: Callable[[Any], Any]
    reply: Reply
    name: str
    asked: list[str]
    said: list[str]
    provider: str
    tokens: tuple[int | None, int | None] = (None, None)
    client: Callable[[str], Any] | None = None


def _mistral_call(needs: str, **more: Any) -> Call:
    return Call(needs=needs, provider="mistral_ai", **more)


CALLS: dict[str, Call] = {
    "mistralai ocr": _mistral_call(
        "ocr.process",
        ask=lambda client: client.ocr.process(
            model="ocr-1", document={"type": "document_url", "document_url": "https://files.test/a.pdf"}
        ),
        reply=json_reply(
            {
                "model": "ocr-1",
                "pages": [{"index": 0, "markdown": "# Weather", "images": [], "dimensions": None}],
                "usage_info": {"pages_processed": 1},
            }
        ),
        name="generate_content ocr-1",
        asked=["https://files.test/a.pdf"],
        said=["# Weather"],
    ),
    "mistralai responses": _mistral_call(
        "responses.create",
        ask=lambda client: client.responses.create(model="m", input=[{"type": "message", **QUESTION}]),
        reply=json_reply(response(message_item("Ho"))),
        name="chat m",
        asked=["Hi"],
        said=["Ho"],
        tokens=(120, 34),
    ),
    "mistralai transcription": _mistral_call(
        "audio.transcriptions.complete",
        ask=lambda client: client.audio.transcriptions.complete(
            model="voxtral", file={"file_name": "a.mp3", "content": b"ID3"}
        ),
        reply=json_reply(HEARD),
        name="generate_content voxtral",
        asked=["a.mp3"],
        said=["It is sunny."],
        tokens=(14, 45),
    ),
    "mistralai streamed transcription": _mistral_call(
        "audio.transcriptions.stream",
        ask=lambda client: list(
            client.audio.transcriptions.stream(model="voxtral", file={"file_name": "a.mp3", "content": b"ID3"})
        ),
        reply=events_reply(
            [
                {"type": "transcription.text.delta", "text": "It is "},
                {"type": "transcription.text.delta", "text": "sunny."},
                {"type": "transcription.done", **HEARD},
            ],
            named=True,
            done=False,
        ),
        name="generate_content voxtral",
        asked=["a.mp3"],
        said=["It is sunny."],
        tokens=(14, 45),
    ),
    "mistralai moderation": _mistral_call(
        "classifiers.moderate",
        ask=lambda client: client.classifiers.moderate(model="mod-1", inputs=["Not fine"]),
        reply=json_reply({"id": "m1", "model": "mod-1", "results": [{"categories": {"hate": True, "pii": False}}]}),
        name="moderation mod-1",
        asked=["Not fine"],
        said=['{"flagged":false,"categories":["hate"]}'],
    ),
    "mistralai moderation of a chat": _mistral_call(
        "classifiers.moderate_chat",
        ask=lambda client: client.classifiers.moderate_chat(model="mod-1", inputs=[QUESTION]),
        reply=json_reply({"id": "m1", "model": "mod-1", "results": [{"categories": {}}]}),
        name="moderation mod-1",
        asked=["Hi"],
        said=['{"flagged":false,"categories":[]}'],
    ),
    "mistralai classification": _mistral_call(
        "classifiers.classify",
        ask=lambda client: client.classifiers.classify(model="c-1", inputs=["Hi"]),
        reply=json_reply({"id": "c1", "model": "c-1", "results": [{"mood": {"scores": {"good": 0.9}}}]}),
        name="classification c-1",
        asked=["Hi"],
        said=['{"mood":{"scores":{"good":0.9}}}'],
    ),
    "google_genai images": Call(
        needs="models.generate_images",
        provider="gcp.vertex_ai",
        client=_vertex,
        ask=lambda client: client.models.generate_images(model="imagen-4", prompt="A panda"),
        reply=json_reply(PICTURES),
        name="generate_content imagen-4",
        asked=["A panda"],
        said=[f"{len(PICTURE)} bytes"],
    ),
    "google_genai videos": Call(
        needs="models.generate_videos",
        provider="gcp.vertex_ai",
        client=_vertex,
        ask=lambda client: client.models.generate_videos(model="veo-3", prompt="A panda").name,
        reply=json_reply({"name": "projects/p/operations/1"}),
        name="generate_content veo-3",
        asked=["A panda"],
        said=[],
    ),
    "google_genai decisions": Call(
        needs="decisions.create",
        provider="gcp.gemini",
        ask=lambda client: client.decisions.create(
            model="g", input="Hi", questions={"polite": {"type": "noul", "instructions": "Is it?"}}
        ),
        reply=json_reply({"answers": {}, "usage": {"total_input_tokens": 14, "total_output_tokens": 45}}),
        name="generate_content g",
        asked=["Hi"],
        said=[],
        tokens=(14, 45),
    ),
    "cohere transcription": Call(
        needs="audio.transcriptions",
        provider="cohere",
        ask=lambda client: client.audio.transcriptions.create(model="aya", language="en", file=("a.mp3", b"ID3")),
        reply=json_reply({"text": "It is sunny."}),
        name="generate_content aya",
        asked=["a.mp3"],
        said=["It is sunny."],
    ),
    "cohere classify": Call(
        needs="classify",
        provider="cohere",
        ask=lambda client: client.classify(model="embed-1", inputs=["Hi"]),
        reply=json_reply(
            {
                "id": "c1",
                "classifications": [
                    {
                        "id": "1",
                        "predictions": ["polite"],
                        "confidences": [0.9],
                        "labels": {},
                        "classification_type": "single-label",
                    }
                ],
                "meta": META,
            }
        ),
        name="classification embed-1",
        asked=["Hi"],
        said=['["polite"]'],
        tokens=(14, 45),
    ),
    "cohere summarize": Call(
        needs="summarize",
        provider="cohere",
        ask=lambda client: client.summarize(model="command", text="Long", additional_command="Be brief"),
        reply=json_reply({"id": "s1", "summary": "Short", "meta": META}),
        name="text_completion command",
        asked=["Long"],
        said=["Short"],
        tokens=(14, 45),
    ),
    "cohere parse": Call(
        needs="v2.parse",
        provider="cohere",
        ask=lambda client: client.v2.parse(
            model="parse-5", document={"type": "image_url", "image_url": "https://files.test/a.png"}
        ),
        reply=json_reply({"id": "p1", "pages": [{"markdown": "# Weather"}], "meta": META, "finish_reason": "COMPLETE"}),
        name="generate_content parse-5",
        asked=["https://files.test/a.png"],
        said=["# Weather"],
        tokens=(14, 45),
    ),
    "ollama decisions": Call(
        needs="systemone",
        provider="ollama",
        ask=lambda client: client.systemone(
            model="s-1", state="Hi", questions={"polite": {"type": "noul", "instructions": "Is it?"}}
        ),
        reply=json_reply(
            {
                "model": "s-1",
                "answers": {"polite": {"type": "noul", "noul": 0.9, "confidence": 1.0}},
                "usage": {"input_tokens": 14, "output_tokens": 45},
            }
        ),
        name="generate_content s-1",
        asked=["Hi"],
        said=['{"polite":{"type":"noul","noul":0.9,"confidence":1.0}}'],
        tokens=(14, 45),
    ),
    "mistralai transcription by address": _mistral_call(
        "audio.transcriptions.complete",
        ask=lambda client: client.audio.transcriptions.complete(model="voxtral", file_url="https://files.test/a.mp3"),
        reply=json_reply(HEARD),
        name="generate_content voxtral",
        asked=[],
        said=["It is sunny."],
        tokens=(14, 45),
    ),
    "litellm images": Call(
        needs="image_generation",
        provider="openai",
        ask=lambda module: module.image_generation(model="openai/gpt-image-2", prompt="A panda"),
        reply=json_reply({"created": 1, "data": [{"url": "https://images.test/1"}]}),
        name="generate_content gpt-image-2",
        asked=["A panda"],
        said=["https://images.test/1"],
    ),
    "litellm transcription": Call(
        needs="transcription",
        provider="openai",
        ask=lambda module: module.transcription(model="openai/whisper-1", file=("a.mp3", b"ID3")),
        reply=json_reply({"text": "It is sunny."}),
        name="generate_content whisper-1",
        asked=["a.mp3"],
        said=["It is sunny."],
    ),
    "litellm speech": Call(
        needs="speech",
        provider="openai",
        ask=lambda module: module.speech(model="openai/tts-1", input="Hello", voice="alloy").content,
        reply=Reply(chunks=(PICTURE,), content_type="audio/mpeg"),
        name="generate_content tts-1",
        asked=["Hello"],
        said=[f"{len(PICTURE)} bytes"],
    ),
}


def _texts(attributes: dict[str, Any], name: str) -> list[str]:
    parts = [part for message in json.loads(attributes.get(name, "[]")) for part in message["parts"]]
    return [
        str(part.get("content") or part.get("uri") or part.get("name") or f"{part['bytes']} bytes") for part in parts
    ]


@pytest.mark.parametrize("name", CALLS)
def test_other_calls(name: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Every way of asking makes one span with question and answer, without sound and pictures."""
    call = CALLS[name]
    library = name.partition(" ")[0]
    server.replies(call.reply)
    with (call.client or CLIENTS[library])(server.url) as client:
        skip_without(client, call.needs)
        without = call.ask(client)
        instrument(library, tracer_provider=recorder.provider)
        try:
            seen = call.ask(client)
        finally:
            uninstrument(library)
    assert type(seen) is type(without)
    assert repr(seen) == repr(without)
    attributes = recorder.attributes(call.name)
    assert _texts(attributes, "gen_ai.input.messages") == call.asked
    assert _texts(attributes, "gen_ai.output.messages") == call.said
    assert attributes["gen_ai.provider.name"] == call.provider
    tokens = attributes.get("gen_ai.usage.input_tokens"), attributes.get("gen_ai.usage.output_tokens")
    assert tokens == call.tokens
    assert base64.b64encode(PICTURE).decode()[:40] not in json.dumps(attributes)
