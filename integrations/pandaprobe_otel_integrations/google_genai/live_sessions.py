"""Live sessions: a WebSocket on which the app and the model take turns. Each turn of the model is a call.

The messages on the wire are observed. The session, its connection and the results of their methods stay unchanged.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from pandaprobe_otel.budgets import BudgetExceeded
from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import Body
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._json import Content, Object, from_json, items, obj, objects, string
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._other_members import grown, rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._patching import OriginalCall
from pandaprobe_otel_integrations._servers import place_at
from pandaprobe_otel_integrations._sockets import LiveCall, listen
from pandaprobe_otel_integrations._streams.body import End, LastEvent
from pandaprobe_otel_integrations.google_genai.generate import (
    GenerateContent,
    inline_blob,
    input_messages,
    member,
)

PROVIDERS: Final = {False: "gcp.gemini", True: "gcp.vertex_ai"}
"""Providers by whether the client uses Vertex AI."""

# -- sound and pictures that an app sends in a live session. They are described by size and digest, and not kept -------

_SOUND: Final = "audio/"
MAX_PICTURES: Final = 100
"""Largest number of pictures of one turn that are described. If there are more, only their number is recorded."""


class SentMedia:
    """The media that were sent since the last turn."""

    def __init__(self) -> None:
        self._sounds: dict[str, tuple[Any, int]] = {}
        self._pictures: list[Part] = []
        self._more = 0

    def add(self, realtime: Object) -> None:
        """Add the sound, picture or chunks of a message."""
        for piece in (realtime.get("audio"), realtime.get("video"), *items(member(realtime, "mediaChunks"))):
            data = obj(piece)
            mime_type = string(member(data, "mimeType")) or ""
            if mime_type.startswith(_SOUND):
                self._hear(mime_type, str(data.get("data") or ""))
            elif len(self._pictures) < MAX_PICTURES:
                self._pictures += [inline_blob(data)] if data else []
            else:
                self._more += 1

    def taken(self) -> list[Part]:
        """Return the parts that describe the media, and start a new count."""
        found = [
            {"type": "blob", "modality": "audio", "mime_type": mime, "bytes": size, "sha256": digest.hexdigest()}
            for mime, (digest, size) in self._sounds.items()
        ]
        found += self._pictures
        if self._more:
            found.append({"type": "text", "content": f"[{self._more} more pictures, not recorded]"})
        self._sounds, self._pictures, self._more = {}, [], 0
        return found

    def _hear(self, mime_type: str, text: str) -> None:
        data = b64decode(text.replace("-", "+").replace("_", "/"))
        digest, size = self._sounds.get(mime_type) or (hashlib.sha256(), 0)
        digest.update(data)
        self._sounds[mime_type] = digest, size + len(data)


_PARAMETERS: Final[Mapping[str, str]] = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "max_output_tokens": "maxOutputTokens",
    "seed": "seed",
}


_CONFIG: Final = _PARAMETERS.keys() | {"system_instruction", "tools"}
_SAID: Final = frozenset(
    {
        "modelTurn",
        "turnComplete",
        "generationComplete",
        "interrupted",
        "inputTranscription",
        "outputTranscription",
    }
)


def _outcome(is_interrupted: Any) -> str | None:
    return ours.CANCELLED if is_interrupted else None


@dataclass(frozen=True)
class LiveTurn(GenerateContent):
    """A turn of the model. `asked` is the app's input since the last turn."""

    asked: Sequence[Part] = field(default_factory=list[Part])
    last_event: LastEvent | None = None
    response = {"interrupted": (ours.OUTCOME, _outcome)}
    empty = (*GenerateContent.empty, "inputTranscript", "outputTranscript")

    def request_content(self, body: Body) -> Content:
        """Return the input, with the session's instruction and tools."""
        return {**super().request_content(body), names.INPUT_MESSAGES: self.asked}

    def response_content(self, body: Body, choices: list[Object], reasons: list[str | None]) -> dict[str, Any]:
        """Return the content of the answer; the service's transcript of the sound is part of the question."""
        found = super().response_content(body, choices, reasons)
        if heard := string(body.get("inputTranscript")):
            found[names.INPUT_MESSAGES] = [*self.asked, {"role": "user", "parts": [parts.text(heard)]}]
        return found

    def merged(self, events: Iterable[Object]) -> Body:
        """Return the messages of the server as one answer; pieces of sound are joined."""
        pieces: list[Any] = []
        sound: dict[str, bytearray] = {}
        candidate: dict[str, Any] = {}
        whole: dict[str, Any] = {}
        heard = dict.fromkeys(("inputTranscript", "outputTranscript"), "")
        for message in events:
            said = obj(message.get("serverContent"))
            told = objects(obj(said.get("modelTurn")).get("parts"))
            pieces += [piece for piece in told if not _hear(sound, obj(piece.get("inlineData")))]
            pieces += [{"functionCall": call} for call in items(obj(message.get("toolCall")).get("functionCalls"))]
            for name in heard:
                heard[name] += string(obj(said.get(f"{name}ion")).get("text")) or ""
            if said.get("turnComplete") or said.get("generationComplete"):
                candidate.setdefault("finishReason", "stop")
            if said.get("interrupted"):
                candidate["finishReason"] = "interrupted"
                whole["interrupted"] = True
            for name, value in rest(said, _SAID).items():
                candidate[name] = grown(candidate.get(name), value)
            whole["usageMetadata"] = message.get("usageMetadata") or whole.get("usageMetadata")
        if any("functionCall" in piece for piece in pieces):
            candidate.setdefault("finishReason", "stop")
        pieces += [{"inlineData": {"mimeType": mime, "data": bytes(data)}} for mime, data in sound.items()]
        if transcript := heard["outputTranscript"]:
            pieces.append({"text": transcript})
        return {**whole, **heard, "candidates": [{**candidate, "content": {"parts": pieces}}]}

    def is_output(self, event: Object) -> bool:
        """Return whether the event is a piece of the turn, or a call of a function."""
        return "toolCall" in event or "modelTurn" in obj(event.get("serverContent"))


