"""Which requests of the client are model calls, and where they go."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel_integrations._endpoint import Attributes, Endpoint
from pandaprobe_otel_integrations._place import place_of

from .messages import Messages

_MESSAGES: Final = Messages()
_PLATFORMS: Final = {
    "AnthropicBedrock": "aws.bedrock",
    "AnthropicAWS": "aws.bedrock",
    "AnthropicVertex": "gcp.vertex_ai",
}


class AnthropicApi:
    """The paths and the places of Anthropic and the platforms that serve its models."""

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        """Messages only: counting tokens, batches and the rest are no model calls."""
        bare = path.partition("?")[0].rstrip("/")
        return _MESSAGES if method.lower() == "post" and bare.endswith("/messages") else None

    def place(self, client: Any) -> Attributes:
        """Provider by the client's class, server by its base URL."""
        name = type(client).__name__.removeprefix("Async")
        provider = next((found for start, found in _PLATFORMS.items() if name.startswith(start)), "anthropic")
        return place_of(client.base_url, provider)
