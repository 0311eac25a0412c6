"""OpenTelemetry spans for the `google-genai` client, on the Gemini API and on Vertex AI."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from types import ModuleType
from typing import Any, ClassVar, Final, NamedTuple, cast
from urllib.parse import unquote, urlsplit

from pandaprobe_otel_integrations._client_hooks import ClientHooks
from pandaprobe_otel_integrations._endpoint import Attributes, Body, Endpoint
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._http import HttpCall
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import items, obj, object_from_json, to_json_bytes
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._openai_protocol.endpoints import PostedEndpoints
from pandaprobe_otel_integrations._patching import OriginalCall, Patch, patch
from pandaprobe_otel_integrations._rivals import OPENLLMETRY, LangSmithWrapper, Rival, known_rivals
from pandaprobe_otel_integrations._servers import place_at
from pandaprobe_otel_integrations._speakeasy import SpeakeasyHooks
from pandaprobe_otel_integrations._streams.body import AsyncReading, ObservedBody, Reading
from pandaprobe_otel_integrations._tool_loop import LoopHooks, ToolLoop, ToolRun
from pandaprobe_otel_integrations.google_genai.generate import Embeddings, GenerateContent
from pandaprobe_otel_integrations.google_genai.interact import Interactions
from pandaprobe_otel_integrations.google_genai.live_sessions import PROVIDERS, LiveHooks

__all__ = ["GoogleGenAIInstrumentor"]


# -- the client's requests that are model calls, by their URL: `.../models/<model>:<method>` ---------------------------

_GENERATE: Final = GenerateContent()
_EMBED: Final = Embeddings()
_POSTED: Final = PostedEndpoints({"/interactions": Interactions()})
_METHODS: Final[dict[str, Endpoint]] = {
    "generateContent": _GENERATE,
    "streamGenerateContent": _GENERATE,
    "embedContent": _EMBED,
    "batchEmbedContents": _EMBED,
}


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
    endpoint = _EMBED if method == "predict" and "embedding" in model else _METHODS.get(method)
    return Target(endpoint, model, method == "streamGenerateContent") if endpoint is not None else None


def _model(path: str) -> str:
    """Return the model without its collection; a tuned model or an endpoint is named with its collection."""
    collection, _, name = path.rpartition("/")
    collection = collection.rpartition("/")[2]
    return name if collection == "models" else f"{collection}/{name}"


class InteractionHooks(SpeakeasyHooks):
    """Wrappers of `do_request` in the generated part of the client. The gate gets what `watch_client` knows of it."""

    def __init__(self, recorder: Recorder) -> None:
        def gate(sdk: Any) -> bool:
            return recorder.gate(_owner(sdk))

        self._recorder = replace(recorder, gate=gate)

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


# -- automatic function calling: the client calls the app's functions between model calls ------------------------------


class ToolLoopHooks(LoopHooks):
    """Wrappers of `Models.generate_content` and `Chat.send_message` in their four forms, and of the app's functions."""

    def client(self, original: OriginalCall) -> Any:
        """Return the shared client of a call that would call functions automatically."""
        config = _config(original)
        if not config or not _has_functions(config):
            return None
        return getattr(original.owner, "_modules", original.owner)._api_client  # pyright: ignore[reportPrivateUsage]

    def begin(self, original: OriginalCall) -> ToolLoop:
        """Begin a loop of the call's model, or the chat's."""
        return ToolLoop(self.recorder, original.kwargs.get("model") or getattr(original.owner, "_model", None))

    def tool(self, loop: ToolLoop, original: OriginalCall) -> ToolRun:
        """Begin a function by its name."""
        given = original.arg(0, "args")
        function = original.arg(1, "function_to_invoke")
        return ToolRun(self.recorder, getattr(function, "__name__", type(function).__name__), given)


def _config(original: OriginalCall) -> Any:
    """Return the configuration of a call: the message's own, otherwise the chat's. Models only take keywords."""
    return original.arg(1, "config") or getattr(original.owner, "_config", None)


def _has_functions(config: Any) -> bool:
    """Return whether the client would call functions automatically."""
    tools = items(_member(config, "tools"))
    if not tools:
        return False
    automatic = _member(config, "automatic_function_calling")
    if _member(automatic, "disable"):
        return False
    return any(callable(tool) or hasattr(tool, "call_tool") for tool in tools)


def _member(thing: Any, name: str) -> Any:
    return cast("Any", thing).get(name) if isinstance(thing, dict) else getattr(thing, name, None)


# -- hooks on the client's one function for requests, and on the functions that split streamed bodies ------------------


class _ObservedSegments(ObservedBody):
    """Receives the segments of a body, which the client has parsed, and keeps each as an event."""

    __slots__ = ()

    def keep(self, chunk: Any) -> None:
        """Keep one segment."""
        super().keep(b"data: %b\n\n" % (guarded(to_json_bytes, chunk) or b""))  # without line breaks


