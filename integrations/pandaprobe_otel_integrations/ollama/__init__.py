"""OpenTelemetry spans for the `ollama` client."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._patching import Patch, patch
from pandaprobe_otel_integrations._rivals import Rival

from .hooks import OllamaHooks

__all__ = ["OllamaInstrumentor"]


class OllamaInstrumentor(Integration):
    """Chat, generate and embeddings, sync and async, streamed or not, through clients and the module's functions.

    See `Integration` for the options of `instrument()`.
    """

    library = "ollama"
    requirements = ("ollama >= 0.4",)
    hooked_modules = ("ollama._client",)
    rivals = (
        Rival(vendor="OpenLLMetry", module="opentelemetry.instrumentation.ollama", class_name="OllamaInstrumentor"),
    )

    def _hook(self, module: ModuleType) -> Iterable[Patch]:
        hooks = OllamaHooks(self._recorder, self._lets_through)
        yield patch(module.Client, "_request_raw", hooks.call)
        yield patch(module.AsyncClient, "_request_raw", hooks.call_async)
        yield patch(module.Client, "_request", hooks.request)
        yield patch(module.AsyncClient, "_request", hooks.request)
