"""Embeddings of texts and pictures, and parsed documents. Vectors are never recorded."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import Attributes, Body, DescribedEndpoint, Service
from pandaprobe_otel_integrations._json import Object, integer, items, obj, objects, string, strings, to_json
from pandaprobe_otel_integrations._openai_protocol.chat_messages import content_parts
from pandaprobe_otel_integrations._other_members import with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations.cohere.chat import COUNTED, finish_reason, usage_attributes

_ADDRESS: Final = frozenset({"url"})
_PAGE: Final = frozenset({"markdown", "type", "index"})
_WRITTEN: Final = frozenset({"content"})


def _embedded(texts: Any, images: Any, inputs: Any) -> list[Part]:
    found = [parts.text(text) for text in strings(texts) or []]
    found += [parts.media(image, "image") for image in strings(images) or []]
    return parts.user_message(found + [part for one in objects(inputs) for part in content_parts(one.get("content"))])


def _dimensions(embeddings: Any) -> int | None:
    """Return the length of the first vector, in the first encoding that has one number per dimension."""
    if vectors := items(embeddings):
        return len(items(vectors[0])) or None
    by_type = obj(embeddings)
    return next((_dimensions(by_type[name]) for name in ("float", "int8", "uint8") if by_type.get(name)), None)


def _input_usage(meta: Any) -> Attributes:
    return {name: count for name, count in usage_attributes(meta).items() if name != names.OUTPUT_TOKENS}


class Embed(DescribedEndpoint):
    """`POST /embed` of both versions: texts, or inputs with images."""

    operation = "embeddings"
    service = Service(usage=_input_usage, counted=COUNTED, member="meta")
    request = {
        "model": (names.REQUEST_MODEL, string),
        "output_dimension": (names.DIMENSION_COUNT, integer),
        "embedding_types": (names.ENCODING_FORMATS, strings),
    }
    input = {("texts", "images", "inputs"): (names.INPUT_MESSAGES, _embedded)}
    response = {"id": (names.RESPONSE_ID, string), "embeddings": (names.DIMENSION_COUNT, _dimensions)}
    empty = ("response_type", "texts", "images", "inputs")


def _picture(document: Any) -> list[Part]:
    given = obj(document).get("image_url")
    url = string(given) or string(obj(given).get("url"))
    return parts.user_message([with_rest(parts.media(url, "image"), obj(given), _ADDRESS)] if url else [])


def _pages(pages: Any) -> list[Part]:
    found = [_page(page) for page in objects(pages)]
    return [{"role": "assistant", "parts": found}] if found else []


def _page(page: Object) -> Part:
    written = page.get("markdown")
    text = string(written) or string(obj(written).get("content"))
    if text is None:
        return parts.text(to_json(page))
    return with_rest(with_rest(parts.text(text), obj(written), _WRITTEN), page, _PAGE)


class Parse(DescribedEndpoint):
    """`POST /v2/parse`: a picture of a document, as the text of its pages, or as their blocks."""

    operation = "generate_content"
    service = Service(usage=usage_attributes, counted=COUNTED, member="meta")
    request = {"model": (names.REQUEST_MODEL, string)}
    input = {"document": (names.INPUT_MESSAGES, _picture)}
    response = {"id": (names.RESPONSE_ID, string)}
    output = {"pages": (names.OUTPUT_MESSAGES, _pages)}
    empty = ("finish_reason",)

    def finish_reason(self, body: Body) -> str | None:
        """Return the reason in the conventions' words."""
        return finish_reason(body.get("finish_reason"))
