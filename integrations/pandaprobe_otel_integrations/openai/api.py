"""The client's requests that are model calls, and their address."""

from __future__ import annotations

import re
from typing import Any, Final

from pandaprobe_otel_integrations._endpoint import Attributes, Endpoint
from pandaprobe_otel_integrations._openai_protocol.chat import ChatCompletions
from pandaprobe_otel_integrations._openai_protocol.completions import Completions
from pandaprobe_otel_integrations._openai_protocol.decisions import Decisions
from pandaprobe_otel_integrations._openai_protocol.embeddings import Embeddings
from pandaprobe_otel_integrations._openai_protocol.media_endpoints import MEDIA, VIDEOS
from pandaprobe_otel_integrations._openai_protocol.moderations import Moderations
from pandaprobe_otel_integrations._openai_protocol.paths import PostedEndpoints
from pandaprobe_otel_integrations._openai_protocol.responses import CompactedResponse, FetchedResponse, Responses
from pandaprobe_otel_integrations._openai_protocol.videos import REMIX
from pandaprobe_otel_integrations._provider_names import provider_of
from pandaprobe_otel_integrations._server_attributes import place_of

from .batches import CreatedBatch, FetchedBatch

_POSTED: Final = PostedEndpoints(
    {
        "/chat/completions": ChatCompletions(),
        "/completions": Completions(),
        "/embeddings": Embeddings(),
        "/responses": Responses(),
        "/responses/compact": CompactedResponse(),
        "/decisions": Decisions(),
        **MEDIA,
        "/moderations": Moderations(),
        "/batches": CreatedBatch(),
    }
)
_FETCHED: Final = re.compile(r"/(responses|batches)/([^/?]+)/?(?:\?.*)?$")
_FETCHED_BATCH: Final = FetchedBatch()
_CLOUDS: Final = {
    "AzureOpenAI": "azure.ai.openai",
    "BedrockOpenAI": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "vertex": "gcp.vertex_ai",
}
"""Providers by the client's class, or by the name of the `provider` that it was made with."""


class OpenAIApi:
    """The paths and servers of OpenAI, and of the clouds that serve its models."""

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        """Return the endpoint of a model call; files, fine-tuning, vector stores and all others are not model calls."""
        if method.lower() == "get":
            return _fetched(path)
        found = _POSTED.endpoint(method, path)
        if found is not None or method.lower() != "post":
            return found
        return VIDEOS if REMIX.search(path) else None

    def place(self, client: Any) -> Attributes:
        """Return provider and server from the client's base URL."""
        url = client.base_url
        name = type(client).__name__.removeprefix("Async")
        cloud = _CLOUDS.get(name) or _CLOUDS.get(getattr(getattr(client, "_provider_runtime", None), "name", ""))
        return place_of(url, cloud or provider_of(url.host, "openai"))


def _fetched(path: str) -> Endpoint | None:
    fetched = _FETCHED.search(path)
    if fetched is None:
        return None
    return FetchedResponse(fetched[2]) if fetched[1] == "responses" else _FETCHED_BATCH
