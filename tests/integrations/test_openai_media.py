"""Pictures, sound and moderation through the openai client: spans have question and answer, but no binary data."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from library_members import skip_without
from pandaprobe_otel.registry import instrument
from provider_server import ProviderServer, Reply, events_reply, json_reply
from span_recorder import SpanRecorder

PICTURE = b"\x89PNG" + bytes(range(256)) * 20
SOUND = b"ID3" + bytes(range(255, -1, -1)) * 30
BASE64 = base64.b64encode(PICTURE).decode()
IMAGE_USAGE = {
    "input_tokens": 12,
    "output_tokens": 4160,
    "total_tokens": 4172,
    "input_tokens_details": {"text_tokens": 12},
}
TRANSCRIPT_USAGE = {
    "type": "tokens",
    "input_tokens": 14,
    "output_tokens": 45,
    "input_token_details": {"audio_tokens": 14},
}
WORDS = ("It is", " sunny", ".")
IMAGES = {"created": 1, "output_format": "webp", "data": [{"b64_json": BASE64}], "usage": IMAGE_USAGE}
JUDGED = {
    "id": "modr-1",
    "model": "omni-moderation-2026",
    "results": [
        {"flagged": True, "categories": {"hate": False, "violence": True}, "category_scores": {"violence": 0.9}}
    ],
}


def _file() -> io.BytesIO:
    file = io.BytesIO(SOUND)
    file.name = "/home/me/question.mp3"
    return file


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One call, with the answer and the span's name, input, output and tokens."""

    ask: Callable[[Any], Any]
    reply: Reply
    name: str
    question: list[Any]
    answer: list[Any]
    tokens: tuple[int | None, int | None] = (None, None)
    streams: bool = False


def _blob(data: bytes, modality: str, mime_type: str | None) -> dict[str, Any]:
    sha256 = hashlib.sha256(data).hexdigest()
    return {"type": "blob", "modality": modality, "mime_type": mime_type, "bytes": len(data), "sha256": sha256}


def _text(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}


def _upload(name: str, modality: str, **more: Any) -> dict[str, Any]:
    return {"type": "blob", "modality": modality, "mime_type": None, "name": name, **more}


CASES = {
    "image by its address": Case(
        ask=lambda client: client.images.generate(model="dall-e-3", prompt="A panda"),
        reply=json_reply({"created": 1, "data": [{"url": "https://images.test/1", "revised_prompt": "A red panda"}]}),
        name="generate_content dall-e-3",
        question=[_text("A panda")],
        answer=[{"type": "uri", "modality": "image", "uri": "https://images.test/1"}, _text("A red panda")],
    ),
    "edited image": Case(
        ask=lambda client: client.images.edit(model="gpt-image-2", prompt="More", image=("in.png", PICTURE)),
        reply=json_reply(IMAGES),
        name="generate_content gpt-image-2",
        question=[_text("More"), _upload("in.png", "image", bytes=len(PICTURE))],
        answer=[_blob(PICTURE, "image", "image/webp")],
        tokens=(12, 4160),
    ),
    "streamed image": Case(
        ask=lambda client: client.images.generate(model="gpt-image-2", prompt="A panda", stream=True),
        reply=events_reply(
            [
                {"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": "AAAA"},
                {"type": "image_generation.completed", "b64_json": BASE64, "usage": IMAGE_USAGE},
            ],
            named=True,
            done=False,
        ),
        name="generate_content gpt-image-2",
        question=[_text("A panda")],
        answer=[_blob(PICTURE, "image", "image/png")],
        tokens=(12, 4160),
        streams=True,
    ),
    "transcription as text": Case(
        ask=lambda client: client.audio.transcriptions.create(model="whisper-1", file=_file(), response_format="text"),
        reply=Reply(chunks=(b"It is sunny.\n",), content_type="text/plain"),
        name="generate_content whisper-1",
        question=[_upload("question.mp3", "audio")],
        answer=[_text("It is sunny.\n")],
    ),
    "streamed transcription": Case(
        ask=lambda client: client.audio.transcriptions.create(model="gpt-transcribe", file=_file(), stream=True),
        reply=events_reply(
            [
                *({"type": "transcript.text.delta", "delta": word} for word in WORDS),
                {"type": "transcript.text.done", "text": "".join(WORDS), "usage": TRANSCRIPT_USAGE},
            ],
            done=False,
        ),
        name="generate_content gpt-transcribe",
        question=[_upload("question.mp3", "audio")],
        answer=[_text("".join(WORDS))],
        tokens=(14, 45),
        streams=True,
    ),
    "translation": Case(
        ask=lambda client: client.audio.translations.create(model="whisper-1", file=("a.mp3", SOUND)),
        reply=json_reply({"text": "It is sunny.", "usage": {"type": "duration", "seconds": 9}}),
        name="generate_content whisper-1",
        question=[_upload("a.mp3", "audio", bytes=len(SOUND))],
        answer=[_text("It is sunny.")],
    ),
    "moderation": Case(
        ask=lambda client: client.moderations.create(model="omni-moderation", input=["Fine", "Not fine"]),
        reply=json_reply(JUDGED),
        name="moderation omni-moderation",
        question=[_text("Fine"), _text("Not fine")],
        answer=[_text('{"flagged":true,"categories":["violence"]}')],
    ),
}


