"""Which requests of the client are model calls, by their URL: `.../models/<model>:<method>`."""

from __future__ import annotations

from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from pandaprobe_otel_integrations._endpoint import Endpoint
from pandaprobe_otel_integrations._place import place_of
from pandaprobe_otel_integrations._speakeasy import SpeakeasyCall

from .embed import Embeddings
from .generate import GenerateContent
from .interact import Interactions

_GENERATE: Final = GenerateContent()
_EMBED: Final = Embeddings()
_INTERACT: Final = Interactions()
_METHODS: Final[dict[str, Endpoint]] = {
    "generateContent": _GENERATE,
    "streamGenerateContent": _GENERATE,
    "embedContent": _EMBED,
    "batchEmbedContents": _EMBED,
}


PROVIDERS: Final = {False: "gcp.gemini", True: "gcp.vertex_ai"}
"""By whether the client speaks to Vertex AI."""


class Target(NamedTuple):
    """What a URL calls."""

    endpoint: Endpoint
    model: str
    streams: bool


def target(url: str) -> Target | None:
    """The call that a request to `url` makes; None for a request that is no model call (files, caches, ...)."""
    path, _, method = unquote(urlsplit(url).path).rpartition(":")
    model = _model(path)
    endpoint = _METHODS.get(method)
    if endpoint is None and method == "predict" and "embedding" in model:
        endpoint = _EMBED
    return Target(endpoint, model, method == "streamGenerateContent") if endpoint is not None else None


def _model(path: str) -> str:
    """The model without the collection it is in; a tuned model or an endpoint is named with its collection."""
    collection, _, name = path.rpartition("/")
    collection = collection.rpartition("/")[2]
    return name if collection == "models" else f"{collection}/{name}"


def interaction(sdk: Any, request: Any) -> SpeakeasyCall | None:
    """The call that a request of the client's other half makes."""
    if request.method.upper() != "POST" or not request.url.path.rstrip("/").endswith("/interactions"):
        return None
    client = sdk._api_client  # pyright: ignore[reportPrivateUsage]
    return SpeakeasyCall(_INTERACT, place_of(request.url, PROVIDERS[bool(client.vertexai)]), client)
