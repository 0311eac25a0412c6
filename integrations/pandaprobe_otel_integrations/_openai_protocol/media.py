"""Sound, pictures and videos."""

from __future__ import annotations

import os
import re
from base64 import b64decode
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body, Endpoint, Unstreamed
from pandaprobe_otel_integrations._json import Content, items, obj, objects, string
from pandaprobe_otel_integrations._openai_protocol.usage import (
    COUNTED,
    LIMITS,
    SAMPLING,
    failure_in,
    sampling_attributes,
    usage_attributes,
)
from pandaprobe_otel_integrations._other_members import beside, names_of, parameters, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events, last_data

# -- files that are sent with a request: the span names them and does not contain them ---------------------------------

FILES: Final = "\0files"
"""Member of a request's body under which its files are passed on. No service has a member of this name."""


def with_files(body: Body, files: Any) -> Body:
    """Return the body of a multipart request, with its files by their fields."""
    return {**body, FILES: list(files.items()) if isinstance(files, dict) else items(files)}  # pyright: ignore[reportUnknownArgumentType]


def file_parts(body: Body, modality: str) -> list[Part]:
    """Return a blob's part for each file: its name, and its size if it is known without reading the file."""
    return [_part(entry[1], modality) for entry in items(body.get(FILES)) if isinstance(entry, tuple)]


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

_SPOKEN: Final = frozenset({"model", "input", "instructions"})
_HEARD: Final = names_of(SAMPLING, LIMITS, ("prompt", "file", FILES))
_SOUND: Final = frozenset({"sound", "mime_type", "usage", "error"})
_TEXT: Final = frozenset({"text", "model", "usage", "error", "type", "delta"})


