"""OpenTelemetry spans for the `cohere` client."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._patching import Patch, patch
from pandaprobe_otel_integrations._rivals import Rival

from .hooks import CohereHooks

__all__ = ["CohereInstrumentor"]

_HTTP = "cohere.core.http_client"


class CohereInstrumentor(Integration):
    """Chat, embeddings, reranking, transcription and document parsing.

    Both versions of the API are recorded, sync and async, streamed or not, and with the clients for Bedrock, SageMaker
    and OCI. A long list of texts is embedded in several requests, each with its own span. See `Integration` for the
    options of `instrument()`.
    """

    library = "cohere"
    requirements = ("cohere >= 5.13",)
    hooked_modules = (_HTTP, "cohere.client")
    rivals = (
        Rival(vendor="OpenLLMetry", module="opentelemetry.instrumentation.cohere", class_name="CohereInstrumentor"),
        Rival(
            vendor="OpenTelemetry GenAI",
            module="opentelemetry.instrumentation.genai.cohere",
            class_name="CohereInstrumentor",
        ),
    )

    _hooks: CohereHooks

    def watch_client(self, client: Any) -> None:
        """Record the calls of this client; its parts (`v2`, `with_raw_response`, ...) share one HTTP client."""
        super().watch_client(client._client_wrapper.httpx_client)  # pyright: ignore[reportPrivateUsage]

    def _hook(self, module: ModuleType) -> Iterable[Patch]:
        if module.__name__ != _HTTP:
            yield patch(module.Client, "embed", self._hooks.embed)
            return
        hooks = self._hooks = CohereHooks(self._recorder, self._lets_through)
        yield patch(module.HttpClient, "request", hooks.call)
        yield patch(module.HttpClient, "stream", hooks.stream)
        yield patch(module.AsyncHttpClient, "request", hooks.call_async)
        yield patch(module.AsyncHttpClient, "stream", hooks.stream)
