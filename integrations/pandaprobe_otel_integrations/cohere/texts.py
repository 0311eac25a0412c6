"""Embeddings of texts and pictures, and parsed documents. Vectors are never recorded."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body, Unstreamed
from pandaprobe_otel_integrations._json import Content, Object, integer, items, obj, objects, string, strings, to_json
from pandaprobe_otel_integrations._openai_protocol.chat_messages import content_parts
from pandaprobe_otel_integrations._other_members import beside, parameters, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations.cohere.chat import COUNTED, finish_reason, usage_attributes

_EMBEDDED: Final = frozenset({"model", "texts", "images", "inputs", "output_dimension", "embedding_types"})
_VECTORS: Final = frozenset({"id", "response_type", "embeddings", "texts", "images", "inputs", "meta"})
_PARSED: Final = frozenset({"model", "document"})
_ADDRESS: Final = frozenset({"url"})
_PAGE: Final = frozenset({"markdown", "type", "index"})
_WRITTEN: Final = frozenset({"content"})
_ANSWER: Final = frozenset({"id", "finish_reason", "meta", "pages"})


class Embed(Unstreamed):
    """`POST /embed` of both versions: texts, or inputs with images."""

    operation = "embeddings"

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


def _dimensions(embeddings: Any) -> int | None:
    """Return the length of the first vector, in the first encoding that has one number per dimension."""
    if vectors := items(embeddings):
        return len(items(vectors[0])) or None
    by_type = obj(embeddings)
    return next((_dimensions(by_type[name]) for name in ("float", "int8", "uint8") if by_type.get(name)), None)


class Parse(Unstreamed):
    """`POST /v2/parse`: a picture of a document, as text."""

    operation = "generate_content"

    def request_attributes(self, body: Body) -> Attributes:
        """Return the model."""
        return {names.REQUEST_MODEL: string(body.get("model"))}

    def request_content(self, body: Body) -> Content:
        """Return the picture by its address, or by size and hash."""
        given = obj(body.get("document")).get("image_url")
        url = string(given) or string(obj(given).get("url"))
        picture = with_rest(parts.media(url, "image"), obj(given), _ADDRESS) if url else None
        return {
            names.INPUT_MESSAGES: [{"role": "user", "parts": [picture]}] if picture else [],
            **parameters(body, _PARSED),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return each page: its text, or its blocks."""
        reason = finish_reason(body.get("finish_reason"))
        content: Content = {}
        if with_content:
            pages = [_page(page) for page in objects(body.get("pages"))]
            messages = [{"role": "assistant", "parts": pages}] if pages else []
            content = {names.OUTPUT_MESSAGES: messages, **beside(body, _ANSWER, COUNTED, "meta")}
        return Answer(
            attributes={
                names.RESPONSE_ID: string(body.get("id")),
                names.FINISH_REASONS: [reason] if reason is not None else None,
                **usage_attributes(body.get("meta")),
            },
            content=content,
        )


def _page(page: Object) -> Part:
    written = page.get("markdown")
    text = string(written) or string(obj(written).get("content"))
    if text is None:
        return parts.text(to_json(page))
    return with_rest(with_rest(parts.text(text), obj(written), _WRITTEN), page, _PAGE)
