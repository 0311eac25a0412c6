"""Generation from a prompt, embeddings and reranking. Vectors are never recorded."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body
from pandaprobe_otel_integrations._openai_protocol.chat_messages import content_parts
from pandaprobe_otel_integrations._other_members import beside, parameters, with_rest
from pandaprobe_otel_integrations._parts import UNFINISHED, Part
from pandaprobe_otel_integrations._shape import integer, items, obj, objects, string, strings
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events, last_data

from .chat import READ, sampling_attributes
from .usage import COUNTED, finish_reason, usage_attributes

_READ: Final = READ | {"prompt", "num_generations"}
_ANSWER: Final = frozenset({"id", "prompt", "generations", "meta"})
_GENERATION: Final = frozenset({"id", "index", "text", "finish_reason"})
_EMBEDDED: Final = frozenset({"model", "texts", "images", "inputs", "output_dimension", "embedding_types"})
_VECTORS: Final = frozenset({"id", "response_type", "embeddings", "texts", "images", "inputs", "meta"})


class Generate:
    """`POST /v1/generate`: text in and text out. This API is older than chats."""

    operation = "text_completion"
    last_event: LastEvent | None = None

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and parameters."""
        count = integer(body.get("num_generations"))
        return {**sampling_attributes(body), names.CHOICE_COUNT: count if count is not None and count > 1 else None}

    def request_content(self, body: Body) -> Content:
        """Return the prompt."""
        return {names.INPUT_MESSAGES: _texts_message(strings(body.get("prompt")) or []), **parameters(body, _READ)}

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return every generation, and the usage."""
        found = objects(body.get("generations"))
        reasons = [reason for one in found if (reason := finish_reason(one.get("finish_reason"))) is not None]
        attributes: Attributes = {
            names.RESPONSE_ID: string(body.get("id")),
            names.FINISH_REASONS: reasons or None,
            **usage_attributes(body.get("meta")),
        }
        content: Content = {}
        if with_content:
            messages = [_generated(one) for one in found if string(one.get("text"))]
            content = {names.OUTPUT_MESSAGES: messages, **beside(body, _ANSWER, COUNTED, "meta")}
        return Answer(attributes=attributes, content=content)

    def merged(self, events: Events) -> Body:
        """Return the answer in the last line, or the merged pieces of each generation if it is missing."""
        texts: dict[int, str] = {}
        for event in (obj(event.data) for event in events.items):
            if event.get("is_finished") is True and (response := obj(event.get("response"))):
                return response
            index = integer(event.get("index")) or 0
            texts[index] = texts.get(index, "") + (string(event.get("text")) or "")
        return {"generations": [{"text": texts[index]} for index in sorted(texts)]}

    def is_output(self, event: Event) -> bool:
        """Return whether the event is the first text."""
        return string(obj(event.data).get("text")) is not None


class Embed:
    """`POST /embed` of both versions: texts, or inputs with images."""

    operation = "embeddings"
    last_event: LastEvent | None = None

    def request_attributes(self, body: Body) -> Attributes:
        """Return model, dimensions and encodings."""
        return {
            names.REQUEST_MODEL: string(body.get("model")),
            names.DIMENSION_COUNT: integer(body.get("output_dimension")),
            names.ENCODING_FORMATS: strings(body.get("embedding_types")),
        }

    def request_content(self, body: Body) -> Content:
        """Return the texts; images by their size and digest."""
        found = [parts.text(text) for text in strings(body.get("texts")) or []]
        found += [parts.media(image, "image") for image in strings(body.get("images")) or []]
        found += [part for one in objects(body.get("inputs")) for part in content_parts(one.get("content"))]
        return {
            names.INPUT_MESSAGES: [{"role": "user", "parts": found}] if found else [],
            **parameters(body, _EMBEDDED),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return usage and the length of the vectors."""
        usage = usage_attributes(body.get("meta"))
        usage.pop(names.OUTPUT_TOKENS, None)
        return Answer(
            attributes={
                names.RESPONSE_ID: string(body.get("id")),
                names.DIMENSION_COUNT: _dimensions(body.get("embeddings")),
                **usage,
            },
            content=beside(body, _VECTORS, COUNTED, "meta") if with_content else {},
        )

    def merged(self, events: Events) -> Body:
        """Return nothing: embeddings are not streamed."""
        return obj(last_data(events))

    def is_output(self, event: Event) -> bool:
        """Return False: embeddings are not streamed."""
        return False


def _texts_message(texts: list[str]) -> list[Part]:
    return [{"role": "user", "parts": [parts.text(text) for text in texts]}] if texts else []


def _generated(generation: Any) -> Part:
    reason = finish_reason(generation.get("finish_reason")) or UNFINISHED
    message: Part = {"role": "assistant", "parts": [parts.text(str(generation["text"]))], "finish_reason": reason}
    return with_rest(message, generation, _GENERATION)


def _dimensions(embeddings: Any) -> int | None:
    """Return the length of the first vector, in the first encoding that has one number per dimension."""
    if vectors := items(embeddings):
        return len(items(vectors[0])) or None
    by_type = obj(embeddings)
    return next((_dimensions(by_type[name]) for name in ("float", "int8", "uint8") if by_type.get(name)), None)
