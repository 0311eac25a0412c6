"""OpenTelemetry spans for the `ollama` client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._client_hooks import ClientHooks, Wrapped
from pandaprobe_otel_integrations._endpoint import (
    Answer,
    Attributes,
    Body,
    Endpoint,
    Failure,
    Readings,
    positive,
    read,
    true,
)
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import (
    Content,
    Object,
    integer,
    items,
    number,
    obj,
    objects,
    string,
    strings,
    to_json,
)
from pandaprobe_otel_integrations._logprobs import with_logprobs
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._openai_protocol.chat_messages import tool_definition
from pandaprobe_otel_integrations._openai_protocol.endpoints import Decisions
from pandaprobe_otel_integrations._other_members import beside, names_of, parameters, with_rest
from pandaprobe_otel_integrations._parts import UNFINISHED, Part
from pandaprobe_otel_integrations._patching import Patch, patch
from pandaprobe_otel_integrations._rivals import openllmetry
from pandaprobe_otel_integrations._servers import Places, place_of
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events, last_data

__all__ = ["OllamaInstrumentor"]


# -- the calls of Ollama's API: chat, generate and the two forms of embeddings -----------------------------------------

_TEXTS: Final = ("content", "thinking", "response")
_SAID: Final = frozenset({"message", "logprobs", "created_at", "done", *_TEXTS, "tool_calls"})
"""Members of a chunk that are pieces of the answer, or carry no information."""
_COUNTED: Final = frozenset({"model", "done_reason", "prompt_eval_count", "eval_count", "error", "done"})


def _json(wanted: Any) -> str | None:
    return "json" if wanted else None


_CALLED: Final[Readings] = {
    "model": (names.REQUEST_MODEL, string),
    "stream": (names.STREAM, true),
    "think": (names.REASONING_LEVEL, string),
    "format": (names.OUTPUT_TYPE, _json),
}
_OPTIONS: Final[Readings] = {
    "temperature": (names.TEMPERATURE, number),
    "top_p": (names.TOP_P, number),
    "top_k": (names.TOP_K, number),
    "num_predict": (names.MAX_TOKENS, positive),
    "frequency_penalty": (names.FREQUENCY_PENALTY, number),
    "presence_penalty": (names.PRESENCE_PENALTY, number),
    "seed": (names.SEED, integer),
    "stop": (names.STOP_SEQUENCES, strings),
}
_ANSWERED: Final[Readings] = {
    "model": (names.RESPONSE_MODEL, string),
    "prompt_eval_count": (names.INPUT_TOKENS, integer),
    "eval_count": (names.OUTPUT_TOKENS, integer),
}


_MESSAGE: Final = frozenset({"role", "content", "thinking", "images", "tool_calls", "tool_name", "name"})
_CALL: Final = frozenset({"id", "function"})
_FUNCTION: Final = frozenset({"name", "arguments", "index"})
_CHAT: Final = frozenset({"model", "stream", "messages", "tools", "options"})
_GENERATE: Final = frozenset({"model", "stream", "system", "prompt", "suffix", "images", "options"})
_EMBED_READ: Final = frozenset({"model", "input", "prompt", "dimensions", "options"})
_ANSWER: Final = names_of(_ANSWERED, _SAID, ("done_reason", "context", "error"))
_VECTORS: Final = frozenset({"model", "embeddings", "embedding", "prompt_eval_count", "error"})


def _parameters(body: Body, known: Set[str]) -> Content:
    """Return the parameters without an attribute. A context consists of token ids, and is shown by its length."""
    context = items(body.get("context"))
    given = {**body, "context": f"[{len(context)} token ids]"} if context else body
    return parameters(given, known, ("options", names_of(_OPTIONS)))


class Chat:
    """A conversation."""

    operation = "chat"
    last_event: LastEvent | None = None

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and options."""
        attributes = read(body, _CALLED)
        if "options" in body:
            attributes.update(read(obj(body["options"]), _OPTIONS))
        return attributes

    def request_content(self, body: Body) -> Content:
        """Return messages and tools."""
        return {
            names.INPUT_MESSAGES: [_input_message(message) for message in objects(body.get("messages"))],
            names.TOOL_DEFINITIONS: [tool_definition(tool) for tool in objects(body.get("tools"))],
            **_parameters(body, _CHAT),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the message, its finish reason, and the counts."""
        message = self._message(body)
        reason = string(body.get("done_reason"))
        if reason == "stop" and "tool_calls" in message and objects(message["tool_calls"]):
            reason = "tool_call"
        attributes = read(body, _ANSWERED)
        if reason is not None:
            attributes[names.FINISH_REASONS] = [reason]
        content: Content = {}
        if with_content and (said := _message_parts(message)) + ([reason] if reason else []):
            output = {"role": "assistant", "parts": said, "finish_reason": reason or UNFINISHED}
            content = {names.OUTPUT_MESSAGES: [with_rest(output, obj(body.get("message")), _MESSAGE)]}
        if with_content:
            content = {**content, **with_logprobs(beside(body, _ANSWER, {}), [body])}
        # Old versions send no finish reason.
        is_whole = body.get("done") is True
        return Answer(attributes=attributes, content=content, failure=_failure(body.get("error")), is_whole=is_whole)

    def merged(self, events: Events) -> Body:
        """Return the chunks as one answer; the last one has the counts."""
        whole: dict[str, Any] = {}
        message = _Message()
        logprobs: list[Any] = []
        for event in events.items:
            chunk = obj(event.data)
            whole |= {key: value for key, value in chunk.items() if value is not None and key not in _SAID}
            if probable := chunk.get("logprobs"):
                logprobs += items(probable)
            message.add(obj(chunk.get("message")) or chunk)
        said = message.whole()
        return {**whole, **said, "message": said, "logprobs": logprobs}

    def is_output(self, event: Event) -> bool:
        """Return True for every chunk except an error."""
        return "error" not in obj(event.data)

    def _message(self, body: Body) -> Object:
        return obj(body.get("message"))


class Generate(Chat):
    """A prompt and its continuation."""

    operation = "text_completion"

    def request_content(self, body: Body) -> Content:
        """Return the prompt with its images, the text after the answer, and the system prompt."""
        system = string(body.get("system"))
        texts = [text for key in ("prompt", "suffix") if (text := string(body.get(key)))]
        found = [parts.text(text) for text in texts] + list(_images(body))
        return {
            names.SYSTEM_INSTRUCTIONS: [parts.text(system)] if system else [],
            names.INPUT_MESSAGES: [{"role": "user", "parts": found}] if found else [],
            **_parameters(body, _GENERATE),
        }

    def _message(self, body: Body) -> Object:
        return {"content": body.get("response"), "thinking": body.get("thinking")}


class Embeddings:
    """Embeddings of one or several texts. The vectors are never recorded."""

    operation = "embeddings"
    last_event: LastEvent | None = None

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and dimensions."""
        return {
            names.REQUEST_MODEL: string(body.get("model")),
            names.DIMENSION_COUNT: integer(body.get("dimensions")),
        }

    def request_content(self, body: Body) -> Content:
        """Return the texts."""
        texts = strings(body.get("input")) or strings(body.get("prompt")) or []
        return {
            names.INPUT_MESSAGES: [{"role": "user", "parts": [parts.text(text) for text in texts]}] if texts else [],
            **parameters(body, _EMBED_READ, ("options", frozenset())),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return model, tokens and the length of the vectors."""
        vector = items(next(iter(items(body.get("embeddings"))), None)) or items(body.get("embedding"))
        return Answer(
            attributes={
                names.RESPONSE_MODEL: string(body.get("model")),
                names.DIMENSION_COUNT: len(vector) or None,
                names.INPUT_TOKENS: integer(body.get("prompt_eval_count")),
            },
            content=beside(body, _VECTORS, {}) if with_content else {},
            failure=_failure(body.get("error")),
        )

    def merged(self, events: Events) -> Body:
        """Return nothing: embeddings are not streamed."""
        return obj(last_data(events))

    def is_output(self, event: Event) -> bool:
        """Return False: embeddings are not streamed."""
        return False


def _input_message(message: Object) -> Part:
    role = string(message.get("role")) or "user"
    if role == "tool":
        answered = string(message.get("tool_name")) or string(message.get("name"))
        answer = parts.tool_response(id=answered, response=message.get("content"))
        return with_rest({"role": role, "parts": [answer]}, message, _MESSAGE)
    found = _message_parts(message)
    if "images" in message:
        found += _images(message)
    said: Part = {"role": role, "parts": found}
    return with_rest(said, message, _MESSAGE) if message.keys() - _MESSAGE else said


def _message_parts(message: Object) -> list[Part]:
    found: list[Part] = []
    if thought := string(message.get("thinking")):
        found.append(parts.reasoning(thought))
    if text := string(message.get("content")):
        found.append(parts.text(text))
    if "tool_calls" not in message:
        return found
    for call in objects(message["tool_calls"]):
        function = obj(call.get("function"))
        arguments: Any = function.get("arguments")
        call_id = string(call.get("id"))
        part = parts.tool_call(id=call_id, name=string(function.get("name")), arguments=arguments or {})
        found.append(with_rest(with_rest(part, function, _FUNCTION), call, _CALL))
    return found


def _images(owner: Object) -> Iterable[Part]:
    for image in items(owner.get("images")):
        data: Any = obj(image).get("value", image)
        yield (
            parts.blob(data, "image", None) if isinstance(data, bytes) else parts.base64_blob(str(data), "image", None)
        )


class _Message:
    """The chunks of a stream, merged."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._calls: list[Any] = []

    def add(self, piece: Object) -> None:
        for key in _TEXTS:
            if text := string(piece.get(key)):
                self._texts.setdefault(key, []).append(text)
        self._calls += items(piece.get("tool_calls"))

    def whole(self) -> dict[str, Any]:
        message: dict[str, Any] = {key: "".join(pieces) for key, pieces in self._texts.items()}
        return {**message, "tool_calls": self._calls} if self._calls else message


def _failure(error: Any) -> Failure | None:
    text = string(error)
    return Failure(type="error", message=text) if text is not None else None


class SystemOne(Decisions):
    """Questions about a state, each answered by yes or no, a choice, or a score."""

    def request_content(self, body: Body) -> Content:
        """Return the state as input, and the questions."""
        state: Any = body.get("state")
        return super().request_content({**body, "input": state if isinstance(state, str) else to_json(state)})


_EMBED: Final = Embeddings()
ENDPOINTS: Final[dict[str, Endpoint]] = {
    "/api/chat": Chat(),
    "/api/generate": Generate(),
    "/api/embed": _EMBED,
    "/api/embeddings": _EMBED,
    "/v1/systemone": SystemOne(),
}
"""Endpoints by path."""


# -- hooks on the two functions of an Ollama client that send every request --------------------------------------------

_PROVIDER: Final = "ollama"


class OllamaHooks(ClientHooks):
    """Wrappers of `_request_raw`, which returns the HTTP response, and of `_request`."""

    def __init__(self, recorder: Recorder, gate: Callable[[Any], bool]) -> None:
        super().__init__(recorder, gate)
        self._places = Places()

    def request(self, wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap `_request` of both clients for streams.

        It returns a generator that sends the request when iterated. The generator is the client's own; the HTTP client
        that it uses is ours.
        """
        standing_in = guarded(self._stand_in, wrapped, client, args, kwargs)
        return wrapped(*args, **kwargs) if standing_in is None else standing_in(*args, **kwargs)

    def find(self, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Endpoint | None:
        """Return the endpoint by the path; the arguments are method, path and `json`."""
        return ENDPOINTS.get(args[1] if len(args) > 1 else kwargs.get("url", ""))

    def read(
        self, client: Any, found: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Endpoint, Body, Attributes]:
        """Return the endpoint, the body, and the place by the client's base URL."""
        url = client._client.base_url  # pyright: ignore[reportPrivateUsage]
        place = self._places.of(url, _PROVIDER, lambda: place_of(url, _PROVIDER))
        return found, obj(kwargs.get("json")), place

    def _stand_in(self, wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Wrapped | None:
        asked = args[1:]  # the first one is the class of the answers
        if not kwargs.get("stream") or len(asked) < 2 or asked[1] not in ENDPOINTS or not self._gate(client):
            return None
        function, standing_in = wrapped.__func__, _StandIn(client, self)
        return lambda *args, **kwargs: function(standing_in, *args, **kwargs)


class _StandIn:
    """A proxy of the client that replaces its HTTP client."""

    def __init__(self, client: Any, hooks: OllamaHooks) -> None:
        self._observed = client
        self._client = _Http(client, hooks)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._observed, name)


class _Http:
    def __init__(self, client: Any, hooks: OllamaHooks) -> None:
        self._observed_client = client
        self._observed_hooks = hooks

    def stream(self, *args: Any, **kwargs: Any) -> Any:
        client = self._observed_client
        make = client._client.stream  # pyright: ignore[reportPrivateUsage]
        return self._observed_hooks.stream(make, client, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._observed_client._client, name)  # pyright: ignore[reportPrivateUsage]


class OllamaInstrumentor(Integration):
    """Chat, generate and embeddings, sync and async, streamed or not, through clients and the module's functions.

    See `Integration` for the options of `instrument()`.
    """

    library = "ollama"
    requirements = ("ollama >= 0.4",)
    hooked_modules = ("ollama._client",)
    rivals = (openllmetry("ollama", "OllamaInstrumentor"),)

    def _hook(self, module: ModuleType) -> Iterable[Patch]:
        hooks = OllamaHooks(self._recorder, self._lets_through)
        yield patch(module.Client, "_request_raw", hooks.call)
        yield patch(module.AsyncClient, "_request_raw", hooks.call_async)
        yield patch(module.Client, "_request", hooks.request)
        yield patch(module.AsyncClient, "_request", hooks.request)
