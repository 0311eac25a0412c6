"""The functions of litellm that call a model, and how to read their arguments and results.

For every provider, litellm uses OpenAI's format: arguments are a request of its API, results an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pandaprobe_otel_integrations._endpoint import Body, Endpoint
from pandaprobe_otel_integrations._openai_protocol.audio import Speech, Transcription
from pandaprobe_otel_integrations._openai_protocol.embeddings import Embeddings
from pandaprobe_otel_integrations._openai_protocol.images import Images
from pandaprobe_otel_integrations._openai_protocol.other_services import (
    ForeignChatCompletions,
    ForeignCompletions,
    ForeignResponses,
)
from pandaprobe_otel_integrations._openai_protocol.uploads import with_files
from pandaprobe_otel_integrations._rerank import Rerank
from pandaprobe_otel_integrations._shape import items, obj


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function: its operation, the reader of its results, and the names of its positional arguments."""

    endpoint: Endpoint
    places: tuple[str, ...]
    stream_in: Callable[[Any], Any]
    """Returns the stream that a result is, or contains; None for an answer in one piece."""
    answer_of: Callable[[Any], Body]
    chunk_of: Callable[[Any], Body]
    is_everywhere: bool = True
    """True if every supported version has it in this module."""

    def request(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Body:
        """Return the arguments as a request."""
        given = {**dict(zip(self.places, args, strict=False)), **kwargs}
        return with_files(given, {"file": given["file"]}) if "file" in given else given


def _chat_stream(result: Any) -> Any:
    # Answers are pydantic models, in which a missing attribute takes long to look up; streams are not.
    if hasattr(result, "model_dump") or not hasattr(result, "completion_stream"):
        return None
    # A stream of a text completion contains a stream of a chat.
    return result.completion_stream if hasattr(result.completion_stream, "chunks") else result


def _response_stream(result: Any) -> Any:
    return result if hasattr(result, "__next__") or hasattr(result, "__anext__") else None


def _no_stream(result: Any) -> Any:
    return None


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


_CHAT: Final = Function(
    endpoint=ForeignChatCompletions(),
    places=("model", "messages"),
    stream_in=_chat_stream,
    answer_of=_answer_of,
    chunk_of=_chunk_of,
)
_TEXT: Final = replace(_CHAT, endpoint=ForeignCompletions(), places=("prompt", "model"))
_EMBEDDING: Final = replace(_CHAT, endpoint=Embeddings(), places=("model", "input"), stream_in=_no_stream)
_RESPONSES: Final = Function(
    endpoint=ForeignResponses(),
    places=("input", "model"),
    stream_in=_response_stream,
    answer_of=obj,
    chunk_of=obj,
)
_IMAGES: Final = replace(
    _CHAT,
    endpoint=Images(),
    places=("prompt", "model"),
    stream_in=_no_stream,
    answer_of=_pictures_of,
    is_everywhere=False,
)
_EDITS: Final = replace(_IMAGES, places=("image", "prompt", "model"))
_TRANSCRIPTION: Final = replace(_IMAGES, endpoint=Transcription(), places=("model", "file"))
_SPEECH: Final = replace(_IMAGES, endpoint=Speech(), places=("model", "input", "voice"), answer_of=_sound_of)
_RERANK: Final = Function(
    endpoint=Rerank(), places=("model", "query", "documents"), stream_in=_no_stream, answer_of=obj, chunk_of=obj
)
FUNCTIONS: Final[Mapping[str, Mapping[str, Function]]] = {
    "litellm.main": {
        "completion": _CHAT,
        "acompletion": _CHAT,
        "text_completion": _TEXT,
        "atext_completion": _TEXT,
        "embedding": _EMBEDDING,
        "aembedding": _EMBEDDING,
        "transcription": _TRANSCRIPTION,
        "atranscription": _TRANSCRIPTION,
        "speech": _SPEECH,
        "aspeech": _SPEECH,
    },
    "litellm.images.main": {
        "image_generation": _IMAGES,
        "aimage_generation": _IMAGES,
        "image_edit": _EDITS,
        "aimage_edit": _EDITS,
    },
    "litellm.responses.main": {"responses": _RESPONSES, "aresponses": _RESPONSES},
    "litellm.rerank_api.main": {"rerank": _RERANK, "arerank": _RERANK},
}
"""Functions by module and name. Names that start with an `a` are asynchronous."""
STREAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "litellm.litellm_core_utils.streaming_handler": ("CustomStreamWrapper",),
    "litellm.text_completions.streaming_iterator": ("TextCompletionStreamWrapper",),
    "litellm.responses.streaming_iterator": ("SyncResponsesAPIStreamingIterator", "ResponsesAPIStreamingIterator"),
    "litellm.responses.litellm_completion_transformation.streaming_iterator": ("LiteLLMCompletionStreamingIterator",),
}
"""Classes of streams by module."""
