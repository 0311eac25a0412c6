"""Hooks on the two functions of an Ollama client that send every request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from opentelemetry.context import get_current

from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._http.call import HttpCall
from pandaprobe_otel_integrations._http.traced_call import Opened, around, around_async, show_response
from pandaprobe_otel_integrations._llm_span import is_taken
from pandaprobe_otel_integrations._model_call import ModelCall, Recorder
from pandaprobe_otel_integrations._server_attributes import Places, place_of
from pandaprobe_otel_integrations._shape import obj

from .endpoints import ENDPOINTS

Wrapped = Callable[..., Any]
_PROVIDER: Final = "ollama"


class OllamaHooks:
    """Wrappers in wrapt's form. `gate` decides per call; if it is closed, they only pass calls on."""

    def __init__(self, recorder: Recorder, gate: Callable[[Any], bool]) -> None:
        self._recorder = recorder
        self._gate = gate
        self._places = Places()

    def request(self, wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap `_request` of both clients for streams.

        It returns a generator that sends the request when iterated. The generator is the client's own; the HTTP client
        that it uses is ours.
        """
        standing_in = guarded(self._stand_in, wrapped, client, args, kwargs)
        return wrapped(*args, **kwargs) if standing_in is None else standing_in(*args, **kwargs)

    def raw(self, wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap `_request_raw`, which returns the HTTP response."""
        return around(self.opened(client, args, kwargs), wrapped, args, kwargs, show=show_response)

    async def raw_async(self, wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap the asynchronous `_request_raw`."""
        opened = self.opened(client, args, kwargs)
        return await around_async(opened, wrapped, args, kwargs, show=show_response)

    def opened(self, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Opened | None:
        """Return the call of a request with these arguments (method, path, `json`); None if it is not a model call."""
        return guarded(self._open, client, args, kwargs)

    def _open(self, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Opened | None:
        endpoint = ENDPOINTS.get(args[1] if len(args) > 1 else kwargs.get("url", ""))
        context = get_current()
        if endpoint is None or is_taken(context) or not self._gate(client):
            return None
        url = client._client.base_url  # pyright: ignore[reportPrivateUsage]
        place = self._places.of(url, _PROVIDER, lambda: place_of(url, _PROVIDER))
        call = HttpCall(client, ModelCall(self._recorder, endpoint, obj(kwargs.get("json")), place, context))
        return call, call.context(context)

    def _stand_in(self, wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Wrapped | None:
        asked = args[1:]  # the first one is the class of the answers
        if not kwargs.get("stream") or len(asked) < 2 or asked[1] not in ENDPOINTS or not self._gate(client):
            return None
        function, standing_in = wrapped.__func__, _StandIn(client, self)
        return lambda *args, **kwargs: function(standing_in, *args, **kwargs)


class _StandIn:
    """A proxy of the client that replaces its HTTP client."""

    def __init__(self, client: Any, hooks: OllamaHooks) -> None:
        self._observed = client
        self._client = _Http(client, hooks)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._observed, name)


class _Http:
    def __init__(self, client: Any, hooks: OllamaHooks) -> None:
        self._observed_client = client
        self._observed_hooks = hooks

    def stream(self, *args: Any, **kwargs: Any) -> Any:
        client = self._observed_client
        manager = client._client.stream(*args, **kwargs)  # pyright: ignore[reportPrivateUsage]
        return _Streaming(manager, lambda: self._observed_hooks.opened(client, args, kwargs))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._observed_client._client, name)  # pyright: ignore[reportPrivateUsage]


class _Streaming:
    """A proxy of the context manager that an HTTP client returns for a stream. Entering it makes the call."""

    def __init__(self, manager: Any, open_call: Callable[[], Opened | None]) -> None:
        self._manager = manager
        self._open_call = open_call

    def __enter__(self) -> Any:
        return around(self._open_call(), self._manager.__enter__, show=show_response)

    def __exit__(self, *error: Any) -> Any:
        return self._manager.__exit__(*error)

    async def __aenter__(self) -> Any:
        return await around_async(self._open_call(), self._manager.__aenter__, show=show_response)

    async def __aexit__(self, *error: Any) -> Any:
        return await self._manager.__aexit__(*error)
