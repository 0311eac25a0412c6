"""`InvokeModel` and its stream: the model's name, or else the members of the body, determine the body's format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import (
    Attributes,
    Body,
    EmbeddingsEndpoint,
    Endpoint,
    Partly,
    common,
    dimensions,
    first_integer,
    question,
)
from pandaprobe_otel_integrations._json import (
    Object,
    integer,
    number,
    obj,
    objects,
    string,
)
from pandaprobe_otel_integrations._openai_protocol.endpoints import ForeignChatCompletions
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._rerank import Rerank
from pandaprobe_otel_integrations._spans import present
from pandaprobe_otel_integrations.anthropic.messages import Messages
from pandaprobe_otel_integrations.bedrock.converse import (
    METRICS,
    Converse,
    usage_attributes,
)
from pandaprobe_otel_integrations.cohere.chat import EMBEDDED, pictures
from pandaprobe_otel_integrations.cohere.chat import Chat as CohereChat
from pandaprobe_otel_integrations.cohere.chat_v1 import ChatV1

# -- bodies of models that continue a prompt with text. Each family has its own names for the same members -------------

_LISTS: Final = ("outputs", "choices")
"""Members with a list of answers; otherwise, the body itself is the answer."""
_TEXTS: Final = ("generation", "text", "message")
_REASONS: Final = ("stop_reason", "finishReason")
_RESULT: Final = frozenset({*_TEXTS, *_REASONS})


def _top_p(older: Any, newer: Any) -> float | None:
    return number(older if older is not None else newer)


def _results(body: Object) -> list[Object]:
    """Return the list of answers; without one, the body's own members of an answer."""
    own = {name: value for name, value in body.items() if name in _RESULT}
    return next((found for name in _LISTS if (found := objects(body.get(name)))), [own])


def _text(result: Object) -> str:
    return next((text for name in _TEXTS if (text := string(result.get(name)))), "")


class Prompt(Endpoint):
    """A prompt and its continuation, by Llama and by older models of Mistral and DeepSeek.

    It also reads the bodies of unknown models: their members are kept as parameters, and with the other data.
    """

    operation = "text_completion"
    request = {
        **common("model", "stream", "temperature", "top_k", stop="stop_sequences"),
        ("max_tokens", "max_gen_len", "maxOutputTokens"): (names.MAX_TOKENS, first_integer),
        ("top_p", "topP"): (names.TOP_P, _top_p),
    }
    input = {("prompt", "inputPrompt"): (names.INPUT_MESSAGES, question(parts.texts, parts.texts))}
    response = {
        "id": (names.RESPONSE_ID, string),
        "prompt_token_count": (names.INPUT_TOKENS, integer),
        "generation_token_count": (names.OUTPUT_TOKENS, integer),
    }
    empty = (*_LISTS, *_RESULT, "prompt", METRICS)
    chosen = _RESULT

    def choices(self, body: Body) -> list[Object]:
        """Return the answers."""
        return _results(body)

    def finish_reason(self, choice: Object) -> str | None:
        """Return the reason, in lower case."""
        return next((reason.lower() for name in _REASONS if (reason := string(choice.get(name)))), None)

    def output_parts(self, choice: Object) -> list[Part]:
        """Return the text."""
        return parts.texts(_text(choice))

    def merged(self, events: Iterable[Object]) -> Body:
        """Return the chunks as one answer: each has a piece of the text, and the last ones have the other members."""
        texts: list[str] = []
        whole: dict[str, Any] = {}
        for chunk in events:
            result = _results(chunk)[0]
            texts.append(_text(result))
            whole.update((name, value) for one in (chunk, result) for name, value in one.items() if value is not None)
        return {**{name: value for name, value in whole.items() if name not in _LISTS}, _TEXTS[0]: "".join(texts)}

    def is_output(self, event: Object) -> bool:
        """Return True: every chunk is output."""
        return True