class Speech:
    """A text read aloud."""

    operation = "generate_content"
    last_event: LastEvent | None = None

    def request_attributes(self, body: Body) -> Attributes:
        """Return the model, and the type of the output."""
        return {names.REQUEST_MODEL: string(body.get("model")), names.OUTPUT_TYPE: "speech"}

    def request_content(self, body: Body) -> Content:
        """Return the text to speak, and the instructions."""
        said, how = string(body.get("input")), string(body.get("instructions"))
        return {
            names.INPUT_MESSAGES: [{"role": "user", "parts": [parts.text(said)]}] if said else [],
            names.SYSTEM_INSTRUCTIONS: [parts.text(how)] if how else [],
            **parameters(body, _SPOKEN),
        }

    def binary(self, content: bytes, content_type: str) -> Body:
        """Return the sound if it is not sent as a stream of events."""
        return {"sound": content, "mime_type": content_type}

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the sound by its size and hash, and the usage if a stream of events has it."""
        sound = body.get("sound")
        content: Content = {}
        if with_content and isinstance(sound, bytes) and sound:
            said = parts.blob(sound, "audio", string(body.get("mime_type")))
            content = {names.OUTPUT_MESSAGES: [{"role": "assistant", "parts": [said], "finish_reason": "stop"}]}
        if with_content:
            content = {**content, **beside(body, _SOUND, COUNTED)}
        return Answer(
            attributes=usage_attributes(body.get("usage")),
            content=content,
            failure=failure_in(body.get("error")),
            is_whole=body.get("is_whole") is True,
        )

    def merged(self, events: Events) -> Body:
        """Return the pieces of sound as one."""
        read = [obj(event.data) for event in events.items]
        sound = b"".join(b64decode(piece) for event in read if (piece := string(event.get("audio"))))
        usage = next((event["usage"] for event in read if "usage" in event), None)
        error = next((event["error"] for event in read if "error" in event), None)
        is_whole = any(event.get("type") == "speech.audio.done" for event in read)
        return {"sound": sound, "mime_type": None, "usage": usage, "error": error, "is_whole": is_whole}

    def is_output(self, event: Event) -> bool:
        """Return whether the event is the first sound."""
        return "audio" in obj(event.data)


class Transcription:
    """Sound as text, in its own language or in English."""

    operation = "generate_content"
    last_event: LastEvent | None = None

    def request_attributes(self, body: Body) -> Attributes:
        """Return the model."""
        return {**sampling_attributes(body), names.OUTPUT_TYPE: "text"}

    def request_content(self, body: Body) -> Content:
        """Return the file's name, and the text that helps the model."""
        said = file_parts(body, "audio")
        if prompt := string(body.get("prompt")):
            said = [parts.text(prompt), *said]
        return {names.INPUT_MESSAGES: [{"role": "user", "parts": said}] if said else [], **parameters(body, _HEARD)}

    def binary(self, content: bytes, content_type: str) -> Body:
        """Return text or subtitles that are not JSON."""
        return {"text": content.decode("utf-8", errors="replace")}

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the text and the usage. Some models count seconds, which are not tokens."""
        text = string(body.get("text"))
        content: Content = {}
        if with_content and text:
            message = {"role": "assistant", "parts": [parts.text(text)], "finish_reason": "stop"}
            content = {names.OUTPUT_MESSAGES: [message]}
        if with_content:
            content = {**content, **beside(body, _TEXT, COUNTED)}
        return Answer(
            attributes={names.RESPONSE_MODEL: string(body.get("model")), **usage_attributes(body.get("usage"))},
            content=content,
            failure=failure_in(body.get("error")),
            is_whole=str(body.get("type")).endswith(".done"),
        )

    def merged(self, events: Events) -> Body:
        """Return the whole text of the last event, or the text received so far."""
        read = [obj(event.data) for event in events.items]
        last = next((event for event in reversed(read) if "text" in event and "delta" not in event), None)
        if last is not None and last.get("type") == "transcript.text.done":
            return last
        error = next((event["error"] for event in read if "error" in event), None)
        return {"text": "".join(string(event.get("delta")) or "" for event in read), "error": error}

    def is_output(self, event: Event) -> bool:
        """Return whether the event is the first piece of text."""
        return "delta" in obj(event.data)


# -- `POST /images/generations`, `/images/edits` and `/images/variations`. The images themselves are never recorded ----

_READ: Final = names_of(SAMPLING, LIMITS, ("prompt", FILES))
_ANSWERED: Final = frozenset({"created", "data", "usage", "error", "b64_json", "type"})
_IMAGE: Final = frozenset({"b64_json", "url", "revised_prompt"})


class Images:
    """Pictures from a text, or from a text and pictures."""

    operation = "generate_content"
    last_event: LastEvent | None = None

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and number of images."""
        return {**sampling_attributes(body), names.OUTPUT_TYPE: "image"}

    def request_content(self, body: Body) -> Content:
        """Return the prompt, and the names of the files."""
        prompt = string(body.get("prompt"))
        said = [parts.text(prompt)] if prompt else []
        said += file_parts(body, "image")
        return {names.INPUT_MESSAGES: [{"role": "user", "parts": said}] if said else [], **parameters(body, _READ)}

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return each image by its address, or by its size and hash, and the usage."""
        content: Content = {}
        if with_content:
            images = [part for image in objects(body.get("data")) for part in _image(image, body)]
            message = {"role": "assistant", "parts": images, "finish_reason": "stop"}
            more = beside(body, _ANSWERED, COUNTED)
            content = {names.OUTPUT_MESSAGES: [message] if images else [], **more}
        return Answer(
            attributes=usage_attributes(body.get("usage")),
            content=content,
            failure=failure_in(body.get("error")),
            is_whole=str(body.get("type")).endswith(".completed"),
        )

    def merged(self, events: Events) -> Body:
        """Return the final image of a stream, or the last unfinished one if the stream broke off."""
        last = obj(last_data(events))
        if "b64_json" not in last:
            return last
        return {**last, "data": [{"b64_json": last["b64_json"]}]}

    def is_output(self, event: Event) -> bool:
        """Return whether the event is any image, including unfinished ones."""
        return "b64_json" in obj(event.data)


def _image(image: Body, body: Body) -> list[Part]:
    found: list[Part] = []
    if data := string(image.get("b64_json")):
        found.append(parts.base64_blob(data, "image", f"image/{string(body.get('output_format')) or 'png'}"))
    elif url := string(image.get("url")):
        found.append(parts.media(url, "image"))
    if revised := string(image.get("revised_prompt")):
        found.append(parts.text(revised))
    if found:
        found[0] = with_rest(found[0], image, _IMAGE)
    return found


# -- `POST /videos` and related paths, which start a job. The video is fetched later as a file, and never recorded -----

REMIX: Final = re.compile(r"/videos/[^/?]+/remix/?(?:\?.*)?$")
"""The path that contains the id of the video."""


_VIDEOS_READ: Final = frozenset({"model", "prompt", FILES})
_VIDEOS_ANSWERED: Final = frozenset({"id", "model", "status", "object", "created_at", "error"})


class Videos(Unstreamed):
    """A video made from a text, a picture, or another video."""

    operation = "generate_content"

    def request_attributes(self, body: Body) -> Attributes:
        """Return the model."""
        return {names.REQUEST_MODEL: string(body.get("model")), names.OUTPUT_TYPE: "video"}

    def request_content(self, body: Body) -> Content:
        """Return the prompt, and the names of the files."""
        prompt = string(body.get("prompt"))
        said = [parts.text(prompt)] if prompt else []
        from_video = any(field == "video" for field, _ in items(body.get(FILES)))
        said += file_parts(body, "video" if from_video else "image")
        return {
            names.INPUT_MESSAGES: [{"role": "user", "parts": said}] if said else [],
            **parameters(body, _VIDEOS_READ),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the job's id and progress, and the address of the video if it exists."""
        url = string(obj(body.get("outputs")).get("video_url"))
        made = [{"role": "assistant", "parts": [parts.media(url, "video")], "finish_reason": "stop"}] if url else []
        return Answer(
            attributes={
                names.RESPONSE_ID: string(body.get("id")),
                names.RESPONSE_MODEL: string(body.get("model")),
                names.RESPONSE_STATUS: string(body.get("status")),
            },
            content={names.OUTPUT_MESSAGES: made, **beside(body, _VIDEOS_ANSWERED, {})} if with_content else {},
            failure=failure_in(body.get("error")),
        )


# -- the endpoints for pictures, videos and sound, which other services also have --------------------------------------

VIDEOS: Final = Videos()
MEDIA: Final[dict[str, Endpoint]] = {
    "/images/generations": Images(),
    "/images/edits": Images(),
    "/images/variations": Images(),
    "/videos": VIDEOS,
    "/videos/edits": VIDEOS,
    "/videos/extensions": VIDEOS,
    "/audio/speech": Speech(),
    "/audio/transcriptions": Transcription(),
    "/audio/translations": Transcription(),
}
"""The endpoints by the end of their path."""
