"""Which requests of the client are model calls, and where they go."""

from __future__ import annotations

import re
from typing import Any, Final

from pandaprobe_otel_integrations._endpoint import Attributes, Endpoint
from pandaprobe_otel_integrations._openai_protocol.chat import ChatCompletions
from pandaprobe_otel_integrations._openai_protocol.completions import Completions
from pandaprobe_otel_integrations._openai_protocol.embeddings import Embeddings
from pandaprobe_otel_integrations._openai_protocol.media import MEDIA
from pandaprobe_otel_integrations._openai_protocol.paths import PostedEndpoints
from pandaprobe_otel_integrations._openai_protocol.responses import FetchedResponse, Responses
from pandaprobe_otel_integrations._place import place_of

from .batches import CreatedBatch, FetchedBatch
from .moderations import Moderations
from .provider import provider_of

_POSTED: Final = PostedEndpoints(
    {
        "/chat/completions": ChatCompletions(),
        "/completions": Completions(),
        "/embeddings": Embeddings(),
        "/responses": Responses(),
        **MEDIA,
        "/moderations": Moderations(),
        "/batches": CreatedBatch(),
    }
)
_FETCHED: Final = re.compile(r"/(responses|batches)/([^/?]+)/?(?:\?.*)?$")
_FETCHED_BATCH: Final = FetchedBatch()


class OpenAIApi:
    """The paths and the places of OpenAI and Azure OpenAI."""

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        """Everything that a model is asked; files, fine-tuning, vector stores and the rest are none of that."""
        if method.lower() == "get":
            fetched = _FETCHED.search(path)
            if fetched is None:
                return None
            return FetchedResponse(fetched[2]) if fetched[1] == "responses" else _FETCHED_BATCH
        return _POSTED.endpoint(method, path)

    def place(self, client: Any) -> Attributes:
        """Provider and server by the client's base URL."""
        url = client.base_url
        azure = type(client).__name__.endswith("AzureOpenAI")
        return place_of(url, "azure.ai.openai" if azure else provider_of(url.host, "openai"))
