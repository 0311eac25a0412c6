"""`POST /audio/speech`, `/audio/transcriptions` and `/audio/translations`. Sound is never recorded, only described."""

from __future__ import annotations

from base64 import b64decode
from typing import Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body
from pandaprobe_otel_integrations._other_members import beside, names_of, parameters
from pandaprobe_otel_integrations._shape import obj, string
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events

from .body_errors import failure_in
from .parameters import LIMITS, SAMPLING, sampling_attributes
from .uploads import FILES, file_parts
from .usage import COUNTED, usage_attributes

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
