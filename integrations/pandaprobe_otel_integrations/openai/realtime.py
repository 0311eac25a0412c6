"""Realtime sessions: the messages of both sides, and each response of the model as a turn.

Sound is never recorded, and not kept while it arrives: its transcripts take its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body
from pandaprobe_otel_integrations._json import from_json, to_json
from pandaprobe_otel_integrations._live_calls import LiveCall
from pandaprobe_otel_integrations._openai_protocol.response_items import input_messages
from pandaprobe_otel_integrations._openai_protocol.responses import Responses
from pandaprobe_otel_integrations._shape import Object, integer, items, obj, objects, string
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events

_ANNOUNCED: Final = frozenset({"response.created", "response.done"})
_SOUND: Final = frozenset({"response.output_audio.delta", "response.audio.delta"})
_HEARD: Final = "conversation.item.input_audio_transcription.completed"
_ITEMS: Final = frozenset({"conversation.item.added", "conversation.item.created"})
_SPOKEN: Final = "input_audio_buffer.append"
_MAX_SAID: Final = 1000
"""Largest number of items kept for the next turn. If there are more, the latest are kept."""


@dataclass(frozen=True)
class RealtimeTurn(Responses):
    """A response on an open connection. `said` contains the items of the conversation since the last one."""

    said: Sequence[Object] = ()
    last_event: LastEvent | None = None

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and limits, of the session or of this response."""
        modalities = items(body.get("output_modalities") or body.get("modalities"))
        limit = body.get("max_output_tokens") or body.get("max_response_output_tokens")
        return {
            **super().request_attributes(body),
            names.MAX_TOKENS: integer(limit),
            names.OUTPUT_TYPE: "speech" if "audio" in modalities else "text" if modalities else None,
            names.STREAM: True,
            names.API_TYPE: "realtime",
        }

    def request_content(self, body: Body) -> Content:
        """Return the input, with the session's instructions and tools."""
        return super().request_content({**body, "input": [*self.said, *items(body.get("input"))]})

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the answer as for any response; the service's transcripts so far are part of the question."""
        answer = super().answer(body, with_content=with_content)
        transcripts = obj(body.get("transcripts"))
        if not with_content or not transcripts:
            return answer
        question = input_messages([_transcribed(item, transcripts) for item in self.said])
        return replace(answer, content={**answer.content, names.INPUT_MESSAGES: question})

    def merged(self, events: Events) -> Body:
        """Return the response, in the form of one without a connection."""
        read = [obj(event.data) for event in events.items]
        details = next((found for event in reversed(read) if (found := _details(event))), obj(None))
        heard = {event["item_id"]: event.get("transcript") for event in read if event.get("type") == _HEARD}
        whole = {**super().merged(events), "incomplete_details": details, "transcripts": heard}
        return {**whole, "error": details.get("error")} if details.get("error") else whole

    def is_output(self, event: Event) -> bool:
        """Return whether the event is the first event that carries a part of the answer."""
        kind = string(obj(event.data).get("type")) or ""
        return kind.startswith("response.") and kind not in _ANNOUNCED


class RealtimeSession:
    """The input on one connection since the last turn, and the turn in progress."""

    def __init__(self, turn: LiveCall, model: Any) -> None:
        self._turn = turn
        self._setup: dict[str, Any] = {"model": string(model)}
        self._said: list[Object] = []
        self._is_created = False

    def sent(self, message: Any) -> None:
        """Record a message of the app, which may ask for a response."""
        text = message if isinstance(message, str) else bytes(message).decode()
        if _SPOKEN in text[:200] or (len(text) > 10_000 and _SPOKEN in text):
            return  # a piece of sound: there are many
        event = obj(from_json(text))
        kind = event.get("type")
        if kind == "session.update":
            self._set_up(event)
        elif kind == "conversation.item.create":
            self._say(obj(event.get("item")))
        elif kind == "response.create":
            self._begin(obj(event.get("response")))

    def received(self, message: Any) -> None:
        """Record a message of the service."""
        event = obj(from_json(message))
        kind = string(event.get("type")) or ""
        if kind in ("session.created", "session.updated"):
            self._set_up(event)
        elif kind in _ITEMS:
            self._take_spoken(obj(event.get("item")))
        elif kind == "response.created":
            self._begin({})
            self._is_created = True
        if not self._turn.goes_on:
            return
        if kind.startswith("response.") or kind in (_HEARD, "error"):
            without_sound = {key: value for key, value in event.items() if key != "delta"} if kind in _SOUND else event
            self._turn.keep(to_json(without_sound).encode())
        if kind == "response.done" or (kind == "error" and not self._is_created):
            self._turn.end("terminal")

    def broken(self, error: Exception) -> None:
        """Record that the connection is lost, or closed by the service."""
        self._turn.broken(error)

    def closed(self) -> None:
        """Record that the app closes the connection."""
        self._turn.end("closed")

    def _begin(self, asked: Object) -> None:
        if self._turn.goes_on:
            return
        if self._turn.begin(RealtimeTurn(tuple(self._said)), {**self._setup, **asked}):
            self._said = []
            self._is_created = False

    def _set_up(self, event: Object) -> None:
        told = {key: value for key, value in obj(event.get("session")).items() if value is not None}
        self._setup.update(told)

    def _take_spoken(self, item: Object) -> None:
        """Add an item that the service has made from the app's sound; the app's other items are known."""
        if any(piece.get("type") == "input_audio" for piece in objects(item.get("content"))):
            self._say(item)

    def _say(self, item: Object) -> None:
        self._said.append(item)
        del self._said[:-_MAX_SAID]


def _transcribed(item: Object, transcripts: Object) -> Object:
    text = string(transcripts.get(string(item.get("id")) or ""))
    return item if text is None else {**item, "content": [{"type": "input_text", "text": text}]}


def _details(event: Object) -> Object:
    return obj(obj(event.get("response")).get("status_details"))
