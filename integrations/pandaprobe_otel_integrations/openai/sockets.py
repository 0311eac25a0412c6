"""Open connections: realtime and live sessions, and responses over a WebSocket. Each response is a call."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel_integrations._endpoint import Attributes, Body
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._json import from_json
from pandaprobe_otel_integrations._live_calls import LiveCall
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._openai_protocol.responses import Responses
from pandaprobe_otel_integrations._patching import Patch, patch
from pandaprobe_otel_integrations._shape import obj, string
from pandaprobe_otel_integrations._sockets import Listener, listen

from .live_sessions import LAST, LiveSession
from .realtime import RealtimeSession

Wrapped = Callable[..., Any]
_KINDS: Final = {
    "openai.resources.realtime.realtime": "Realtime",
    "openai.resources.beta.realtime.realtime": "Realtime",
    "openai.resources.responses.responses": "Responses",
    "openai.resources.beta.responses.responses": "Responses",
    "openai.resources.live.live": "Live",
    "openai.resources.live.forks": "Forks",
    "openai.resources.live.sideband": "Sideband",
}
MODULES: Final = tuple(_KINDS)
"""Modules that define connections. Old versions lack the modules, or the connections in them."""
_RESPONSES: Final = Responses()
_MAX_LANES: Final = 1000
_MAX_WAITING: Final = 100


class SocketHooks:
    """Wrappers in wrapt's form. `gate` decides per connection and turn.

    `place` returns the server of a client's calls.
    """

    def __init__(self, recorder: Recorder, gate: Callable[[Any], bool], place: Callable[[Any], Attributes]) -> None:
        self._recorder = recorder
        self._gate = gate
        self._place = place

    def patches(self, module: ModuleType) -> Iterable[Patch]:
        """Yield the patches of the functions that open the connections of one module."""
        kind = _KINDS[module.__name__]
        sync = getattr(module, f"{kind}ConnectionManager", None)
        asynchronous = getattr(module, f"Async{kind}ConnectionManager", None)
        if sync is None or asynchronous is None:
            return
        for name in ("__enter__", "enter"):
            yield patch(sync, name, self.enter)
        for name in ("__aenter__", "enter"):
            yield patch(asynchronous, name, self.enter_async)

    def enter(self, wrapped: Wrapped, manager: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap the opening of a connection."""
        connection = wrapped(*args, **kwargs)
        guarded(self._opened, manager, connection)
        return connection

    async def enter_async(self, wrapped: Wrapped, manager: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap the opening of an asynchronous connection."""
        connection = await wrapped(*args, **kwargs)
        guarded(self._opened, manager, connection)
        return connection

    def _opened(self, manager: Any, connection: Any) -> None:
        client = _private(manager, "client")
        if client is None or not self._gate(client):
            return
        model, place = _private(manager, "model"), self._place(client)

        def hear(socket: Any) -> Any:
            def turn() -> LiveCall:
                return LiveCall(self._recorder, lambda: self._gate(client), place, socket)

            name = type(manager).__name__
            if "Realtime" in name:
                listener: Listener = RealtimeSession(turn(), model)
            else:
                listener = _Responses(turn) if "Responses" in name else LiveSession(turn)
            listen(socket, _OneAtATime(listener))
            return socket

        hear(connection._connection)  # pyright: ignore[reportPrivateUsage]
        make = getattr(connection, "_make_ws", None)
        if make is not None:  # the app requests a replacement of a lost connection
            connection._make_ws = (
                _hearing_async(make, hear) if inspect.iscoroutinefunction(make) else _hearing(make, hear)
            )  # pyright: ignore[reportPrivateUsage]


class _OneAtATime:
    """A lock around a listener: a synchronous connection is read in one thread and written in others."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._lock = threading.RLock()

    def sent(self, message: Any) -> None:
        with self._lock:
            self._listener.sent(message)

    def received(self, message: Any) -> None:
        with self._lock:
            self._listener.received(message)

    def broken(self, error: Exception) -> None:
        with self._lock:
            self._listener.broken(error)

    def closed(self) -> None:
        with self._lock:
            self._listener.closed()


class _Responses:
    """Responses over one connection. Each lane, named by the app, has one response at a time."""

    def __init__(self, turn: Callable[[], LiveCall]) -> None:
        self._turn = turn
        self._lanes: dict[str | None, tuple[LiveCall, list[Body]]] = {}

    def sent(self, message: Any) -> None:
        event = obj(from_json(message))
        if event.get("type") != "response.create":
            return
        name = string(event.get("stream_id"))
        if name not in self._lanes:
            if len(self._lanes) >= _MAX_LANES:
                return
            self._lanes[name] = (self._turn(), [])
        turn, waiting = self._lanes[name]
        body = {**event, "stream": True}
        if not turn.goes_on:
            turn.begin(_RESPONSES, body)
        elif len(waiting) < _MAX_WAITING:
            waiting.append(body)

    def received(self, message: Any) -> None:
        event = obj(from_json(message))
        lane = self._lanes.get(string(event.get("stream_id")))
        if lane is None or not lane[0].goes_on:
            return
        turn, waiting = lane
        turn.keep(message.encode() if isinstance(message, str) else bytes(message))
        if string(event.get("type")) in LAST:
            turn.end("terminal")
            if waiting:
                turn.begin(_RESPONSES, waiting.pop(0))

    def broken(self, error: Exception) -> None:
        for turn, waiting in self._lanes.values():
            waiting.clear()
            turn.broken(error)

    def closed(self) -> None:
        for turn, waiting in self._lanes.values():
            waiting.clear()
            turn.end("closed")


def _private(manager: Any, name: str) -> Any:
    """Return a member whose name Python has mangled with the name of its class."""
    found = (getattr(manager, f"_{kind.__name__}__{name}", None) for kind in type(manager).__mro__)
    return next((value for value in found if value is not None), None)


def _hearing(make: Callable[..., Any], hear: Callable[[Any], Any]) -> Callable[..., Any]:
    def again(*args: Any, **kwargs: Any) -> Any:
        socket = make(*args, **kwargs)
        guarded(hear, socket)
        return socket

    return again


def _hearing_async(make: Callable[..., Any], hear: Callable[[Any], Any]) -> Callable[..., Any]:
    async def again(*args: Any, **kwargs: Any) -> Any:
        socket = await make(*args, **kwargs)
        guarded(hear, socket)
        return socket

    return again
