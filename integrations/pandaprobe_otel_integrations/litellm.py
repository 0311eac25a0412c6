"""OpenTelemetry spans for `litellm`: one for each model call, for any client underneath."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextvars import Token
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from opentelemetry.context import Context, attach, get_current

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._client_hooks import ClientHooks
from pandaprobe_otel_integrations._endpoint import Attributes, Body, Endpoint
from pandaprobe_otel_integrations._http import HttpCall, Opened, Said
from pandaprobe_otel_integrations._integration import Integration, Outcome
from pandaprobe_otel_integrations._json import items, obj, string
from pandaprobe_otel_integrations._model_call import ModelCall, Recorder
from pandaprobe_otel_integrations._openai_protocol.endpoints import (
    Embeddings,
    ForeignChatCompletions,
    ForeignCompletions,
    ForeignResponses,
)
from pandaprobe_otel_integrations._openai_protocol.media import FILES, Images, Speech, Transcription, with_files
from pandaprobe_otel_integrations._patching import OriginalCall, Undoable, patch, patch_inside
from pandaprobe_otel_integrations._rerank import Rerank
from pandaprobe_otel_integrations._servers import place_at, provider_name
from pandaprobe_otel_integrations._spans import is_taken, restore
from pandaprobe_otel_integrations._streams.body import BodyRecord, ObservedItems

__all__ = ["LiteLLMInstrumentor"]


# -- the functions of litellm that call a model, and how to read their arguments and results ---------------------------


@dataclass(frozen=True, slots=True)
class Function:
    """One function: its operation, the reader of its results, and the names of its positional arguments."""

    endpoint: Endpoint
    places: tuple[str, ...]
    answer_of: Callable[[Any], Body] = obj
    chunk_of: Callable[[Any], Body] = obj
    is_everywhere: bool = True
    """True if every supported version has it in this module."""

    def request(self, original: OriginalCall) -> Body:
        """Return the arguments as a request."""
        given = {**dict(zip(self.places, original.args, strict=False)), **original.kwargs}
        return with_files(given, {"file": given["file"]}) if "file" in given else given


def _stream_in(result: Any) -> Any:
    # Answers are pydantic models, in which a missing attribute takes long to look up; streams are not.
    if hasattr(result, "model_dump") or not (hasattr(result, "__next__") or hasattr(result, "__anext__")):
        return None
    # A stream of a text completion contains a stream of a chat.
    inner = getattr(result, "completion_stream", None)
    return inner if hasattr(inner, "chunks") else result


def _answer_of(result: Any) -> Body:
    """Return a result as an answer of OpenAI's API. Of several vectors, only the first is looked at."""
    data = items(_member(result, "data"))
    if data:
        return {"model": getattr(result, "model", None), "usage": _usage(result), "data": data[:1]}
    return _with_cost(obj(result), result)


def _with_cost(answer: Body, result: Any) -> Body:
    """Return the answer with litellm's cost in US dollars, which is not a member of it."""
    cost = obj(getattr(result, "_hidden_params", None)).get("response_cost")
    if not isinstance(cost, float) or cost <= 0:
        return answer
    return {**answer, "usage": {"cost": cost, **obj(answer.get("usage"))}}


def _chunk_of(chunk: Any) -> Body:
    """Return a chunk as one of OpenAI's API.

    It contains only the members that are read, because there are many chunks.
    """
    found: dict[str, Any] = {"id": _member(chunk, "id"), "model": _member(chunk, "model")}
    if (usage := _member(chunk, "usage")) is not None:
        found["usage"] = obj(usage)
    if tier := _member(chunk, "service_tier"):
        found["service_tier"] = tier
    if more := getattr(chunk, "__pydantic_extra__", None):
        found.update((name, value) for name, value in more.items() if value and name not in found)
    found["choices"] = [_choice(choice) for choice in _member(chunk, "choices") or ()]
    return found


def _member(model: Any, name: str) -> Any:
    """Return a member or None. A pydantic model needs more time for a missing attribute than all other code here."""
    members: Any = getattr(model, "__dict__", None)
    if members is not None and name in members:
        return members[name]
    more: Any = getattr(model, "__pydantic_extra__", _UNKNOWN)
    if more is _UNKNOWN:
        return getattr(model, name, None)
    return more.get(name) if more else None


