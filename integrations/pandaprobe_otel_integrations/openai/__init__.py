"""OpenTelemetry spans for the `openai` client, for any service that it calls."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body, DescribedEndpoint, Endpoint
from pandaprobe_otel_integrations._json import integer, obj, string
from pandaprobe_otel_integrations._model_call import SeenIds
from pandaprobe_otel_integrations._openai_protocol.chat import ChatCompletions, Completions
from pandaprobe_otel_integrations._openai_protocol.endpoints import Decisions, Embeddings, Moderations, PostedEndpoints
from pandaprobe_otel_integrations._openai_protocol.media import MEDIA, REMIX, VIDEOS
from pandaprobe_otel_integrations._openai_protocol.responses import CompactedResponse, FetchedResponse, Responses
from pandaprobe_otel_integrations._openai_protocol.usage import OPENAI, usage_attributes
from pandaprobe_otel_integrations._other_members import rest
from pandaprobe_otel_integrations._patching import OriginalCall, Patch, patch
from pandaprobe_otel_integrations._rivals import (
    LangfuseModule,
    LangSmithWrapper,
    Rival,
    openinference,
    openllmetry,
    opentelemetry_genai,
)
from pandaprobe_otel_integrations._servers import place_of, provider_of
from pandaprobe_otel_integrations._stainless import StainlessIntegration
from pandaprobe_otel_integrations._tool_loop import LoopHooks, ToolLoop, ToolRun

from . import sockets

__all__ = ["OpenAIInstrumentor"]


# -- batches: `POST /batches` submits a file of requests, and `GET /batches/{id}` finally reports the usage ------------

_DONE: Final = frozenset({"completed", "failed", "expired", "cancelled"})
_COUNTS: Final = frozenset({"completed", "failed"})
_OUTCOMES: Final = {"cancelled": ours.CANCELLED, "expired": ours.TIMED_OUT}
_seen: Final = SeenIds()


class CreatedBatch(DescribedEndpoint):
    """The submission of a batch. The requests are in the file that it names."""

    operation = "create_batch"
    service = replace(OPENAI, usage=None)
    request = {
        "endpoint": (names.BATCH_ENDPOINT, string),
        "input_file_id": (names.BATCH_INPUT_FILE, string),
    }
    response = {"id": (names.RESPONSE_ID, string), "status": (names.RESPONSE_STATUS, string)}
    empty = ("endpoint", "input_file_id", "object", "usage")

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the batch's id and status."""
        return replace(super().answer(body, with_content=with_content), goes_on=string(body.get("id")))


class FetchedBatch(CreatedBatch):
    """A request for an existing batch.

    It is recorded once, when the batch is done: apps poll many times, but the batch costs once.
    """

    operation = "fetch_batch"

    def is_news(self, body: Body) -> bool:
        """Return whether the batch is done, and this process sees that for the first time."""
        return string(body.get("status")) in _DONE and _seen.is_first(string(body.get("id")))

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the batch's status, the number of requests by result, and all their tokens."""
        counts = obj(body.get("request_counts"))
        left = {**body, "request_counts": rest(counts, _COUNTS)}
        return Answer(
            attributes={
                **self.request_attributes(body),
                **self.response_attributes(body),
                **usage_attributes(body.get("usage")),
                names.BATCH_COMPLETED: integer(counts.get("completed")),
                names.BATCH_FAILED: integer(counts.get("failed")),
                ours.OUTCOME: _OUTCOMES.get(string(body.get("status")) or ""),
            },
            content=self.other_data(left) if with_content else {},
        )


# -- the tool runner in `openai.lib`: it calls the model, runs the app's functions, and calls the model again ----------

MODULE = "openai.lib.responses_tool_runner"


