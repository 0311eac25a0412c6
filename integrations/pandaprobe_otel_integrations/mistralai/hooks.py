"""The client's requests that are model calls, and a switch for its own spans beside ours."""

from __future__ import annotations

from typing import Any

from opentelemetry.context import get_current

from pandaprobe_otel_integrations._client_hooks import Wrapped
from pandaprobe_otel_integrations._endpoint import Endpoint
from pandaprobe_otel_integrations._http import any_call_in
from pandaprobe_otel_integrations._json import object_from_json
from pandaprobe_otel_integrations._speakeasy import SpeakeasyHooks

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
    """Wrappers of `do_request`, and of the hook that begins the client's own span."""

    def endpoint(self, request: Any) -> Endpoint | None:
        """Return the endpoint by the end of the path; on Vertex AI, by the body."""
        path: str = request.url.path.rstrip("/")
        if request.method.upper() != "POST":
            return None
        if PATH.search(path):
            return CONVERSATIONS
        if path.endswith(_VERTEX):
            return CHAT if "messages" in (object_from_json(request.content) or {}) else FILL_IN
        return next((found for ending, found in ENDPOINTS.items() if path.endswith(ending)), None)

    def provider(self, sdk: Any, request: Any) -> str:
        """Return the provider by the package of the client's part."""
        package = type(sdk).__module__
        return next((found for start, found in _CLOUDS.items() if package.startswith(start)), _PROVIDER)

    def own_span(self, wrapped: Wrapped, hook: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the request unchanged instead of opening the client's own span, if our span exists already."""
        if any_call_in(get_current()):
            return kwargs["request"] if "request" in kwargs else args[1]
        return wrapped(*args, **kwargs)