def _choice(choice: Any) -> dict[str, Any]:
    delta = _member(choice, "delta")
    if delta is None:
        return {"index": choice.index, "text": _member(choice, "text"), "finish_reason": choice.finish_reason}
    said = {name: value for name, value in delta.__dict__.items() if value}
    if more := getattr(delta, "__pydantic_extra__", None):
        said.update((name, value) for name, value in more.items() if value)
    if calls := said.get("tool_calls"):
        said["tool_calls"] = [obj(call) for call in calls]
    found = {"index": choice.index, "delta": said, "finish_reason": choice.finish_reason}
    if logprobs := _member(choice, "logprobs"):
        found["logprobs"] = obj(logprobs)
    return found


_UNKNOWN: Final = object()


def _pictures_of(result: Any) -> Body:
    """Remove litellm's count of zero from an answer whose provider reports no count."""
    answer = obj(result)
    counted = obj(answer.get("usage")).get("total_tokens")
    return answer if counted else {**answer, "usage": None}


def _sound_of(result: Any) -> Body:
    """Return the sound if it has arrived completely."""
    response = getattr(result, "response", None)
    if response is None or not response.is_stream_consumed:
        return {}
    return {"sound": response.content, "mime_type": response.headers.get("content-type")}


def _usage(result: Any) -> Body:
    return obj(getattr(result, "usage", None))


_CHAT: Final = Function(ForeignChatCompletions(), ("model", "messages"), _answer_of, _chunk_of)
_TEXT: Final = Function(ForeignCompletions(), ("prompt", "model"), _answer_of, _chunk_of)
_EMBEDDING: Final = Function(Embeddings(), ("model", "input"), _answer_of)
_RESPONSES: Final = Function(ForeignResponses(), ("input", "model"))
_IMAGES: Final = Function(Images(), ("prompt", "model"), _pictures_of, is_everywhere=False)
_EDITS: Final = Function(Images(), ("image", "prompt", "model"), _pictures_of, is_everywhere=False)
_TRANSCRIPTION: Final = Function(Transcription(), ("model", "file"), _pictures_of, is_everywhere=False)
_SPEECH: Final = Function(Speech(), ("model", "input", "voice"), _sound_of, is_everywhere=False)
_RERANK: Final = Function(Rerank(), ("model", "query", "documents"))
FUNCTIONS: Final[Mapping[str, Mapping[str, Function]]] = {
    "litellm.main": {
        "completion": _CHAT,
        "text_completion": _TEXT,
        "embedding": _EMBEDDING,
        "transcription": _TRANSCRIPTION,
        "speech": _SPEECH,
    },
    "litellm.images.main": {"image_generation": _IMAGES, "image_edit": _EDITS},
    "litellm.responses.main": {"responses": _RESPONSES},
    "litellm.rerank_api.main": {"rerank": _RERANK},
}
"""Functions by module and name. Each has an asynchronous form, whose name begins with an `a`."""
STREAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "litellm.litellm_core_utils.streaming_handler": ("CustomStreamWrapper",),
    "litellm.text_completions.streaming_iterator": ("TextCompletionStreamWrapper",),
    "litellm.responses.streaming_iterator": ("SyncResponsesAPIStreamingIterator", "ResponsesAPIStreamingIterator"),
    "litellm.responses.litellm_completion_transformation.streaming_iterator": ("LiteLLMCompletionStreamingIterator",),
}
"""Classes of streams by module."""


# -- A check for litellm's own spans, which a callback makes -----------------------------------------------------------

_LISTS: Final = ("callbacks", "success_callback", "_async_success_callback")
_OWN_MODULE: Final = "litellm.integrations.opentelemetry"


def makes_own_spans(litellm: Any) -> bool:
    """Return whether the callback "otel" is set, by name or as an object."""
    if litellm is None:
        return False
    return any(_is_own(one) for name in _LISTS for one in getattr(litellm, name, None) or ())


def _is_own(callback: Any) -> bool:
    return callback == "otel" if isinstance(callback, str) else type(callback).__module__.startswith(_OWN_MODULE)


# -- the arguments of a call that are the request, apart from litellm's own: keys, addresses, prices, objects ----------

_MEANT: Final = frozenset(
    {
        "metadata",
        "tags",
        "prompt_id",
        "prompt_variables",
        "prompt_version",
        "prompt_label",
        "guardrails",
        "mock_response",
    }
)
"""litellm's own arguments that describe the request."""
_OWN: Final = frozenset(
    {
        "api_base", "base_url", "api_version", "custom_llm_provider", "timeout", "deployment_id", "litellm_params",
        "drop_params", "additional_drop_params", "allowed_openai_params", "extra_query", "http_client",
    }
)  # fmt: skip
_PLAIN: Final = (str, int, float, bool, list, tuple, dict, bytes, type)


