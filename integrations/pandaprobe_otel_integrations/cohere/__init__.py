"""OpenTelemetry spans for the `cohere` client."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from opentelemetry.context import Context, get_current

from pandaprobe_otel_integrations._client_hooks import ClientHooks
from pandaprobe_otel_integrations._endpoint import Attributes, Body, Endpoint
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._http import Opened
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import obj
from pandaprobe_otel_integrations._openai_protocol.endpoints import PostedEndpoints
from pandaprobe_otel_integrations._openai_protocol.media import Transcription, with_files
from pandaprobe_otel_integrations._patching import OriginalCall, Patch, patch
from pandaprobe_otel_integrations._rerank import Rerank
from pandaprobe_otel_integrations._servers import place_at, provider_of
from pandaprobe_otel_integrations.cohere.chat import Chat, Embed
from pandaprobe_otel_integrations.cohere.chat_v1 import ChatV1

__all__ = ["CohereInstrumentor"]


# -- the client's requests that are model calls, by the end of their path ----------------------------------------------

ENDPOINTS: Final = PostedEndpoints(
    {
        "v2/chat": Chat(),
        "chat": ChatV1(),
        "audio/transcriptions": Transcription(),
        "embed": Embed(),
        "rerank": Rerank(),
    }
)


# -- the address and the JSON of a request -----------------------------------------------------------------------------

_PROVIDER = "cohere"


def _place(http: Any, kwargs: dict[str, Any]) -> Attributes:
    url = _cloud_url(http) or http.get_base_url(kwargs.get("base_url"))
    return place_at(url, provider_of(urlsplit(url).hostname or "", _PROVIDER))


def _cloud_url(http: Any) -> str | None:
    """Return the address of a client for another cloud, whose hook replaces the URL of each request; else None."""
    for hook in http.httpx_client.event_hooks.get("request", ()):
        if (address := _CLOUDS.get(getattr(hook, "__module__", None))) is not None:
            held = zip(hook.__code__.co_freevars, hook.__closure__ or (), strict=True)
            return address(sys.modules[hook.__module__], {name: cell.cell_contents for name, cell in held})
    return None


def _aws(module: Any, held: dict[str, Any]) -> str:
    url: str = module.get_url(platform=held["service"], aws_region=held["aws_region"], model="", stream=False)
    return url


def _oci(module: Any, held: dict[str, Any]) -> str:
    url: str = module.get_oci_url(region=held["oci_region"], endpoint="chat")
    return url


_CLOUDS: Final[dict[Any, Callable[[Any, dict[str, Any]], str]]] = {"cohere.aws_client": _aws, "cohere.oci_client": _oci}
"""Functions that return the address, by the module of the hook."""


def _sent(kwargs: dict[str, Any]) -> Body:
    """Return the JSON that is sent.

    It contains marks for members that the app left out, and members from the options.
    """
    left_out = kwargs.get("omit")
    given = {**obj(kwargs.get("data")), **obj(kwargs.get("json"))}
    body = {name: value for name, value in given.items() if value is not left_out}
    body.update(obj(obj(kwargs.get("request_options")).get("additional_body_parameters")))
    files = obj(kwargs.get("files"))
    return with_files(body, dict(files)) if files else body


_HTTP = "cohere.core.http_client"


class CohereInstrumentor(ClientHooks, Integration):
    """Chat, embeddings, reranking and transcription.

    Both versions of the API are recorded, sync and async, streamed or not, and with the clients for Bedrock, SageMaker
    and OCI. A long list of texts is embedded in several requests, each with its own span. See `Integration` for the
    options of `instrument()`.
    """

    library = "cohere"
    hooked_modules = (_HTTP, "cohere.client")

    _carried: ClassVar[dict[int, Context]] = {}

    def watch_client(self, client: Any) -> None:
        """Record the calls of this client; its parts (`v2`, `with_raw_response`, ...) share one HTTP client."""
        super().watch_client(client._client_wrapper.httpx_client)  # pyright: ignore[reportPrivateUsage]

    def embed(self, original: OriginalCall) -> Any:
        """Wrap `Client.embed`, which sends requests from its own threads.

        A copy of its options carries the context there.
        """
        options = dict(original.kwargs.get("request_options") or {})
        self._carried[id(options)] = get_current()
        try:
            return original.replacing(request_options=options)
        finally:
            self._carried.pop(id(options), None)

    def open(self, original: OriginalCall, context: Context | None = None) -> Opened | None:
        """Begin the call of a request, in the context that its options carry."""
        return super().open(original, self._carried.get(id(original.kwargs.get("request_options"))))

    def find(self, original: OriginalCall) -> Endpoint | None:
        """Return the endpoint by method and path."""
        return ENDPOINTS.endpoint(original.kwargs["method"], original.arg(0, "path"))

    def read(self, original: OriginalCall, found: Endpoint) -> tuple[Endpoint, Body, Attributes]:
        """Return the endpoint, the body with the members from the options, and the place."""
        return found, _sent(original.kwargs), guarded(_place, original.owner, original.kwargs) or {}

    def _hook(self, module: ModuleType) -> Iterable[Patch]:
        if module.__name__ != _HTTP:
            yield patch(module.Client, "embed", self.embed)
            return
        yield patch(module.HttpClient, "request", self.call)
        yield patch(module.HttpClient, "stream", self.stream)
        yield patch(module.AsyncHttpClient, "request", self.call_async)
        yield patch(module.AsyncHttpClient, "stream", self.stream)
