"""`InvokeModel` and its stream: the model's name, or else the members of the body, determine the body's format."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import a2b_base64
from collections.abc import Iterable, Sequence
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import (
    Answer,
    Attributes,
    Body,
    EmbeddingsEndpoint,
    Endpoint,
    Partly,
    dimensions,
    question,
    true,
)
from pandaprobe_otel_integrations._json import (
    Content,
    Object,
    from_json,
    integer,
    number,
    obj,
    objects,
    string,
    strings,
)
from pandaprobe_otel_integrations._openai_protocol.endpoints import ForeignChatCompletions
from pandaprobe_otel_integrations._other_members import with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._rerank import Rerank
from pandaprobe_otel_integrations._streams import ndjson
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Blocks, Event, Events
from pandaprobe_otel_integrations._streams.text_runs import Growth, joined
from pandaprobe_otel_integrations.anthropic.messages import Messages
from pandaprobe_otel_integrations.bedrock.converse import (
    METRICS,
    TEXTS,
    Converse,
    merged_events,
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
_RESULT: Final = frozenset({"text", "stop_reason"})


def _first(*limits: Any) -> int | None:
    return next((limit for one in limits if (limit := integer(one)) is not None), None)


def _top_p(older: Any, newer: Any) -> float | None:
    return number(older if older is not None else newer)


def _results(body: Object) -> list[Object]:
    return next((found for name in _LISTS if (found := objects(body.get(name)))), [body])


def _text(result: Object) -> str:
    return next((text for name in _TEXTS if (text := string(result.get(name)))), "")


def _reason(result: Object) -> str | None:
    return next((reason.lower() for name in _REASONS if (reason := string(result.get(name)))), None)


class Prompt(Endpoint):
    """A prompt and its continuation, by Llama and by older models of Mistral and DeepSeek.

    It also reads the bodies of unknown models: their members are kept as parameters, and with the other data.
    """

    operation = "text_completion"
    request = {
        "model": (names.REQUEST_MODEL, string),
        "stream": (names.STREAM, true),
        ("max_tokens", "max_gen_len", "maxOutputTokens"): (names.MAX_TOKENS, _first),
        "temperature": (names.TEMPERATURE, number),
        ("top_p", "topP"): (names.TOP_P, _top_p),
        "top_k": (names.TOP_K, number),
        "stop": (names.STOP_SEQUENCES, strings),
    }
    input = {("prompt", "inputPrompt"): (names.INPUT_MESSAGES, question(parts.texts, parts.texts))}
    response = {
        "id": (names.RESPONSE_ID, string),
        "prompt_token_count": (names.INPUT_TOKENS, integer),
        "generation_token_count": (names.OUTPUT_TOKENS, integer),
    }
    empty = (*_LISTS, *_TEXTS, *_REASONS, "prompt", METRICS)

    def finish_reason(self, body: Body) -> str | None:
        """Return the reason of the first answer."""
        return _reason(_results(body)[0])

    def response_content(self, body: Body, reason: str | None) -> Content:
        """Return the texts and the other data."""
        messages = [
            with_rest(message, result, _RESULT) if result is not body else message
            for result in _results(body)
            for message in parts.answer_message(parts.texts(_text(result)), _reason(result))
        ]
        return {names.OUTPUT_MESSAGES: messages, **self.other_data(body)}

    def merged(self, events: Events) -> Body:
        """Return the chunks as one answer: each has a piece of the text, and the last ones have the other members."""
        texts: list[str] = []
        whole: dict[str, Any] = {}
        for event in events.items:
            chunk = obj(event.data)
            result = _results(chunk)[0]
            texts.append(_text(result))
            whole.update((name, value) for one in (chunk, result) for name, value in one.items() if value is not None)
        return {**{name: value for name, value in whole.items() if name not in _LISTS}, _TEXTS[0]: "".join(texts)}

    def is_output(self, event: Event) -> bool:
        """Return True: every chunk is output."""
        return True


_METRICS_NAME: Final = METRICS.encode()
_HEAD: Final = re.compile(rb'event: chunk\ndata: \{"bytes":\s*"')
_TAIL: Final = re.compile(rb'"(?:,\s*"p":\s*"[0-9A-Za-z]*")?\s*\}')
"""The text behind a chunk, with its padding."""
_ERROR: Final = LastEvent(hint=b"Exception", mark=re.compile(rb"^event: \w+Exception\n"))


class Invocation(Endpoint):
    """A call with a body in the model's own format. Bedrock's additions are the same for all: errors and counts."""

    last_event = _ERROR

    def __init__(self, model: Endpoint) -> None:
        self.model = model
        self.operation = model.operation

    def request_attributes(self, body: Body) -> Attributes:
        """Return the attributes that the model's reader finds."""
        return self.model.request_attributes(body)

    def request_content(self, body: Body) -> Content:
        """Return the content that the model's reader finds."""
        return self.model.request_content(body)

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the model's answer, with Bedrock's counts if the answer has none."""
        answer = self.model.answer(body, with_content=with_content)
        if METRICS in body:
            for name, count in usage_attributes(body[METRICS]).items():
                if answer.attributes.get(name) is None:
                    answer.attributes[name] = count
        return answer

    def merged(self, events: Events) -> Body:
        """Return the model's chunks as one answer."""
        found = _Inside(events)
        chunks = joined(ndjson.parse(found.lines()), self.model.growing)
        return {**self.model.merged(chunks), **found.beside()}

    def is_output(self, event: Event) -> bool:
        """Return whether the chunk is output, as decided by the model's reader."""
        chunk = _chunk(event)
        return chunk is not None and self.model.is_output(chunk)