@pytest.fixture(autouse=True)
def recent_client() -> None:
    """Skip the tests with a client from before 2025, which lacked most of these calls."""
    skip_without(openai.types, "ImageGenCompletedEvent")


def _seen(answer: Any) -> Any:
    if isinstance(answer, openai.Stream):
        return type(answer), list(answer)
    return type(answer), answer.read() if hasattr(answer, "read") else answer


def _check(recorder: SpanRecorder, case: Case) -> None:
    attributes = recorder.attributes()
    assert recorder.names == [case.name]
    (question,) = json.loads(attributes["gen_ai.input.messages"])
    (answer,) = json.loads(attributes["gen_ai.output.messages"])
    assert question == {"role": "user", "parts": case.question}
    assert answer["parts"] == case.answer
    tokens = attributes.get("gen_ai.usage.input_tokens"), attributes.get("gen_ai.usage.output_tokens")
    assert tokens == case.tokens
    assert ("gen_ai.response.time_to_first_chunk" in attributes) == case.streams
    assert "pandaprobe.outcome" not in attributes
    assert BASE64[:40] not in json.dumps(attributes)


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # some methods are deprecated in the newest version
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_media(case: Case, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The app gets the same as without us; one span describes the result without copying it."""
    server.replies(case.reply)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        without = _seen(case.ask(client))
        instrument("openai", tracer_provider=recorder.provider)
        assert _seen(case.ask(client)) == without
    _check(recorder, case)


def test_speech_that_is_played_while_it_comes(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A sound that the app reads in pieces is recorded as far as the app has read."""
    server.replies(Reply(chunks=(SOUND[:4000], SOUND[4000:]), content_type="audio/mpeg"))
    instrument("openai", tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        speech = client.audio.speech.with_streaming_response
        with speech.create(model="tts-2", voice="alloy", input="Hello") as sound:
            assert b"".join(sound.iter_bytes()) == SOUND
    (answer,) = recorder.json("gen_ai.output.messages")
    assert answer["parts"] == [_blob(SOUND, "audio", "audio/mpeg")]
    assert recorder.attributes()["gen_ai.output.type"] == "speech"
    assert recorder.attributes()["gen_ai.response.time_to_first_chunk"] > 0


def test_speech_that_is_left(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A sound that the app leaves early counts as partial, since sound has no end mark."""
    server.replies(Reply(chunks=(SOUND[:4000], SOUND[4000:]), content_type="audio/mpeg"))
    instrument("openai", tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        speech = client.audio.speech.with_streaming_response
        with speech.create(model="tts-2", voice="alloy", input="Hello") as answer:
            next(answer.iter_bytes())
    assert recorder.attributes()["pandaprobe.outcome"] == "partial"


def test_files_of_every_make(server: ProviderServer, recorder: SpanRecorder, tmp_path: Any) -> None:
    """Files are recorded by their names if they have any, and are never read."""
    picture = tmp_path / "photo.png"
    picture.write_bytes(PICTURE)
    server.replies(json_reply(IMAGES))
    instrument("openai", tracer_provider=recorder.provider)
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
        picture.open("rb") as file,
    ):
        client.images.edit(model="m", prompt="x", image=[picture, file, PICTURE, ("b.png", PICTURE, "image/png")])
    (question,) = recorder.json("gen_ai.input.messages")
    assert [(part.get("name"), part.get("bytes")) for part in question["parts"][1:]] == [
        ("photo.png", len(PICTURE)),  # the client has read the file itself
        ("photo.png", None),
        (None, len(PICTURE)),
        ("b.png", len(PICTURE)),
    ]
