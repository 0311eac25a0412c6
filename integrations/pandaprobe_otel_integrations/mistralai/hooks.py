"""The client's requests that are model calls, and a switch for its own spans beside ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.context import get_current

from pandaprobe_otel_integrations._endpoint import Endpoint
from pandaprobe_otel_integrations._http.call import any_call_in
from pandaprobe_otel_integrations._json import object_from_json
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._server_attributes import place_of
from pandaprobe_otel_integrations._speakeasy import SpeakeasyCall, SpeakeasyHooks, Wrapped

from .conversations import PATH
from .endpoints import CHAT, CONVERSATIONS, ENDPOINTS, FILL_IN

_PROVIDER = "mistral_ai"
_CLOUDS = {
    "mistralai.azure": "azure.ai.inference",
    "mistralai_azure": "azure.ai.inference",
    "mistralai.gcp": "gcp.vertex_ai",
    "mistralai_gcp": "gcp.vertex_ai",
}
"""Providers by the package of the client's parts."""
_VERTEX = ("/rawPredict", "/streamRawPredict", ":rawPredict", ":streamRawPredict")
"""Ends of the paths of Vertex AI, which are the same for every kind of call."""


class MistralHooks(SpeakeasyHooks):
    """Wrappers in wrapt's form. `gate` decides per call; if it is closed, they only pass calls on."""

    def __init__(self, recorder: Recorder, gate: Callable[[Any], bool]) -> None:
        super().__init__(recorder, gate, _call)

    def own_span(self, wrapped: Wrapped, hook: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the request unchanged instead of opening the client's own span, if our span exists already."""
        if any_call_in(get_current()):
            return kwargs["request"] if "request" in kwargs else args[1]
        return wrapped(*args, **kwargs)


def _call(sdk: Any, request: Any) -> SpeakeasyCall | None:
    endpoint = _endpoint(request)
    if endpoint is None:
        return None
    package = type(sdk).__module__
    provider = next((found for start, found in _CLOUDS.items() if package.startswith(start)), _PROVIDER)
    return SpeakeasyCall(endpoint, place_of(request.url, provider), sdk.sdk_configuration)


def _endpoint(request: Any) -> Endpoint | None:
    path: str = request.url.path.rstrip("/")
    if request.method.upper() != "POST":
        return None
    if PATH.search(path):
        return CONVERSATIONS
    if path.endswith(_VERTEX):
        return CHAT if "messages" in (object_from_json(request.content) or {}) else FILL_IN
    return next((found for ending, found in ENDPOINTS.items() if path.endswith(ending)), None)