def _hear(sound: dict[str, bytearray], data: Body) -> bool:
    mime_type, text = string(data.get("mimeType")), string(data.get("data"))
    if mime_type is None or text is None or not mime_type.startswith("audio/"):
        return False
    sound.setdefault(mime_type, bytearray()).extend(b64decode(text.replace("-", "+").replace("_", "/")))
    return True


class LiveHooks:
    """A wrapper of a function. `recorder.gate` decides per session and turn; if closed, it only passes calls on."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def connect(self, original: OriginalCall) -> Any:
        """Wrap `AsyncLive.connect`: its context manager yields the same session, which is observed."""
        manager = original()
        return guarded(self._listen, manager, original.owner, original.kwargs) or manager

    def _listen(self, manager: Any, live: Any, kwargs: dict[str, Any]) -> Any:
        client = live._api_client  # pyright: ignore[reportPrivateUsage]
        if not self._recorder.gate(client):
            return None
        setup = guarded(_setup, kwargs.get("model"), kwargs.get("config")) or {}

        def opened(session: Any) -> None:
            spoken = _Session(self._recorder, client, setup, session)
            listen(session._ws, spoken)  # pyright: ignore[reportPrivateUsage]

        return _connecting(manager, opened)


@asynccontextmanager
async def _connecting(manager: Any, opened: Callable[[Any], None]) -> AsyncGenerator[Any]:
    async with manager as session:
        guarded(opened, session)
        yield session


class _Session(LiveCall):
    """The input on one connection since the last turn, and the turn in progress."""

    def __init__(self, recorder: Recorder, client: Any, setup: Body, session: Any) -> None:
        base: Any = client._websocket_base_url()  # pyright: ignore[reportPrivateUsage]
        url = base.decode() if isinstance(base, bytes) else str(base)
        super().__init__(
            recorder, client, place_at(url.replace("ws", "http", 1), PROVIDERS[bool(client.vertexai)]), session
        )
        self._setup = setup
        self._said: list[Any] = []
        self._media = SentMedia()
        self._awaits_tool = False

    def sent(self, message: Any) -> BudgetExceeded | None:
        """Record a message of the app."""
        if self._awaits_tool:
            self.end("terminal")
        data = obj(from_json(message))
        content = obj(data.get("client_content"))
        answers = obj(data.get("tool_response"))
        realtime = obj(data.get("realtime_input"))
        spoken = string(realtime.get("text"))
        if realtime:
            guarded(self._media.add, realtime)
        self._said += items(content.get("turns"))
        for answer in items(member(answers, "functionResponses")):
            self._said.append({"role": "user", "parts": [{"functionResponse": answer}]})
        if spoken is not None:
            self._said.append({"role": "user", "parts": [{"text": spoken}]})
        if answers or spoken is not None or (content and member(content, "turnComplete") is not False):
            self._respond()
        return self.refusal()

    def received(self, message: Any) -> None:
        """Record a message of the service."""
        raw: bytes = message.encode() if isinstance(message, str) else bytes(message)
        if b'"serverContent"' in raw or b'"toolCall"' in raw:
            self._respond()  # unless the app asked, the model started its turn by itself
        if not self.goes_on:
            return
        self.keep(raw)
        self._awaits_tool = self._awaits_tool or b'"toolCall"' in raw
        if b'"turnComplete"' in raw or (self._awaits_tool and b'"usageMetadata"' in raw):
            self.end("terminal")

    def end(self, how: End) -> None:
        """End the turn."""
        self._awaits_tool = False
        super().end(how)

    def _respond(self) -> None:
        if self.goes_on:
            return
        sent = self._media.taken()
        asked = [*input_messages(self._said), *([{"role": "user", "parts": sent}] if sent else [])]
        if self.begin(LiveTurn(asked), self._setup):
            self._said = []


def _setup(model: Any, config: Any) -> Body:
    """Return the session's model, instruction, tools and parameters, in the form of a request."""
    # A pydantic model may have functions, which have no JSON form.
    names_set: Any = getattr(config, "model_fields_set", None)
    given = obj(config) if names_set is None else {name: getattr(config, name) for name in names_set}
    instruction: Any = given.get("system_instruction")
    if isinstance(instruction, str):
        instruction = {"parts": [{"text": instruction}]}
    declared = [tool for tool in items(given.get("tools")) if not callable(tool)]
    return {
        "model": (string(model) or "").removeprefix("models/"),
        "stream": True,
        "systemInstruction": obj(instruction),
        "tools": [{key: value for key, value in obj(tool).items() if value is not None} for tool in declared],
        "generationConfig": {wire: given.get(key) for key, wire in _PARAMETERS.items()},
        **rest(given, _CONFIG),
    }
