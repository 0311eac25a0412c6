"""OpenTelemetry spans for the `openai` client, for any service that it calls."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

from pandaprobe_otel_integrations._patching import Patch
from pandaprobe_otel_integrations._rivals import LangfuseModule, LangSmithWrapper, Rival
from pandaprobe_otel_integrations._stainless import StainlessIntegration

from . import sockets, tool_runner
from .api import OpenAIApi

__all__ = ["OpenAIInstrumentor"]


class OpenAIInstrumentor(StainlessIntegration):
    """Chat completions, responses, embeddings, pictures, videos, sound, moderation, decisions, batches, assistant runs.

    They are recorded sync and async, in every form they are called. Legacy completions, realtime sessions, calls that
    live sessions delegate, responses over WebSockets, and the client's tool runner are recorded too. The app receives
    the same types and objects at the same time as without the integration. See `Integration` for the options of
    `instrument()`.
    """

    library = "openai"
    requirements = ("openai >= 1.6",)
    hooked_modules = ("openai._base_client", tool_runner.MODULE, *sockets.MODULES)
    repeated_by = ("logfire.openai",)
    rivals = (
        Rival(vendor="OpenInference", module="openinference.instrumentation.openai", class_name="OpenAIInstrumentor"),
        Rival(vendor="OpenLLMetry", module="opentelemetry.instrumentation.openai", class_name="OpenAIInstrumentor"),
        Rival(
            vendor="OpenTelemetry contrib",
            module="opentelemetry.instrumentation.openai_v2",
            class_name="OpenAIInstrumentor",
        ),
        Rival(
            vendor="OpenTelemetry GenAI",
            module="opentelemetry.instrumentation.genai.openai",
            class_name="OpenAIInstrumentor",
        ),
        LangSmithWrapper(),
        LangfuseModule(module="langfuse.openai"),
    )
    api = OpenAIApi()

    def _hook(self, module: ModuleType) -> Iterable[Patch]:
        if module.__name__ == tool_runner.MODULE:
            return tool_runner.ToolRunnerHooks(self._recorder, self._lets_through).patches(module)
        if module.__name__ in sockets.MODULES:
            return sockets.SocketHooks(self._recorder, self._lets_through, self.api.place).patches(module)
        return super()._hook(module)
