"""Hooks on the client's one function for requests, and on the functions that split streamed bodies."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context, get_current

from pandaprobe_otel_integrations._endpoint import Body
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._http.call import HttpCall
from pandaprobe_otel_integrations._http.traced_call import Opened, around, around_async
from pandaprobe_otel_integrations._json import object_from_json, to_json_bytes
from pandaprobe_otel_integrations._llm_span import is_taken
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._server_attributes import place_at
from pandaprobe_otel_integrations._shape import obj
from pandaprobe_otel_integrations._streams.body import ObservedBody
from pandaprobe_otel_integrations._streams.reading import AsyncReading, Reading
from pandaprobe_otel_integrations._tool_loop import begin_hop

from .paths import PROVIDERS, target

Wrapped = Callable[..., Any]


class RequestHooks:
    """Wrappers in wrapt's form. `gate` decides per call; if it is closed, they only pass calls on.

    The client uses httpx, httpx2, requests or aiohttp. It handles a response the same way for all: its text, or
    segments of a stream.
    """

    def __init__(self, recorder: Recorder, gate: Callable[[Any], bool]) -> None:
        self._recorder = recorder
        self._gate = gate
        self._streams: weakref.WeakKeyDictionary[Any, ObservedBody] = weakref.WeakKeyDictionary()

    def request(self, wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap the synchronous request, with its retries."""
        opened = guarded(self._open, client, args, kwargs)
        return around(opened, wrapped, args, kwargs, show=self._show)

    async def request_async(self, wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap the asynchronous request."""
        opened = guarded(self._open, client, args, kwargs)
        return await around_async(opened, wrapped, args, kwargs, show=self._show)

    def segments(self, wrapped: Wrapped, response: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the segments of a streamed body, and observe them."""
        body = self._streams.get(response)
        segments = wrapped(*args, **kwargs)
        return segments if body is None else Reading(segments, body, _event)

    def segments_async(self, wrapped: Wrapped, response: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the segments of an asynchronously streamed body, and observe them."""
        body = self._streams.get(response)
        segments = wrapped(*args, **kwargs)
        return segments if body is None else AsyncReading(segments, body, _event)

    def _open(self, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Opened | None:
        request = kwargs["http_request"] if "http_request" in kwargs else args[0]
        context = get_current()
        call = self._call(client, request, context)
        return None if call is None else (call, call.context(context))

    def _call(self, client: Any, request: Any, context: Context) -> HttpCall | None:
        if request.method.upper() != "POST":
            return None
        called = target(request.url)
        if called is None or is_taken(context) or not self._gate(client):
            return None
        body: Body = {**obj(request.data), "model": called.model, "stream": called.streams or None}
        place = place_at(request.url, PROVIDERS[bool(client.vertexai)])
        return HttpCall(client, begin_hop(self._recorder, called.endpoint, body, place, context))

    def _show(self, call: HttpCall, response: Any) -> None:
        read: Any = response.response_stream
        if isinstance(read, list):
            call.answered(object_from_json(read[0] if read else ""))  # pyright: ignore[reportUnknownArgumentType]
        else:
            self._streams[response] = call.read_through(response, ObservedBody)


def _event(segment: Any) -> bytes:
    return b"data: %b\n\n" % to_json_bytes(segment)  # without line breaks