def sent(arguments: Mapping[str, Any]) -> Body:
    """Return the arguments that are a part of the request."""
    own: Any = getattr(sys.modules.get("litellm.types.utils"), "all_litellm_params", ())
    return {name: value for name, value in arguments.items() if name == FILES or _is_sent(name, value, own)}


def _is_sent(name: str, value: Any, own: Collection[str]) -> bool:
    if value is None or name in _OWN or (name in own and name not in _MEANT):
        return False
    return isinstance(value, _PLAIN) or hasattr(value, "model_dump")


# -- provider and address of a call, from the model's prefix, as in litellm itself -------------------------------------


def split_model(model: Any, given: Any = None) -> tuple[str | None, str | None]:
    """Return provider (litellm's name) and model without the provider's prefix; both None if they are unknown."""
    name = string(model)
    if name is None:
        return string(given), None
    prefix, _, rest = name.partition("/")
    if rest and prefix in getattr(sys.modules.get("litellm"), "provider_list", ()):
        return string(given) or prefix, rest
    return string(given), name


def named(provider: str | None) -> str | None:
    """Return the conventions' name of a provider."""
    return provider_name(provider) if provider is not None else None


def place_of_call(request: Mapping[str, Any], provider: str | None) -> Attributes:
    """Return provider and server, as far as the arguments contain them."""
    address = string(request.get("api_base")) or string(request.get("base_url"))
    called = named(provider)
    if address is None:
        return {names.PROVIDER: called}
    return {**place_at(address, ""), names.PROVIDER: called}


# -- the result of a call: an answer in one piece, or a stream that the app reads --------------------------------------


class FunctionCall(HttpCall):
    """One call of a function of litellm, until it returns or its stream ends. Of a stream, only the chunks are kept."""

    __slots__ = (
        "_context", "_function", "_kept", "_logging", "_provider", "_stream", "_token", "is_being_read", "items",
    )  # fmt: skip

    items: ObservedItems
    _stream: weakref.ref[Any]
    _token: Token[Context] | None

    def __init__(self, call: ModelCall, function: Function, logging: Any, provider: str | None) -> None:
        """Create the call. `provider` is the provider that the span has at this point, by the conventions' names."""
        super().__init__(None, call)
        self._provider = provider
        self._context: Context | None = None
        self._function = function
        self._logging = logging
        self._kept: Sequence[Any] = ()
        self.is_being_read = False

    def context(self, context: Context) -> Context:
        """Return the context of the call, which is kept for the first chunk of a stream."""
        self._context = super().context(context)
        return self._context

    def take(self, result: Any) -> None:
        """Take the function's result: an answer, or a stream, which gets this call as its observer."""
        stream = _stream_in(result)
        decided = _decided(self._logging if stream is None else getattr(stream, "logging_obj", None))
        if decided != self._provider:
            self.add({names.PROVIDER: decided})
        if stream is None:
            self.answered(self._function.answer_of(result))
            return
        # Counts that the app has not requested are not in its chunks, but in the chunks that litellm keeps.
        self._kept = getattr(stream, "chunks", ())
        self._stream = weakref.ref(stream)
        self._logging = None  # It holds the stream, which could not be collected if the app forgets it.
        self.items = self.read_through(result, ObservedItems)
        setattr(stream, STREAM, self)

    def __enter__(self) -> None:
        """Prepare the context before each chunk. Some providers send the request only then, as part of this call."""
        self.is_being_read = True
        context, self._context = self._context, None
        self._token = attach(context) if context is not None else None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Restore the context after each chunk, and take the exception by which the stream ends."""
        self.is_being_read = False
        if self._token is not None:
            restore(self._token)
        if error is not None:
            self.items.raised(error)

    def _said(self, record: BodyRecord) -> Said:
        endpoint = self._function.endpoint
        chunks = [*map(self._function.chunk_of, record.chunks)]
        output_at = (at for at, chunk in zip(record.times_ns, chunks, strict=False) if endpoint.is_output(chunk))
        merged = {**endpoint.merged(chunks)}
        usages = (getattr(chunk, "usage", None) for chunk in reversed(self._kept))
        merged["usage"] = merged.get("usage") or obj(next((usage for usage in usages if usage is not None), None))
        # The app's chunks name the model that the app asked for. The stream names the model that answered.
        merged["model"] = string(getattr(self._stream(), "_provider_response_model", None)) or merged.get("model")
        return Said(merged, next(output_at, None), record.is_cut)


def _decided(logging: Any) -> str | None:
    """Return the provider that litellm chose, by the conventions' names."""
    details = obj(getattr(logging, "model_call_details", None))
    return named(string(details.get("custom_llm_provider")))


