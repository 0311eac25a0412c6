"""The functions of litellm that call a model, and how their arguments and results read.

Whatever the provider, litellm speaks OpenAI's words: arguments are a request of its API, results an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel_integrations._endpoint import Body, Endpoint
from pandaprobe_otel_integrations._openai_protocol.embeddings import Embeddings
from pandaprobe_otel_integrations._openai_protocol.foreign import ForeignChatCompletions, ForeignCompletions
from pandaprobe_otel_integrations._shape import items, obj


@dataclass(frozen=True, slots=True)
class Function:
    """One function: what it does, and the names of the arguments that are passed by place."""

    endpoint: Endpoint
    places: tuple[str, ...]

    def request(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as a request."""
        return {**dict(zip(self.places, args, strict=False)), **kwargs}


_CHAT: Final = Function(ForeignChatCompletions(), ("model", "messages"))
_TEXT: Final = Function(ForeignCompletions(), ("prompt", "model"))
_EMBEDDING: Final = Function(Embeddings(), ("model", "input"))
FUNCTIONS: Final = {
    "completion": _CHAT,
    "acompletion": _CHAT,
    "text_completion": _TEXT,
    "atext_completion": _TEXT,
    "embedding": _EMBEDDING,
    "aembedding": _EMBEDDING,
}
"""By name. Those that begin with an `a` are asynchronous."""


def answer_of(result: Any) -> Body:
    """A result as an answer of OpenAI's API. Of many vectors only the first is looked at."""
    data = items(getattr(result, "data", None))
    if data:
        return {"model": getattr(result, "model", None), "usage": _usage(result), "data": data[:1]}
    return obj(result)


def chunk_of(chunk: Any) -> Body:
    """A chunk as one of OpenAI's API. Only what is read of it is taken, since there are many."""
    found: dict[str, Any] = {"id": getattr(chunk, "id", None), "model": getattr(chunk, "model", None)}
    if (usage := getattr(chunk, "usage", None)) is not None:
        found["usage"] = obj(usage)
    if tier := getattr(chunk, "service_tier", None):
        found["service_tier"] = tier
    found["choices"] = [_choice(choice) for choice in getattr(chunk, "choices", None) or ()]
    return found


def _choice(choice: Any) -> dict[str, Any]:
    delta = getattr(choice, "delta", None)
    if delta is None:
        return {"index": choice.index, "text": getattr(choice, "text", None), "finish_reason": choice.finish_reason}
    said = {name: value for name in _SAID if (value := getattr(delta, name, None))}
    if calls := getattr(delta, "tool_calls", None):
        said["tool_calls"] = [obj(call) for call in calls]
    return {"index": choice.index, "delta": said, "finish_reason": choice.finish_reason}


_SAID: Final = ("role", "content", "reasoning_content", "refusal", "function_call", "audio")


def _usage(result: Any) -> Body:
    return obj(getattr(result, "usage", None))
