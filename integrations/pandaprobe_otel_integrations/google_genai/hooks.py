"""Hooks on the client's one function for requests, and on the functions that split streamed bodies."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from pandaprobe_otel_integrations._client_hooks import ClientHooks, Wrapped
from pandaprobe_otel_integrations._endpoint import Attributes, Body, Endpoint
from pandaprobe_otel_integrations._http import HttpCall
from pandaprobe_otel_integrations._json import object_from_json, to_json_bytes
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._server_attributes import place_at
from pandaprobe_otel_integrations._shape import obj
from pandaprobe_otel_integrations._streams.body import ObservedBody
from pandaprobe_otel_integrations._streams.reading import AsyncReading, Reading

from .paths import PROVIDERS, Target, target


class RequestHooks(ClientHooks):
    """Wrappers of the client's request with its retries, and of the functions that split streamed bodies.

    The client uses httpx, httpx2, requests or aiohttp. It handles a response the same way for all: its text, or
    segments of a stream.
    """

    def __init__(self, recorder: Recorder, gate: Callable[[Any], bool]) -> None:
        super().__init__(recorder, gate, self._take)
        self._streams: weakref.WeakKeyDictionary[Any, ObservedBody] = weakref.WeakKeyDictionary()

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

    def find(self, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Target | None:
        """Return the model and method that the URL calls."""
        request = kwargs["http_request"] if "http_request" in kwargs else args[0]
        return target(request.url) if request.method.upper() == "POST" else None

    def read(
        self, client: Any, found: Target, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Endpoint, Body, Attributes]:
        """Return the endpoint, the body with the model from the URL, and the place."""
        request = kwargs["http_request"] if "http_request" in kwargs else args[0]
        body: Body = {**obj(request.data), "model": found.model, "stream": found.streams or None}
        return found.endpoint, body, place_at(request.url, PROVIDERS[bool(client.vertexai)])

    def _take(self, call: HttpCall, response: Any) -> None:
        read: Any = response.response_stream
        if isinstance(read, list):
            call.answered(object_from_json(read[0] if read else ""))  # pyright: ignore[reportUnknownArgumentType]
        else:
            self._streams[response] = call.read_through(response, ObservedBody)


def _event(segment: Any) -> bytes:
    return b"data: %b\n\n" % to_json_bytes(segment)  # without line breaks
