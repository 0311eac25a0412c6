"""OpenTelemetry spans for the `openai` client, for any service that it calls."""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel_integrations._endpoint import Attributes, Endpoint
from pandaprobe_otel_integrations._json import obj, string
from pandaprobe_otel_integrations._openai_protocol.chat import ChatCompletions, Completions
from pandaprobe_otel_integrations._openai_protocol.endpoints import Embeddings, Moderations, PostedEndpoints
from pandaprobe_otel_integrations._openai_protocol.media import MEDIA
from pandaprobe_otel_integrations._openai_protocol.responses import CompactedResponse, FetchedResponse, Responses
from pandaprobe_otel_integrations._patching import OriginalCall, Patch, patch
from pandaprobe_otel_integrations._rivals import LangfuseModule, LangSmithWrapper, Rival, known_rivals
from pandaprobe_otel_integrations._servers import place_of, provider_of
from pandaprobe_otel_integrations._stainless import StainlessIntegration
from pandaprobe_otel_integrations._tool_loop import LoopHooks, ToolLoop, ToolRun

from . import sockets

__all__ = ["OpenAIInstrumentor"]


# -- the tool runner in `openai.lib`: it calls the model, runs the app's functions, and calls the model again ----------

MODULE = "openai.lib.responses_tool_runner"


class ToolRunnerHooks(LoopHooks):
    """Wrappers of the turns of both runners, which `run` reads too, and of each function call."""

    def patches(self, module: ModuleType) -> Iterable[Patch]:
        """Return patches of both runners."""
        for runner in (module.ResponsesToolRunner, module.AsyncResponsesToolRunner):
            yield patch(runner, "iterate", self.turns)
            yield patch(runner, "_execute_function", self.function)

    def client(self, original: OriginalCall) -> Any:
        """Return the client, the first argument."""
        return original.arg(0, "client")

    def begin(self, original: OriginalCall) -> ToolLoop:
        """Begin a loop of the model in the parameters."""
        asked = obj(original.arg(1, "params"))
        return ToolLoop(self.recorder, asked.get("model"), lambda turn: turn.final is True)

    def tool(self, loop: ToolLoop, original: OriginalCall) -> ToolRun:
        """Begin the function that an item calls."""
        item = original.arg(1, "item")
        return ToolRun(self.recorder, item.name, item.arguments, call_id=string(item.call_id), result_of=_output)


def _output(made: Any) -> Any:
    return made["output"]


# -- the client's requests that are model calls, and their address -----------------------------------------------------

_FETCHED: Final = re.compile(r"/responses/([^/?]+)/?(?:\?.*)?$")
_CLOUDS: Final = {
    "AzureOpenAI": "azure.ai.openai",
    "BedrockOpenAI": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "vertex": "gcp.vertex_ai",
}
"""Providers by the client's class, or by the name of the `provider` that it was made with."""


class OpenAIInstrumentor(StainlessIntegration):
    """Chat completions, responses, embeddings, pictures, sound and moderation.

    They are recorded sync and async, in every form they are called. Legacy completions, realtime sessions, responses
    over WebSockets, and the client's tool runner are recorded too. The app receives
    the same types and objects at the same time as without the integration. See `Integration` for the options of
    `instrument()`.
    """

    library = "openai"
    hooked_modules = ("openai._base_client", MODULE, *sockets.MODULES)
    repeated_by = ("logfire.openai",)
    rivals = known_rivals(
        "openai",
        Rival(vendor="OpenTelemetry contrib", module="opentelemetry.instrumentation.openai_v2"),
        LangSmithWrapper(),
        LangfuseModule(module="langfuse.openai"),
    )
    posted = PostedEndpoints(
        {
            "/chat/completions": ChatCompletions(),
            "/completions": Completions(),
            "/embeddings": Embeddings(),
            "/responses": Responses(),
            "/responses/compact": CompactedResponse(),
            **MEDIA,
            "/moderations": Moderations(),
        }
    )

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        """Return the endpoint of a model call; files, fine-tuning, vector stores and all others are not model calls."""
        if method.lower() != "get":
            return super().endpoint(method, path)
        fetched = _FETCHED.search(path)
        return FetchedResponse(fetched[1]) if fetched is not None else None

    def place(self, client: Any) -> Attributes:
        """Return provider and server from the client's base URL, its class and its `provider`."""
        url = client.base_url
        name = type(client).__name__.removeprefix("Async")
        cloud = _CLOUDS.get(name) or _CLOUDS.get(getattr(getattr(client, "_provider_runtime", None), "name", ""))
        return place_of(url, cloud or provider_of(url.host, "openai"))

    def _hook(self, module: ModuleType) -> Iterable[Patch]:
        if module.__name__ == MODULE:
            return ToolRunnerHooks(self._recorder).patches(module)
        if module.__name__ in sockets.MODULES:
            return sockets.SocketHooks(self._recorder, self.place).patches(module)
        return super()._hook(module)
