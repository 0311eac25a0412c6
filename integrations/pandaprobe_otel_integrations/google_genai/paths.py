"""The client's requests that are model calls, by their URL: `.../models/<model>:<method>`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from pandaprobe_otel_integrations._endpoint import Endpoint
from pandaprobe_otel_integrations._openai_protocol.paths import PostedEndpoints
from pandaprobe_otel_integrations._server_attributes import place_of
from pandaprobe_otel_integrations._speakeasy import SpeakeasyCall

from .decisions import GoogleDecisions
from .embed import Embeddings
from .generate import GenerateContent
from .imagen_veo import Images, Videos
from .interact import Interactions

_GENERATE: Final = GenerateContent()
_EMBED: Final = Embeddings()
_IMAGES: Final = Images()
_POSTED: Final = PostedEndpoints({"/interactions": Interactions(), "/decisions": GoogleDecisions()})
_METHODS: Final[dict[str, Endpoint]] = {
    "generateContent": _GENERATE,
    "streamGenerateContent": _GENERATE,
    "embedContent": _EMBED,
    "batchEmbedContents": _EMBED,
    "predictLongRunning": Videos(),
}


PROVIDERS: Final = {False: "gcp.gemini", True: "gcp.vertex_ai"}
"""Providers by whether the client uses Vertex AI."""


class Target(NamedTuple):
    """The model and method that a URL calls."""

    endpoint: Endpoint
    model: str
    streams: bool


@lru_cache(maxsize=256)
def target(url: str) -> Target | None:
    """Return the call of a request to `url`; None for a request that is not a model call (files, caches, ...)."""
    path, _, method = unquote(urlsplit(url).path).rpartition(":")
    model = _model(path)
    endpoint = _METHODS.get(method)
    if endpoint is None and method == "predict":
        endpoint = _EMBED if "embedding" in model else _IMAGES
    return Target(endpoint, model, method == "streamGenerateContent") if endpoint is not None else None


def _model(path: str) -> str:
    """Return the model without its collection; a tuned model or an endpoint is named with its collection."""
    collection, _, name = path.rpartition("/")
    collection = collection.rpartition("/")[2]
    return name if collection == "models" else f"{collection}/{name}"


def interaction(sdk: Any, request: Any) -> SpeakeasyCall | None:
    """Return the model call that a request makes; None for other requests. `sdk`: the generated part of the client."""
    endpoint = _POSTED.endpoint(request.method, request.url.path)
    if endpoint is None:
        return None
    is_vertex = "/projects/" in request.url.path
    return SpeakeasyCall(endpoint, place_of(request.url, PROVIDERS[is_vertex]), _owner(sdk))


def _owner(sdk: Any) -> Any:
    """Return the object by which `watch_client` recognises a client: the shared one, or its HTTP client."""
    shared = getattr(sdk, "_api_client", None)
    if shared is not None:
        return shared
    settings = sdk.sdk_configuration
    return settings.client or settings.async_client
