"""Sound and pictures."""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import Body, Endpoint, Partly, common, question
from pandaprobe_otel_integrations._json import Object, items, objects, string
from pandaprobe_otel_integrations._openai_protocol.usage import OPENAI, SAMPLING
from pandaprobe_otel_integrations._other_members import with_rest
from pandaprobe_otel_integrations._parts import Part

# -- files that are sent with a request: the span names them and does not contain them ---------------------------------

FILES: Final = "\0files"
"""Member of a request's body under which its files are passed on. No service has a member of this name."""


def with_files(body: Body, files: Any) -> Body:
    """Return the body of a multipart request, with its files by their fields."""
    return {**body, FILES: list(files.items()) if isinstance(files, dict) else items(files)}  # pyright: ignore[reportUnknownArgumentType]


def file_parts(files: Any, modality: str) -> list[Part]:
    """Return a blob's part for each file: its name, and its size if it is known without reading the file."""
    return [_part(entry[1], modality) for entry in items(files) if isinstance(entry, tuple)]


def _part(file: Any, modality: str) -> Part:
    name, content, mime_type = None, file, None
    if isinstance(file, tuple):
        name, content, mime_type, *_ = (*file, None, None)  # pyright: ignore[reportUnknownVariableType]
    path = content if isinstance(content, os.PathLike) else getattr(content, "name", None)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if name is None and isinstance(path, (str, os.PathLike)):
        name = os.path.basename(os.fspath(path))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    part: Part = {"type": "blob", "modality": modality, "mime_type": mime_type, "name": name}
    if isinstance(content, (bytes, bytearray)):
        part["bytes"] = len(content)
    return part


# -- `POST /audio/speech`, `/audio/transcriptions` and `/audio/translations`. Sound is never recorded, only described --


def _sound(sound: Any, mime_type: Any) -> list[Part]:
    is_sound = isinstance(sound, bytes) and sound
    return parts.whole_message([parts.blob(sound, "audio", string(mime_type))] if is_sound else [])


class Speech(Endpoint):
    """A text read aloud."""

    operation = "generate_content"
    service = OPENAI
    constants = {names.OUTPUT_TYPE: "speech"}
    request = common("model")
    input = {
        "input": (names.INPUT_MESSAGES, question(parts.texts)),
        "instructions": (names.SYSTEM_INSTRUCTIONS, parts.texts),
    }
    output = {("sound", "mime_type"): (names.OUTPUT_MESSAGES, _sound)}
    empty = ("type",)

    def binary(self, content: bytes, content_type: str) -> Body:
        """Return the sound if it is not sent as a stream of events."""
        return {"sound": content, "mime_type": content_type}

    def merged(self, events: Iterable[Object]) -> Body:
        """Return the pieces of sound as one."""
        read = [*events]
        sound = b"".join(b64decode(piece) for event in read if (piece := string(event.get("audio"))))
        usage = next((event["usage"] for event in read if "usage" in event), None)
        error = next((event["error"] for event in read if "error" in event), None)
        last = read[-1].get("type") if read else None
        return {"sound": sound, "mime_type": None, "usage": usage, "error": error, "type": last}

    def is_output(self, event: Object) -> bool:
        """Return whether the event is a piece of sound."""
        return "audio" in event


def _transcribed(text: Any) -> list[Part]:
    return parts.whole_message(parts.texts(text))


class Transcription(Endpoint):
    """Sound as text, in its own language or in English."""

    operation = "generate_content"
    service = OPENAI
    constants = {names.OUTPUT_TYPE: "text"}
    request = SAMPLING
    input = {("prompt", FILES): (names.INPUT_MESSAGES, question(parts.texts, partial(file_parts, modality="audio")))}
    elsewhere = ("file",)
    response = {"model": (names.RESPONSE_MODEL, string)}
    output = {"text": (names.OUTPUT_MESSAGES, _transcribed)}
    empty = ("type", "delta")
    piece: ClassVar[str] = "delta"
    """Member of an event of a stream with the next piece of text."""

    def binary(self, content: bytes, content_type: str) -> Body:
        """Return text or subtitles that are not JSON."""
        return {"text": content.decode("utf-8", errors="replace")}

    def merged(self, events: Iterable[Object]) -> Body:
        """Return the whole text of the last event, or the text received so far."""
        read = [*events]
        done = next((event for event in reversed(read) if self.is_whole(event)), None)
        error = next((event["error"] for event in read if "error" in event), None)
        text = "".join(string(event.get(self.piece)) or "" for event in read if self.is_output(event))
        return done or {"text": text, "error": error}

    def is_output(self, event: Object) -> bool:
        """Return whether the event is a piece of text."""
        return str(event.get("type")).endswith(".delta")


# -- `POST /images/generations`, `/images/edits` and `/images/variations`. The images themselves are never recorded ----

_IMAGE: Final = frozenset({"b64_json", "url", "revised_prompt"})


def _images(data: Any, output_format: Any) -> list[Part]:
    form = string(output_format) or "png"
    return parts.whole_message([part for image in objects(data) for part in _image(image, form)])


def _image(image: Body, form: str) -> list[Part]:
    found: list[Part] = []
    if data := string(image.get("b64_json")):
        found.append(parts.base64_blob(data, "image", f"image/{form}"))
    elif url := string(image.get("url")):
        found.append(parts.media(url, "image"))
    if revised := string(image.get("revised_prompt")):
        found.append(parts.text(revised))
    if found:
        found[0] = with_rest(found[0], image, _IMAGE)
    return found


class Images(Endpoint):
    """Pictures from a text, or from a text and pictures: each by its address, or by its size and hash."""

    operation = "generate_content"
    service = OPENAI
    constants = {names.OUTPUT_TYPE: "image"}
    request = SAMPLING
    input = {("prompt", FILES): (names.INPUT_MESSAGES, question(parts.texts, partial(file_parts, modality="image")))}
    output = {("data", "output_format"): Partly(names.OUTPUT_MESSAGES, _images)}
    empty = ("created", "data", "b64_json", "type")

    def merged(self, events: Iterable[Object]) -> Body:
        """Return the final image of a stream, or the last unfinished one if the stream broke off."""
        last = super().merged(events)
        if "b64_json" not in last:
            return last
        return {**last, "data": [{"b64_json": last["b64_json"]}]}

    def is_output(self, event: Object) -> bool:
        """Return whether the event is any image, including unfinished ones."""
        return "b64_json" in event


# -- the endpoints for pictures and sound, which other services also have ----------------------------------------------

MEDIA: Final[dict[str, Endpoint]] = {
    "/images/generations": Images(),
    "/images/edits": Images(),
    "/images/variations": Images(),
    "/audio/speech": Speech(),
    "/audio/transcriptions": Transcription(),
    "/audio/translations": Transcription(),
}
"""The endpoints by the end of their path."""
