"""OpenTelemetry spans for the `google-genai` client, on the Gemini API and on Vertex AI."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._patching import Patch, patch
from pandaprobe_otel_integrations._rivals import LangSmithWrapper, Rival

from .hooks import RequestHooks
from .live_sessions import LiveHooks
from .paths import InteractionHooks
from .tool_loop import ToolLoopHooks

__all__ = ["GoogleGenAIInstrumentor"]

_REQUESTS: Final = "google.genai._api_client"
_MODELS: Final = "google.genai.models"
_LIVE: Final = "google.genai.live"
_CHATS: Final = "google.genai.chats"
_INTERACTIONS: Final = "google.genai._gaos.basesdk"  # since 2.9; a separate generated client
_FUNCTIONS: Final = "google.genai._extra_utils"


class GoogleGenAIInstrumentor(Integration):
    """Contents, chats, automatic function calling, interactions, live sessions, embeddings, pictures and videos.

    Decisions are recorded too. See `Integration` for the options of `instrument()`.
    """

    library = "google_genai"
    requirements = ("google-genai >= 1.50",)
    hooked_modules = (_REQUESTS, _MODELS, _CHATS, _FUNCTIONS, _LIVE, _INTERACTIONS)
    rivals = (
        Rival(
            vendor="OpenTelemetry",
            module="opentelemetry.instrumentation.google_genai",
            class_name="GoogleGenAiSdkInstrumentor",
        ),
        Rival(
            vendor="OpenInference",
            module="openinference.instrumentation.google_genai",
            class_name="GoogleGenAIInstrumentor",
        ),
        LangSmithWrapper(),
        Rival(
            vendor="OpenLLMetry",
            module="opentelemetry.instrumentation.google_generativeai",
            class_name="GoogleGenerativeAiInstrumentor",
        ),
    )

    def watch_client(self, client: Any) -> None:
        """Record the calls of this client, including `aio` and its chats, which share the layers below."""
        shared = client._api_client  # pyright: ignore[reportPrivateUsage]
        for one in (shared, getattr(shared, "_httpx_client", None), getattr(shared, "_async_httpx_client", None)):
            if one is not None:
                super().watch_client(one)

    def _hook(self, module: ModuleType) -> Iterable[Patch]:
        if module.__name__ == _REQUESTS:
            yield from self._request_patches(module)
            return
        if module.__name__ == _INTERACTIONS:
            calls = InteractionHooks(self._recorder, self._lets_through)
            yield patch(module.BaseSDK, "do_request", calls.call)
            yield patch(module.AsyncBaseSDK, "do_request_async", calls.call_async)
            return
        if module.__name__ == _LIVE:
            yield patch(module.AsyncLive, "connect", LiveHooks(self._recorder, self._lets_through).connect)
            return
        hooks = ToolLoopHooks(self._recorder, self._lets_through)
        if module.__name__ == _FUNCTIONS:
            yield patch(module, "invoke_function_from_dict_args", hooks.function)
            yield patch(module, "invoke_function_from_dict_args_async", hooks.function)
        elif module.__name__ == _CHATS:
            yield from _loop_patches(hooks, module.Chat, module.AsyncChat, "send_message")
        else:
            yield from _loop_patches(hooks, module.Models, module.AsyncModels, "generate_content")

    def _request_patches(self, module: ModuleType) -> Iterable[Patch]:
        hooks = RequestHooks(self._recorder, self._lets_through)
        # The hooks on bodies come first: a stream that is never observed would be a span without an answer.
        yield patch(module.HttpResponse, "segments", hooks.segments)
        yield patch(module.HttpResponse, "async_segments", hooks.segments_async)
        yield patch(module.BaseApiClient, "_request", hooks.call)
        yield patch(module.BaseApiClient, "_async_request", hooks.call_async)


def _loop_patches(hooks: ToolLoopHooks, sync: Any, asynchronous: Any, method: str) -> Iterable[Patch]:
    yield patch(sync, method, hooks.generate)
    yield patch(sync, f"{method}_stream", hooks.stream)
    yield patch(asynchronous, method, hooks.generate_async)
    yield patch(asynchronous, f"{method}_stream", hooks.stream_async)
