"""Which requests of the client are model calls, and where they go."""

from __future__ import annotations

import re
from typing import Any, Final

from pandaprobe_otel_integrations._endpoint import Attributes, Endpoint
from pandaprobe_otel_integrations._place import place_of

from .chat import ChatCompletions
from .completions import Completions
from .embeddings import Embeddings
from .provider import provider_of
from .responses import FetchedResponse, Responses

_CHAT: Final = ChatCompletions()
_POSTED: Final[dict[str, Endpoint]] = {
    "/completions": Completions(),
    "/embeddings": Embeddings(),
    "/responses": Responses(),
}
_FETCHED: Final = re.compile(r"/responses/([^/?]+)/?(?:\?.*)?$")


class OpenAIApi:
    """The paths and the places of OpenAI and Azure OpenAI."""

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        """Chat, responses, completions and embeddings; everything else is no model call."""
        if method.lower() == "get":
            fetched = _FETCHED.search(path)
            return FetchedResponse(fetched[1]) if fetched is not None else None
        bare = path.partition("?")[0].rstrip("/")
        if bare.endswith("/chat/completions"):
            return _CHAT
        return next((found for ending, found in _POSTED.items() if bare.endswith(ending)), None)

    def place(self, client: Any) -> Attributes:
        """Provider and server by the client's base URL."""
        url = client.base_url
        azure = type(client).__name__.endswith("AzureOpenAI")
        return place_of(url, "azure.ai.openai" if azure else provider_of(url.host, "openai"))
