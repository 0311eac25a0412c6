"""Open connections: realtime sessions, and responses over a WebSocket. Each response is a call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel.budgets import BudgetExceeded
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._endpoint import Attributes, Body
from pandaprobe_otel_integrations._json import Content, Object, from_json, integer, items, obj, objects, string, to_json
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._openai_protocol.responses import Responses, input_messages
from pandaprobe_otel_integrations._patching import OriginalCall, Patch, patch, shown
from pandaprobe_otel_integrations._sockets import LiveCall, listen
from pandaprobe_otel_integrations._streams.body import End, LastEvent

# -- realtime sessions: the messages of both sides, and each response of the model as a turn ---------------------------

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

    def response_content(self, body: Body, choices: list[Object], reasons: list[str | None]) -> dict[str, Any]:
        """Return the content of the answer; the service's transcripts so far are part of the question."""
        found = super().response_content(body, choices, reasons)
        if transcripts := obj(body.get("transcripts")):
            found[names.INPUT_MESSAGES] = input_messages([_transcribed(item, transcripts) for item in self.said])
        return found

    def merged(self, events: Iterable[Object]) -> Body:
        """Return the response, in the form of one without a connection."""
        read = [*events]
        details = next((found for event in reversed(read) if (found := _details(event))), obj(None))
        heard = {event["item_id"]: event.get("transcript") for event in read if event.get("type") == _HEARD}
        whole = {**super().merged(read), "incomplete_details": details, "transcripts": heard}
        return {**whole, "error": details.get("error")} if details.get("error") else whole

    def is_output(self, event: Object) -> bool:
        """Return whether the event carries a part of the answer."""
        kind = string(event.get("type")) or ""
        return kind.startswith("response.") and kind not in _ANNOUNCED


class RealtimeSession(LiveCall):
    """The input on one connection since the last turn, and the turn in progress."""

    def __init__(self, model: Any, *turn: Any) -> None:
        super().__init__(*turn)
        self._setup: dict[str, Any] = {"model": string(model)}
        self._said: Sequence[Object] = ()
        self._is_created = False

    def sent(self, message: Any) -> BudgetExceeded | None:
        """Record a message of the app, which may ask for a response."""
        text = message if isinstance(message, str) else bytes(message).decode()
        if _SPOKEN in text[:200] or (len(text) > 10_000 and _SPOKEN in text):
            return None  # a piece of sound: there are many
        event = obj(from_json(text))
        kind = event.get("type")
        if kind == "session.update":
            self._set_up(event)
        elif kind == "conversation.item.create":
            self._say(obj(event.get("item")))
        elif kind == "response.create":
            self._respond(obj(event.get("response")))
        return self.refusal()

    def received(self, message: Any) -> None:
        """Record a message of the service."""
        event = obj(from_json(message))
        kind = string(event.get("type")) or ""
        if kind in ("session.created", "session.updated"):
            self._set_up(event)
        elif kind in _ITEMS:
            item = obj(event.get("item"))
            # Made from the app's sound; the app's other items are known.
            if any(piece.get("type") == "input_audio" for piece in objects(item.get("content"))):
                self._say(item)
        elif kind == "response.created":
            self._respond({})
            self._is_created = True
        if not self.goes_on:
            return
        if kind.startswith("response.") or kind in (_HEARD, "error"):
            without_sound = {key: value for key, value in event.items() if key != "delta"} if kind in _SOUND else event
            self.keep(to_json(without_sound).encode())
        if kind == "response.done" or (kind == "error" and not self._is_created):
            self.end("terminal")

    def _respond(self, asked: Object) -> None:
        if self.begin(RealtimeTurn(self._said), {**self._setup, **asked}):
            self._said, self._is_created = (), False

    def _set_up(self, event: Object) -> None:
        self._setup |= {key: value for key, value in obj(event.get("session")).items() if value is not None}

    def _say(self, item: Object) -> None:
        self._said = (*self._said, item)[-_MAX_SAID:]


def _transcribed(item: Object, transcripts: Object) -> Object:
    text = string(transcripts.get(string(item.get("id")) or ""))
    return item if text is None else {**item, "content": [{"type": "input_text", "text": text}]}


def _details(event: Object) -> Object:
    return obj(obj(event.get("response")).get("status_details"))


