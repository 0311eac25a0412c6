"""Sound and files through the openai client: spans describe them, and have no binary data."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import openai
import pytest

from library_members import skip_without
from pandaprobe_otel.registry import instrument
from provider_server import ProviderServer, Reply, json_reply
from span_recorder import SpanRecorder

PICTURE = b"\x89PNG" + bytes(range(256)) * 20
SOUND = b"ID3" + bytes(range(255, -1, -1)) * 30
BASE64 = base64.b64encode(PICTURE).decode()
IMAGES = {"created": 1, "output_format": "webp", "data": [{"b64_json": BASE64}]}


def _blob(data: bytes, modality: str, mime_type: str | None) -> dict[str, Any]:
    sha256 = hashlib.sha256(data).hexdigest()
    return {"type": "blob", "modality": modality, "mime_type": mime_type, "bytes": len(data), "sha256": sha256}


@pytest.fixture(autouse=True)
def recent_client() -> None:
    """Skip the tests with a client from before 2025, which lacked most of these calls."""
    skip_without(openai.types, "ImageGenCompletedEvent")


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
