"""OpenTelemetry spans for the `mistralai` client."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._patching import Patch, patch
from pandaprobe_otel_integrations._rivals import Rival

from .hooks import MistralHooks

__all__ = ["MistralInstrumentor"]

_BASES = ("mistralai.client.basesdk", "mistralai.basesdk")
_PLATFORM_BASES = (
    "mistralai.azure.client.basesdk",
    "mistralai.gcp.client.basesdk",
    "mistralai_azure.basesdk",
    "mistralai_gcp.basesdk",
)
_OWN_TRACING = "mistralai.client._hooks.tracing"


class MistralInstrumentor(Integration):
    """Chat, agents, conversations, responses, fill-in-the-middle, embeddings, documents, speech and classification.

    Transcription and moderation are recorded too, all sync and async, streamed or not, and with the clients for Azure
    and Vertex AI. From 2.0, the client can make its own spans (`MISTRAL_SDK_TELEMETRY`, `configure_telemetry`). So that
    one call is one span, it makes none for a call that is recorded here. See `Integration` for the options of
    `instrument()`.
    """

    library = "mistralai"
    requirements = ("mistralai >= 1.9.11",)
    hooked_modules = (*_BASES, *_PLATFORM_BASES, _OWN_TRACING)
    rivals = (
        Rival(
            vendor="OpenInference",
            module="openinference.instrumentation.mistralai",
            class_name="MistralAIInstrumentor",
        ),
        Rival(
            vendor="OpenLLMetry", module="opentelemetry.instrumentation.mistralai", class_name="MistralAiInstrumentor"
        ),
    )

    def watch_client(self, client: Any) -> None:
        """Record the calls of this client; its parts (`chat`, `embeddings`, ...) share one configuration."""
        super().watch_client(client.sdk_configuration)

    def _watched(self, client: Any) -> Any:
        return client.sdk_configuration

    def _hook(self, module: ModuleType) -> Iterable[Patch]:
        hooks = MistralHooks(self._recorder, self._lets_through)
        if module.__name__ == _OWN_TRACING:
            yield patch(module.TracingHook, "before_request", hooks.own_span)
        else:
            yield patch(module.BaseSDK, "do_request", hooks.call)
            yield patch(module.BaseSDK, "do_request_async", hooks.call_async)