# -- connections: each kind of manager has its own listener ------------------------------------------------------------

_LAST: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "error"})
_RESPONSES: Final = Responses()
_KINDS: Final = {
    "openai.resources.realtime.realtime": "Realtime",
    "openai.resources.beta.realtime.realtime": "Realtime",
    "openai.resources.responses.responses": "Responses",
    "openai.resources.beta.responses.responses": "Responses",
}
MODULES: Final = tuple(_KINDS)
"""Modules that define connections. Old versions lack the modules, or the connections in them."""
_MAX_LANES: Final = 1000
_MAX_WAITING: Final = 100


class SocketHooks:
    """Wrappers of functions. `recorder.gate` decides per connection and turn.

    `place` returns the server of a client's calls.
    """

    def __init__(self, recorder: Recorder, place: Callable[[Any], Attributes]) -> None:
        self._recorder = recorder
        self._place = place

    def patches(self, module: ModuleType) -> Iterable[Patch]:
        """Yield the patches of the functions that open the connections of one module."""
        kind = _KINDS[module.__name__]
        sync = getattr(module, f"{kind}ConnectionManager", None)
        asynchronous = getattr(module, f"Async{kind}ConnectionManager", None)
        if sync is None or asynchronous is None:
            return
        for manager, names_of_both in ((sync, ("__enter__", "enter")), (asynchronous, ("__aenter__", "enter"))):
            for name in names_of_both:
                yield patch(manager, name, self.enter)

    def enter(self, original: OriginalCall) -> Any:
        """Wrap the opening of a connection, asynchronous or not."""
        return shown(original(), partial(self._opened, original.owner))

    def _opened(self, manager: Any, connection: Any) -> None:
        client = _private(manager, "client")
        if client is None or not self._recorder.gate(client):
            return
        model, place = _private(manager, "model"), self._place(client)

        def hear(socket: Any) -> None:
            asked = self._recorder, client, place, socket
            if "Realtime" in type(manager).__name__:
                listen(socket, RealtimeSession(model, *asked))
            else:
                listen(socket, _Responses(lambda: LiveCall(*asked)))

        hear(connection._connection)  # pyright: ignore[reportPrivateUsage]
        make = getattr(connection, "_make_ws", None)
        if make is not None:  # the app requests a replacement of a lost connection

            def again(*args: Any, **kwargs: Any) -> Any:
                return shown(make(*args, **kwargs), hear)

            connection._make_ws = again  # pyright: ignore[reportPrivateUsage]


class _Responses:
    """Responses over one connection. Each lane, named by the app, has one response at a time."""

    def __init__(self, turn: Callable[[], LiveCall]) -> None:
        self._turn = turn
        self._lanes: dict[str | None, tuple[LiveCall, list[Body]]] = {}

    def sent(self, message: Any) -> BudgetExceeded | None:
        event = obj(from_json(message))
        if event.get("type") != "response.create":
            return None
        name = string(event.get("stream_id"))
        if name not in self._lanes:
            if len(self._lanes) >= _MAX_LANES:
                return None
            self._lanes[name] = (self._turn(), [])
        turn, waiting = self._lanes[name]
        body = {**event, "stream": True}
        if not turn.goes_on:
            turn.begin(_RESPONSES, body)
        elif len(waiting) < _MAX_WAITING:
            waiting.append(body)
        return turn.refusal()

    def received(self, message: Any) -> None:
        event = obj(from_json(message))
        lane = self._lanes.get(string(event.get("stream_id")))
        if lane is None or not lane[0].goes_on:
            return
        turn, waiting = lane
        turn.keep(message.encode() if isinstance(message, str) else bytes(message))
        if string(event.get("type")) in _LAST:
            turn.end("terminal")
            if waiting:
                turn.begin(_RESPONSES, waiting.pop(0))

    def broken(self, error: Exception) -> None:
        for turn, waiting in self._lanes.values():
            waiting.clear()
            turn.broken(error)

    def end(self, how: End) -> None:
        for turn, waiting in self._lanes.values():
            waiting.clear()
            turn.end(how)


def _private(manager: Any, name: str) -> Any:
    """Return a member whose name Python has mangled with the name of its class."""
    found = (getattr(manager, f"_{kind.__name__}__{name}", None) for kind in type(manager).__mro__)
    return next((value for value in found if value is not None), None)
