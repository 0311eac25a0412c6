"""OpenTelemetry spans for the `ollama` client."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._client_hooks import ClientHooks
from pandaprobe_otel_integrations._endpoint import (
    Attributes,
    Body,
    EmbeddingsEndpoint,
    Endpoint,
    Fields,
    Partly,
    common,
    dimensions,
    each,
    positive,
    question,
)
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import (
    Content,
    Object,
    integer,
    items,
    obj,
    objects,
    string,
)
from pandaprobe_otel_integrations._openai_protocol.chat_messages import tool_definition
from pandaprobe_otel_integrations._other_members import joined, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._patching import OriginalCall, Patch, patch
from pandaprobe_otel_integrations._servers import Places, place_of

__all__ = ["OllamaInstrumentor"]


# -- the calls of Ollama's API: chat, generate and the two forms of embeddings -----------------------------------------

_TEXTS: Final = ("content", "thinking", "response")
_SAID: Final = frozenset({"message", "logprobs", "created_at", "done", *_TEXTS, "tool_calls"})
"""Members of a chunk that are pieces of the answer, or carry no information."""


def _json(wanted: Any) -> str | None:
    return "json" if wanted else None


_OPTIONS: Final[Fields] = {
    **common(
        *("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed"), stop="stop_sequences"
    ),
    "num_predict": (names.MAX_TOKENS, positive),
}
_MESSAGE: Final = frozenset({"role", "content", "thinking", "images", "tool_calls", "tool_name", "name"})
_CALL: Final = frozenset({"id", "function"})
_FUNCTION: Final = frozenset({"name", "arguments", "index"})


def _input_message(message: Object) -> Part:
    role = string(message.get("role")) or "user"
    if role == "tool":
        answered = string(message.get("tool_name")) or string(message.get("name"))
        answer = parts.tool_response(id=answered, response=message.get("content"))
        return with_rest({"role": role, "parts": [answer]}, message, _MESSAGE)
    found = _message_parts(message)
    if "images" in message:
        found += _images(message["images"])
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
        part = parts.tool_call(id=call_id, name=function.get("name"), arguments=arguments or {})
        found.append(with_rest(with_rest(part, function, _FUNCTION), call, _CALL))
    return found


def _images(images: Any) -> Iterable[Part]:
    for image in items(images):
        yield parts.medium(obj(image).get("value", image), "image")


class Chat(Endpoint):
    """A conversation."""

    operation = "chat"
    request = {
        **common("model", "stream"),
        "think": Partly(names.REASONING_LEVEL, string),
        "format": Partly(names.OUTPUT_TYPE, _json),
        "options": _OPTIONS,
    }
    input = {
        "messages": (names.INPUT_MESSAGES, each(_input_message)),
        "tools": (names.TOOL_DEFINITIONS, each(tool_definition)),
    }
    response = {
        "model": (names.RESPONSE_MODEL, string),
        "prompt_eval_count": (names.INPUT_TOKENS, integer),
        "eval_count": (names.OUTPUT_TOKENS, integer),
    }
    empty = (*_SAID, "done_reason", "context")
    chosen = _MESSAGE | {"done_reason", "logprobs"}

    def other_parameters(self, body: Body) -> Content:
        """Return the other parameters. A context consists of token ids, and is shown by its length."""
        context = items(body.get("context"))
        return super().other_parameters({**body, "context": f"[{len(context)} token ids]"} if context else body)

    def choices(self, body: Body) -> list[Object]:
        """Return the message, with the reason and the log probabilities."""
        return [{**self._message(body), "done_reason": body.get("done_reason"), "logprobs": body.get("logprobs")}]

    def finish_reason(self, choice: Object) -> str | None:
        """Return the reason; Ollama has none of its own for tool calls."""
        reason = string(choice.get("done_reason"))
        return "tool_call" if reason == "stop" and objects(choice.get("tool_calls")) else reason

    def output_parts(self, choice: Object) -> list[Part]:
        """Return reasoning, text and calls."""
        return _message_parts(choice)

    def merged(self, events: Iterable[Object]) -> Body:
        """Return the chunks as one answer; the last one has the counts."""
        whole: dict[str, Any] = {}
        said: dict[str, Any] = {}
        for chunk in events:
            whole |= {key: value for key, value in chunk.items() if value is not None and key not in _SAID}
            if probable := chunk.get("logprobs"):
                whole["logprobs"] = [*items(whole.get("logprobs")), *items(probable)]
            piece = obj(chunk.get("message")) or chunk
            for name in (*_TEXTS, "tool_calls"):
                if value := piece.get(name):
                    said[name] = (
                        [*said.get(name, ()), *value] if isinstance(value, list) else joined(said.get(name), value)
                    )
        return {**whole, **said, "message": said}

    def is_output(self, event: Object) -> bool:
        """Return True for every chunk except an error."""
        return "error" not in event

    def _message(self, body: Body) -> Object:
        return obj(body.get("message"))


class Generate(Chat):
    """A prompt and its continuation: the images, the text after the answer, and the system prompt are with it."""

    operation = "text_completion"
    input = {
        "system": (names.SYSTEM_INSTRUCTIONS, parts.texts),
        ("prompt", "suffix", "images"): (names.INPUT_MESSAGES, question(parts.texts, parts.texts, _images)),
    }

    def _message(self, body: Body) -> Object:
        return {"content": body.get("response"), "thinking": body.get("thinking")}


class Embeddings(EmbeddingsEndpoint):
    """Embeddings of one or several texts."""

    request = {
        **common("model"),
        "dimensions": (names.DIMENSION_COUNT, integer),
        "options": {},
    }
    input = {("input", "prompt"): (names.INPUT_MESSAGES, question(parts.texts, parts.texts))}
    response = {
        "model": (names.RESPONSE_MODEL, string),
        ("embeddings", "embedding"): (names.DIMENSION_COUNT, dimensions),
        "prompt_eval_count": (names.INPUT_TOKENS, integer),
    }


_EMBED: Final = Embeddings()
ENDPOINTS: Final[dict[str, Endpoint]] = {
    "/api/chat": Chat(),
    "/api/generate": Generate(),
    "/api/embed": _EMBED,
    "/api/embeddings": _EMBED,
}
"""Endpoints by path."""


# -- hooks on the two functions of an Ollama client that send every request --------------------------------------------

_PROVIDER: Final = "ollama"


class _StandIn:
    """A proxy of the client that replaces its HTTP client."""

    def __init__(self, client: Any, hooks: ClientHooks) -> None:
        self._observed = client
        self._client = _Http(client, hooks)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._observed, name)


class _Http:
    def __init__(self, client: Any, hooks: ClientHooks) -> None:
        self._observed_client = client
        self._observed_hooks = hooks

    def stream(self, *args: Any, **kwargs: Any) -> Any:
        client = self._observed_client
        make = client._client.stream  # pyright: ignore[reportPrivateUsage]
        return self._observed_hooks.stream(OriginalCall(make, client, args, kwargs))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._observed_client._client, name)  # pyright: ignore[reportPrivateUsage]


class OllamaInstrumentor(ClientHooks, Integration):
    """Chat, generate and embeddings, sync and async, streamed or not, through clients and the module's functions.

    See `Integration` for the options of `instrument()`.
    """

    library = "ollama"
    hooked_modules = ("ollama._client",)

    _places = Places()

    def request(self, original: OriginalCall) -> Any:
        """Wrap `_request` of both clients for streams.

        It returns a generator that sends the request when iterated. The generator is the client's own; the HTTP client
        that it uses is ours.
        """
        standing_in = guarded(self._stand_in, original)
        return original() if standing_in is None else original.on(standing_in)

    def find(self, original: OriginalCall) -> Endpoint | None:
        """Return the endpoint by the path; the arguments are method, path and `json`."""
        return ENDPOINTS.get(original.arg(1, "url"))

    def read(self, original: OriginalCall, found: Endpoint) -> tuple[Endpoint, Body, Attributes]:
        """Return the endpoint, the body, and the place by the client's base URL."""
        url = original.owner._client.base_url  # pyright: ignore[reportPrivateUsage]
        place = self._places.of(url, _PROVIDER, lambda: place_of(url, _PROVIDER))
        return found, obj(original.kwargs.get("json")), place

    def _stand_in(self, original: OriginalCall) -> _StandIn | None:
        client, asked = original.owner, original.args[1:]  # the first one is the class of the answers
        if not original.kwargs.get("stream") or len(asked) < 2 or asked[1] not in ENDPOINTS:
            return None
        return _StandIn(client, self) if self._recorder.gate(client) else None

    def _hook(self, module: ModuleType) -> Iterable[Patch]:
        yield patch(module.Client, "_request_raw", self.call)
        yield patch(module.AsyncClient, "_request_raw", self.call_async)
        yield patch(module.Client, "_request", self.request)
        yield patch(module.AsyncClient, "_request", self.request)