_REQUESTS: Final = "google.genai._api_client"
_MODELS: Final = "google.genai.models"
_LIVE: Final = "google.genai.live"
_CHATS: Final = "google.genai.chats"
_INTERACTIONS: Final = "google.genai._gaos.basesdk"  # since 2.9; a separate generated client
_FUNCTIONS: Final = "google.genai._extra_utils"


class GoogleGenAIInstrumentor(ClientHooks, Integration):
    """Contents, chats, automatic function calling, interactions, live sessions and embeddings.

    See `Integration` for the options of `instrument()`.
    """

    library = "google_genai"
    hooked_modules = (_REQUESTS, _MODELS, _CHATS, _FUNCTIONS, _LIVE, _INTERACTIONS)
    rivals = (
        Rival(vendor="OpenTelemetry", module="opentelemetry.instrumentation.google_genai"),
        Rival(vendor=OPENLLMETRY, module="opentelemetry.instrumentation.google_generativeai"),
        *known_rivals("google_genai", LangSmithWrapper()),
    )

    def watch_client(self, client: Any) -> None:
        """Record the calls of this client, including `aio` and its chats, which share the layers below."""
        shared = client._api_client  # pyright: ignore[reportPrivateUsage]
        for one in (shared, getattr(shared, "_httpx_client", None), getattr(shared, "_async_httpx_client", None)):
            if one is not None:
                super().watch_client(one)

    _streams: ClassVar[weakref.WeakKeyDictionary[Any, ObservedBody]] = weakref.WeakKeyDictionary()

    def segments(self, original: OriginalCall) -> Any:
        """Return the segments of a streamed body, and observe them."""
        body = self._streams.get(original.owner)
        segments = original()
        return segments if body is None else Reading(segments, body)

    def segments_async(self, original: OriginalCall) -> Any:
        """Return the segments of an asynchronously streamed body, and observe them."""
        body = self._streams.get(original.owner)
        segments = original()
        return segments if body is None else AsyncReading(segments, body)

    def find(self, original: OriginalCall) -> Target | None:
        """Return the model and method that the URL calls."""
        request = original.arg(0, "http_request")
        return target(request.url) if request.method.upper() == "POST" else None

    def read(self, original: OriginalCall, found: Target) -> tuple[Endpoint, Body, Attributes]:
        """Return the endpoint, the body with the model from the URL, and the place."""
        request = original.arg(0, "http_request")
        body: Body = {**obj(request.data), "model": found.model, "stream": found.streams or None}
        return found.endpoint, body, place_at(request.url, PROVIDERS[bool(original.owner.vertexai)])

    def show(self, call: HttpCall, result: Any) -> None:
        """Show the text of an answer, or the segments that the app reads."""
        read: Any = result.response_stream
        if isinstance(read, list):
            call.answered(object_from_json(read[0] if read else ""))  # pyright: ignore[reportUnknownArgumentType]
        else:
            self._streams[result] = call.read_through(result, _ObservedSegments)

    def _hook(self, module: ModuleType) -> Iterable[Patch]:
        if module.__name__ == _REQUESTS:
            yield from self._request_patches(module)
            return
        if module.__name__ == _INTERACTIONS:
            calls = InteractionHooks(self._recorder)
            yield patch(module.BaseSDK, "do_request", calls.call)
            yield patch(module.AsyncBaseSDK, "do_request_async", calls.call_async)
            return
        if module.__name__ == _LIVE:
            yield patch(module.AsyncLive, "connect", LiveHooks(self._recorder).connect)
            return
        hooks = ToolLoopHooks(self._recorder)
        if module.__name__ == _FUNCTIONS:
            yield patch(module, "invoke_function_from_dict_args", hooks.function)
            yield patch(module, "invoke_function_from_dict_args_async", hooks.function)
        elif module.__name__ == _CHATS:
            yield from _loop_patches(hooks, module.Chat, module.AsyncChat, "send_message")
        else:
            yield from _loop_patches(hooks, module.Models, module.AsyncModels, "generate_content")

    def _request_patches(self, module: ModuleType) -> Iterable[Patch]:
        # The hooks on bodies come first: a stream that is never observed would be a span without an answer.
        yield patch(module.HttpResponse, "segments", self.segments)
        yield patch(module.HttpResponse, "async_segments", self.segments_async)
        yield patch(module.BaseApiClient, "_request", self.call)
        yield patch(module.BaseApiClient, "_async_request", self.call_async)


def _loop_patches(hooks: ToolLoopHooks, sync: Any, asynchronous: Any, method: str) -> Iterable[Patch]:
    for owner, stream in ((sync, hooks.turns), (asynchronous, hooks.turns_async)):
        yield patch(owner, method, hooks.run)
        yield patch(owner, f"{method}_stream", stream)
