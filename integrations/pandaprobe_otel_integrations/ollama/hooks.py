"""Hooks on the two functions of an Ollama client that send every request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pandaprobe_otel_integrations._client_hooks import ClientHooks, Wrapped
from pandaprobe_otel_integrations._endpoint import Attributes, Body, Endpoint
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._server_attributes import Places, place_of
from pandaprobe_otel_integrations._shape import obj

from .endpoints import ENDPOINTS

_PROVIDER: Final = "ollama"


class OllamaHooks(ClientHooks):
    """Wrappers of `_request_raw`, which returns the HTTP response, and of `_request`."""

    def __init__(self, recorder: Recorder, gate: Callable[[Any], bool]) -> None:
        super().__init__(recorder, gate)
        self._places = Places()

    def request(self, wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap `_request` of both clients for streams.

        It returns a generator that sends the request when iterated. The generator is the client's own; the HTTP client
        that it uses is ours.
        """
        standing_in = guarded(self._stand_in, wrapped, client, args, kwargs)
        return wrapped(*args, **kwargs) if standing_in is None else standing_in(*args, **kwargs)

    def find(self, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Endpoint | None:
        """Return the endpoint by the path; the arguments are method, path and `json`."""
        return ENDPOINTS.get(args[1] if len(args) > 1 else kwargs.get("url", ""))

    def read(
        self, client: Any, found: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Endpoint, Body, Attributes]:
        """Return the endpoint, the body, and the place by the client's base URL."""
        url = client._client.base_url  # pyright: ignore[reportPrivateUsage]
        place = self._places.of(url, _PROVIDER, lambda: place_of(url, _PROVIDER))
        return found, obj(kwargs.get("json")), place

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
        make = client._client.stream  # pyright: ignore[reportPrivateUsage]
        return self._observed_hooks.stream(make, client, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._observed_client._client, name)  # pyright: ignore[reportPrivateUsage]