class _Invoked(Endpoint):
    """A call with a body in the model's own format. Bedrock's additions are the same for all: errors and counts."""

    def response_attributes(self, body: Body) -> Attributes:
        """Return the model's attributes, with Bedrock's counts if the answer has none."""
        return {**usage_attributes(body.get(METRICS)), **present(super().response_attributes(body))}

    def merged(self, events: Iterable[Object]) -> Body:
        """Return the model's chunks as one answer. One of them has the counts, and an error is beside them."""
        found: dict[str, Any] = {METRICS: None}

        def chunks() -> Iterator[Object]:
            for event in events:
                if event.get("type") == "error":
                    found.setdefault("error", event.get("error"))
                    continue
                found[METRICS] = found[METRICS] or event.get(METRICS)
                yield event

        return {**super().merged(chunks()), **found}


def _invoked(model: type[Endpoint]) -> Endpoint:
    kind: type[Endpoint] = type(model.__name__, (_Invoked, model), {})
    return kind()


class Chat(ForeignChatCompletions):
    """OpenAI's protocol as Mistral, OpenAI's open models and others implement it here."""

    empty = (*ForeignChatCompletions.empty, METRICS)

    def choices(self, body: Body) -> list[Object]:
        """Return the choices; some models have a `stop_reason` in place of a finish reason."""
        return [*map(_choice, super().choices(body))]

    def merged(self, events: Iterable[Object]) -> Body:
        """Return the merged chunks; some models have a `message` in place of a delta."""
        return super().merged(
            {**chunk, "choices": [_delta(_choice(choice)) for choice in objects(chunk.get("choices"))]}
            for chunk in events
        )


def _choice(choice: Object) -> Object:
    return choice if choice.get("finish_reason") else {**choice, "finish_reason": choice.get("stop_reason")}


def _delta(choice: Object) -> Object:
    return choice if "delta" in choice else {**choice, "delta": choice.get("message")}


class BedrockRerank(Rerank):
    """Documents in order of relevance, by Cohere's and Amazon's models."""

    elsewhere = ("stream",)


def _nova_texts(given: Any) -> list[Part]:
    return parts.texts(obj(obj(given).get("text")).get("value"))


_EMBEDDED: Final = {"inputText": parts.texts, "inputImage": pictures, **EMBEDDED}


class Embeddings(EmbeddingsEndpoint):
    """Embeddings of Amazon's and Cohere's models."""

    request = {
        **common("model"),
        ("dimensions", "output_dimension"): (names.DIMENSION_COUNT, first_integer),
    }
    input = {
        (*_EMBEDDED, "singleEmbeddingParams"): Partly(names.INPUT_MESSAGES, question(*_EMBEDDED.values(), _nova_texts))
    }
    elsewhere = (*_EMBEDDED, "stream")
    response = {
        ("embedding", "embeddings"): (names.DIMENSION_COUNT, dimensions),
        "inputTextTokenCount": (names.INPUT_TOKENS, integer),
    }
    empty = ("id", "embeddingsByType", "data", "texts", "images", "response_type", METRICS)


_EMBED: Final = _invoked(Embeddings)
_RERANK: Final = _invoked(BedrockRerank)
_NOVA: Final = _invoked(Converse)
_INVOCATIONS: Final[Sequence[tuple[str, str, Endpoint]]] = (
    ("embed", "", _EMBED),
    ("rerank", "", _RERANK),
    ("", "anthropic_version", _invoked(Messages)),
    ("cohere.", "messages", _invoked(CohereChat)),
    ("amazon.nova", "messages", _NOVA),
    ("", "schemaVersion", _NOVA),
    ("", "inferenceConfig", _NOVA),
    ("", "messages", _invoked(Chat)),
    ("", "message", _invoked(ChatV1)),
    ("", "query", _RERANK),
    ("", "inputText", _EMBED),
    ("", "texts", _EMBED),
    ("", "", _invoked(Prompt)),
)
"""Readers by a piece of the model's identifier and a member of the request: the first row with both counts.

Provisioned, imported and newer models have identifiers without a telling name.
"""


def invocation(model_id: str, body: Body) -> Endpoint:
    """Return the reader of requests to this model and their answers."""
    return next(found for piece, member, found in _INVOCATIONS if piece in model_id and (not member or member in body))
