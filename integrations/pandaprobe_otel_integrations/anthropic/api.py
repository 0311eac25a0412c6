"""The client's requests that are model calls, and their address."""

from __future__ import annotations

import re
from typing import Any, Final

from pandaprobe_otel_integrations._endpoint import Attributes, Endpoint
from pandaprobe_otel_integrations._server_attributes import place_of

from .batches import BatchResults, CreatedBatch
from .messages import Messages

_MESSAGES: Final = Messages()
_BATCHES: Final = CreatedBatch()
_RESULTS: Final = re.compile(r"/messages/batches/([^/?]+)/results/?(?:\?.*)?$")
_PLATFORMS: Final = {
    "AnthropicBedrock": "aws.bedrock",
    "AnthropicAWS": "aws.bedrock",
    "AnthropicFoundry": "azure.ai.inference",
    "AnthropicVertex": "gcp.vertex_ai",
}


class AnthropicApi:
    """The paths and the servers of Anthropic and the platforms that serve its models."""

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        """Return the endpoint for messages and their batches; counting tokens and other requests cost nothing."""
        if method.lower() == "get":
            read = _RESULTS.search(path)
            return BatchResults(read[1]) if read is not None else None
        if method.lower() != "post":
            return None
        bare = path.partition("?")[0].rstrip("/")
        if bare.endswith("/messages"):
            return _MESSAGES
        return _BATCHES if bare.endswith("/messages/batches") else None

    def place(self, client: Any) -> Attributes:
        """Return the provider from the client's class, and the server from its base URL."""
        name = type(client).__name__.removeprefix("Async")
        provider = next((found for start, found in _PLATFORMS.items() if name.startswith(start)), "anthropic")
        return place_of(client.base_url, provider)
