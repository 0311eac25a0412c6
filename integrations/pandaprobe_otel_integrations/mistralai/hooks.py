"""Hooks on the one function of a Speakeasy client through which every request goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.context import get_current

from pandaprobe_otel_integrations._endpoint import Body, Endpoint
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._http.around import Opened, around, around_async, show_response
from pandaprobe_otel_integrations._http.call import HttpCall, any_call_in
from pandaprobe_otel_integrations._json import from_json
from pandaprobe_otel_integrations._llm_span import is_taken
from pandaprobe_otel_integrations._model_call import ModelCall, Recorder
from pandaprobe_otel_integrations._place import place_of

from .conversations import PATH
from .endpoints import CONVERSATIONS, ENDPOINTS

Wrapped = Callable[..., Any]
_PROVIDER = "mistral_ai"


class MistralHooks:
    """Wrappers in wrapt's form. `gate` decides per call; closed, they only pass on."""

    def __init__(self, recorder: Recorder, gate: Callable[[Any], bool]) -> None:
        self._recorder = recorder
        self._gate = gate

    def do_request(self, wrapped: Wrapped, sdk: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Around the synchronous request; it returns the HTTP response, refused ones too."""
        opened = guarded(self._open, sdk, args, kwargs)
        return around(opened, lambda: wrapped(*args, **kwargs), show=show_response)

    async def do_request_async(self, wrapped: Wrapped, sdk: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Around the asynchronous request."""
        opened = guarded(self._open, sdk, args, kwargs)
        return await around_async(opened, lambda: wrapped(*args, **kwargs), show=show_response)

    def own_span(self, wrapped: Wrapped, hook: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """In place of the client's own span, where ours is already there: the request as it is."""
        if any_call_in(get_current()):
            return kwargs["request"] if "request" in kwargs else args[1]
        return wrapped(*args, **kwargs)

    def _open(self, sdk: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Opened | None:
        request = kwargs["request"] if "request" in kwargs else args[1]
        endpoint = _endpoint(request)
        context = get_current()
        if endpoint is None or is_taken(context) or not self._gate(sdk.sdk_configuration):
            return None
        place = place_of(request.url, _PROVIDER)
        call = HttpCall(sdk, ModelCall(self._recorder, endpoint, _sent(request), place, context))
        return call, call.context(context)


def _endpoint(request: Any) -> Endpoint | None:
    path: str = request.url.path.rstrip("/")
    if request.method.upper() != "POST":
        return None
    if PATH.search(path):
        return CONVERSATIONS
    return next((found for ending, found in ENDPOINTS.items() if path.endswith(ending)), None)


def _sent(request: Any) -> Body:
    body = from_json(request.content)
    return body if isinstance(body, dict) else {}  # pyright: ignore[reportUnknownVariableType]