# -- hooks on litellm's functions and on its classes of streams --------------------------------------------------------

STREAM: Final = "_pandaprobe_observed"
"""Attribute with the observer of a stream."""


class CallHooks(ClientHooks):
    """Wrappers of one function."""

    def __init__(self, recorder: Recorder, function: Function) -> None:
        self._recorder = recorder
        self._function = function

    def find(self, original: OriginalCall) -> Function:
        """Return the function; each call is a model call."""
        return self._function

    def read(self, original: OriginalCall, found: Function) -> tuple[Endpoint, Body, Attributes]:
        """Return the endpoint, the arguments that are the request, and the place."""
        request = found.request(original)
        provider, model = split_model(request.get("model"), request.get("custom_llm_provider"))
        return found.endpoint, {**sent(request), "model": model}, place_of_call(request, provider)

    def show(self, call: Any, result: Any) -> None:
        """Show an answer, or a stream that the app reads."""
        call.take(result)

    def open(self, original: OriginalCall, context: Context | None = None) -> Opened | None:
        """Begin the call; None if another span records it."""
        context = get_current()
        # With fallbacks, this function calls itself for each attempt; each attempt is a call.
        if is_taken(context) or original.kwargs.get("fallbacks") or not self._recorder.gate(None):
            return None
        endpoint, body, place = self.read(original, self._function)
        logging = original.kwargs.get("litellm_logging_obj")
        model_call = ModelCall(self._recorder, endpoint, body, place, context)
        call = FunctionCall(model_call, self._function, logging, place[names.PROVIDER])
        return call, call.context(context)


class StreamHooks:
    """Wrappers of the methods of a stream. Streams that are not recorded are passed on."""

    def next(self, original: OriginalCall) -> Any:
        """Wrap `__next__`."""
        call: FunctionCall | None = original.owner.__dict__.get(STREAM)
        if call is None:
            return original()
        with call:
            chunk = original()
        call.items.keep(chunk)
        return chunk

    async def next_async(self, original: OriginalCall) -> Any:
        """Wrap `__anext__`."""
        call: FunctionCall | None = original.owner.__dict__.get(STREAM)
        if call is None:
            return await original()
        with call:
            chunk = await original()
        call.items.keep(chunk)
        return chunk

    def close(self, original: OriginalCall) -> Any:
        """Run before `close` and `aclose`.

        litellm also closes an exhausted or broken stream, and reports its end later.
        """
        call: FunctionCall | None = original.owner.__dict__.get(STREAM)
        if call is not None and not call.is_being_read:
            call.items.end("closed")
        return original()


class LiteLLMInstrumentor(Integration):
    """Completions, responses, embeddings, reranking, pictures and sound, sync and async, streamed or not,
    also through a Router.

    Each attempt of a Router, and each of litellm's retries and fallbacks, is a call with its own span. Answers from
    litellm's cache have none. While litellm's callback "otel" is active, its spans are used instead. See
    `Integration` for the options of `instrument()`.
    """

    library = "litellm"
    hooked_modules = (*FUNCTIONS, *STREAMS)

    @property
    def outcome(self) -> Outcome:
        """The current state of the instrumentation; `adopted` while litellm makes spans itself."""
        found = super().outcome
        if found.state == "hooked" and makes_own_spans(sys.modules.get("litellm")):
            return Outcome(state="adopted", reason='litellm makes spans itself (its callback "otel")')
        return found

    def watch_client(self, client: Any) -> None:
        """Record every call: litellm has no clients, and a Router calls the module's functions."""
        self._every_client = True

    def _lets_through(self, client: Any) -> bool:
        return super()._lets_through(client) and not makes_own_spans(sys.modules.get("litellm"))

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        for name in STREAMS.get(module.__name__, ()):
            yield from _stream_patches(getattr(module, name), StreamHooks())
        for name, function in FUNCTIONS.get(module.__name__, {}).items():
            hooks = CallHooks(self._recorder, function)
            for form, wrapper in ((name, hooks.call), (f"a{name}", hooks.call_async)):
                if function.is_everywhere or getattr(module, form, None) is not None:
                    yield patch_inside(getattr(module, form), "original_function", wrapper)


def _stream_patches(kind: Any, hooks: StreamHooks) -> Iterable[Undoable]:
    methods = {"__next__": hooks.next, "__anext__": hooks.next_async, "close": hooks.close, "aclose": hooks.close}
    for name, hook in methods.items():
        if name in kind.__dict__:  # old versions cannot be closed, and some streams support only one way of reading
            yield patch(kind, name, hook)