class ToolRunnerHooks(LoopHooks):
    """Wrappers of the turns of both runners, which `run` reads too, and of each function call."""

    def patches(self, module: ModuleType) -> Iterable[Patch]:
        """Return patches of both runners."""
        for runner in (module.ResponsesToolRunner, module.AsyncResponsesToolRunner):
            yield patch(runner, "iterate", self.turns)
            yield patch(runner, "_execute_function", self.function)

    @staticmethod
    def is_last(turn: Any) -> bool:
        """Return whether `run` closes the generator at this turn."""
        return turn.final is True

    def client(self, original: OriginalCall) -> Any:
        """Return the client, the first argument."""
        return original.arg(0, "client")

    def begin(self, original: OriginalCall) -> ToolLoop:
        """Begin a loop of the model in the parameters."""
        asked = obj(original.arg(1, "params"))
        return ToolLoop(self.recorder, asked.get("model"))

    def tool(self, loop: ToolLoop, original: OriginalCall) -> ToolRun:
        """Begin the function that an item calls."""
        item = original.arg(1, "item")
        return ToolRun(self.recorder, item.name, item.arguments, call_id=string(item.call_id), result_of=_output)


def _output(made: Any) -> Any:
    return made["output"]


# -- the client's requests that are model calls, and their address -----------------------------------------------------

_POSTED: Final = PostedEndpoints(
    {
        "/chat/completions": ChatCompletions(),
        "/completions": Completions(),
        "/embeddings": Embeddings(),
        "/responses": Responses(),
        "/responses/compact": CompactedResponse(),
        "/decisions": Decisions(),
        **MEDIA,
        "/moderations": Moderations(),
        "/batches": CreatedBatch(),
    }
)
_FETCHED: Final = re.compile(r"/(responses|batches)/([^/?]+)/?(?:\?.*)?$")
_FETCHED_BATCH: Final = FetchedBatch()
_CLOUDS: Final = {
    "AzureOpenAI": "azure.ai.openai",
    "BedrockOpenAI": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "vertex": "gcp.vertex_ai",
}
"""Providers by the client's class, or by the name of the `provider` that it was made with."""


class OpenAIApi:
    """The paths and servers of OpenAI, and of the clouds that serve its models."""

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        """Return the endpoint of a model call; files, fine-tuning, vector stores and all others are not model calls."""
        if method.lower() == "get":
            return _fetched(path)
        found = _POSTED.endpoint(method, path)
        if found is not None or method.lower() != "post":
            return found
        return VIDEOS if REMIX.search(path) else None

    def place(self, client: Any) -> Attributes:
        """Return provider and server from the client's base URL."""
        url = client.base_url
        name = type(client).__name__.removeprefix("Async")
        cloud = _CLOUDS.get(name) or _CLOUDS.get(getattr(getattr(client, "_provider_runtime", None), "name", ""))
        return place_of(url, cloud or provider_of(url.host, "openai"))


def _fetched(path: str) -> Endpoint | None:
    fetched = _FETCHED.search(path)
    if fetched is None:
        return None
    return FetchedResponse(fetched[2]) if fetched[1] == "responses" else _FETCHED_BATCH


class OpenAIInstrumentor(StainlessIntegration):
    """Chat completions, responses, embeddings, pictures, videos, sound, moderation, decisions and batches.

    They are recorded sync and async, in every form they are called. Legacy completions, realtime sessions, calls that
    live sessions delegate, responses over WebSockets, and the client's tool runner are recorded too. The app receives
    the same types and objects at the same time as without the integration. See `Integration` for the options of
    `instrument()`.
    """

    library = "openai"
    requirements = ("openai >= 1.6",)
    hooked_modules = ("openai._base_client", MODULE, *sockets.MODULES)
    repeated_by = ("logfire.openai",)
    rivals = (
        openinference("openai", "OpenAIInstrumentor"),
        openllmetry("openai", "OpenAIInstrumentor"),
        Rival(
            vendor="OpenTelemetry contrib",
            module="opentelemetry.instrumentation.openai_v2",
            class_name="OpenAIInstrumentor",
        ),
        opentelemetry_genai("openai", "OpenAIInstrumentor"),
        LangSmithWrapper(),
        LangfuseModule(module="langfuse.openai"),
    )
    api = OpenAIApi()

    def _hook(self, module: ModuleType) -> Iterable[Patch]:
        if module.__name__ == MODULE:
            return ToolRunnerHooks(self._recorder, self._lets_through).patches(module)
        if module.__name__ in sockets.MODULES:
            return sockets.SocketHooks(self._recorder, self._lets_through, self.api.place).patches(module)
        return super()._hook(module)
