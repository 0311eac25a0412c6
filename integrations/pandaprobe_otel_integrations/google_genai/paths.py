"""The client's requests that are model calls, by their URL: `.../models/<model>:<method>`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from pandaprobe_otel_integrations._endpoint import Endpoint
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._openai_protocol.paths import PostedEndpoints
from pandaprobe_otel_integrations._speakeasy import SpeakeasyHooks

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


class InteractionHooks(SpeakeasyHooks):
    """Wrappers of `do_request` in the generated part of the client. `gate` gets what `watch_client` knows of it."""

    def __init__(self, recorder: Recorder, gate: Callable[[Any], bool]) -> None:
        super().__init__(recorder, lambda sdk: gate(_owner(sdk)))

    def endpoint(self, request: Any) -> Endpoint | None:
        """Return the endpoint by method and path."""
        return _POSTED.endpoint(request.method, request.url.path)

    def provider(self, sdk: Any, request: Any) -> str:
        """Return the provider by the path, which names a project on Vertex AI."""
        return PROVIDERS["/projects/" in request.url.path]


def _owner(sdk: Any) -> Any:
    """Return the object by which `watch_client` recognises a client: the shared one, or its HTTP client."""
    shared = getattr(sdk, "_api_client", None)
    if shared is not None:
        return shared
    settings = sdk.sdk_configuration
    return settings.client or settings.async_client
