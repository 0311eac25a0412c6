"""Which requests of the client are model calls, and where they go."""

from __future__ import annotations

import re
from typing import Any, Final

from pandaprobe_otel_integrations._endpoint import Attributes, Endpoint
from pandaprobe_otel_integrations._openai_protocol.chat import ChatCompletions
from pandaprobe_otel_integrations._openai_protocol.completions import Completions
from pandaprobe_otel_integrations._openai_protocol.embeddings import Embeddings
from pandaprobe_otel_integrations._openai_protocol.paths import PostedEndpoints
from pandaprobe_otel_integrations._place import place_of

from .provider import provider_of
from .responses import FetchedResponse, Responses

_POSTED: Final = PostedEndpoints(
    {
        "/chat/completions": ChatCompletions(),
        "/completions": Completions(),
        "/embeddings": Embeddings(),
        "/responses": Responses(),
    }
)
_FETCHED: Final = re.compile(r"/responses/([^/?]+)/?(?:\?.*)?$")


class OpenAIApi:
    """The paths and the places of OpenAI and Azure OpenAI."""

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        """Chat, responses, completions and embeddings; everything else is no model call."""
        if method.lower() == "get":
            fetched = _FETCHED.search(path)
            return FetchedResponse(fetched[1]) if fetched is not None else None
        return _POSTED.endpoint(method, path)

    def place(self, client: Any) -> Attributes:
        """Provider and server by the client's base URL."""
        url = client.base_url
        azure = type(client).__name__.endswith("AzureOpenAI")
        return place_of(url, "azure.ai.openai" if azure else provider_of(url.host, "openai"))