def _chunk(event: Event) -> Event | None:
    """Return the model's chunk inside an event of the stream."""
    data = string(obj(event.data).get("bytes"))
    return Event(None, from_json(b64decode(data)), event.ends_at) if data is not None else None


class _Inside:
    """The content of a stream's events: the model's chunks, as JSON, and Bedrock's own messages."""

    def __init__(self, events: Events) -> None:
        self._chunks: list[bytes] = []
        self._error: Object | None = None
        if events.blocks is not None:
            self._add(events.blocks)

    def _add(self, blocks: Blocks) -> None:
        chunks = self._chunks
        for block in blocks.split():
            head = _HEAD.match(block)
            if head is not None:
                start = head.end()
                end = block.find(b'"', start)
                if block.find(b"\\", start, end) < 0 and _TAIL.fullmatch(block, end) is not None:
                    chunks.append(a2b_base64(block[start:end]))
                    continue
            event = blocks.read(block)
            if event is not None:
                self._read(event)

    def _read(self, event: Event) -> None:
        data = obj(event.data)
        if (carried := string(data.get("bytes"))) is not None:
            self._chunks.append(a2b_base64(carried))
        elif self._error is None and (event.name or "").endswith("Exception"):
            self._error = {"type": event.name, "message": data.get("message")}

    def lines(self) -> bytes:
        """Return the chunks, each on its own line; line breaks in JSON are only white space."""
        lines = b"\n".join(self._chunks)
        if lines.count(b"\n") < len(self._chunks):
            return lines
        return b"\n".join([chunk.replace(b"\n", b" ") for chunk in self._chunks])

    def beside(self) -> dict[str, Any]:
        """Return the counts, which are in one of the chunks, and an error."""
        told = [chunk for chunk in self._chunks if chunk.find(_METRICS_NAME) >= 0]
        metered = (obj(obj(from_json(chunk)).get(METRICS)) for chunk in told)
        counts = next((found for found in metered if found), None)
        return {METRICS: counts} if self._error is None else {METRICS: counts, "error": self._error}


class Nova(Converse):
    """Amazon's Nova: the bodies of the Converse API. A chunk contains the name of its event."""

    growing = Growth("contentBlockDelta", "delta", texts=TEXTS)

    def merged(self, events: Events) -> Body:
        """Return the chunks as one answer."""
        return merged_events(pair for event in events.items for pair in _named(event))

    def is_output(self, event: Event) -> bool:
        """Return whether the event is the first content."""
        return any(name in ("contentBlockStart", "contentBlockDelta") for name, _ in _named(event))


def _named(event: Event) -> Iterable[tuple[str, Object]]:
    return [(name, obj(value)) for name, value in obj(event.data).items() if isinstance(value, dict)]


class Chat(ForeignChatCompletions):
    """OpenAI's protocol as Mistral, OpenAI's open models and others implement it here."""

    empty = (*ForeignChatCompletions.empty, METRICS)

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the answer like OpenAI's; some models have a `stop_reason` in place of a finish reason."""
        choices = [_choice(choice) for choice in objects(body.get("choices"))]
        return super().answer({**body, "choices": choices}, with_content=with_content)

    def merged(self, events: Events) -> Body:
        """Return the merged chunks; some models have a `message` in place of a delta."""
        chunks: list[Event] = []
        for event in events.items:
            data = obj(event.data)
            choices = [_delta(_choice(choice)) for choice in objects(data.get("choices"))]
            chunks.append(Event(event.name, {**data, "choices": choices}, event.ends_at))
        return super().merged(Events(chunks))


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
        "model": (names.REQUEST_MODEL, string),
        ("dimensions", "output_dimension"): (names.DIMENSION_COUNT, _first),
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


_EMBED: Final = Invocation(Embeddings())
_RERANK: Final = Invocation(BedrockRerank())
_NOVA: Final = Invocation(Nova())
_INVOCATIONS: Final[Sequence[tuple[str, str, Invocation]]] = (
    ("embed", "", _EMBED),
    ("rerank", "", _RERANK),
    ("", "anthropic_version", Invocation(Messages())),
    ("cohere.", "messages", Invocation(CohereChat())),
    ("amazon.nova", "messages", _NOVA),
    ("", "schemaVersion", _NOVA),
    ("", "inferenceConfig", _NOVA),
    ("", "messages", Invocation(Chat())),
    ("", "message", Invocation(ChatV1())),
    ("", "query", _RERANK),
    ("", "inputText", _EMBED),
    ("", "texts", _EMBED),
    ("", "", Invocation(Prompt())),
)
"""Readers by a piece of the model's identifier and a member of the request: the first row with both counts.

Provisioned, imported and newer models have identifiers without a telling name.
"""


def invocation(model_id: str, body: Body) -> Invocation:
    """Return the reader of requests to this model and their answers."""
    return next(found for piece, member, found in _INVOCATIONS if piece in model_id and (not member or member in body))
