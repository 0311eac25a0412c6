"""`POST /embeddings`. The vectors are never recorded."""

from __future__ import annotations

from base64 import b64decode
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body
from pandaprobe_otel_integrations._shape import integer, items, objects, string, strings
from pandaprobe_otel_integrations._whole import Whole

from .errors import failure_in
from .usage import usage_attributes

_BYTES_PER_NUMBER: Final = 4
"""The client asks for base64 of 32-bit floats unless the app says otherwise."""


class Embeddings(Whole):
    """Embeddings of one or several texts."""

    operation = "embeddings"

    def request_attributes(self, body: Body) -> Attributes:
        """Model, dimensions and encoding."""
        return {
            names.REQUEST_MODEL: string(body.get("model")),
            names.DIMENSION_COUNT: integer(body.get("dimensions")),
            names.ENCODING_FORMATS: strings(body.get("encoding_format")),
        }

    def request_content(self, body: Body) -> Content:
        """The texts."""
        value = body.get("input")
        texts = [value] if isinstance(value, str) else [item for item in items(value) if isinstance(item, str)]
        return {
            names.INPUT_MESSAGES: [{"role": "user", "parts": [parts.text(text) for text in texts]}] if texts else []
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Model, usage and how long the vectors are."""
        usage = usage_attributes(body.get("usage"))
        usage.pop(names.OUTPUT_TOKENS, None)
        vectors = objects(body.get("data"))
        return Answer(
            attributes={
                names.RESPONSE_MODEL: string(body.get("model")),
                names.DIMENSION_COUNT: _dimensions(vectors[0].get("embedding")) if vectors else None,
                **usage,
            },
            failure=failure_in(body.get("error")),
        )


def _dimensions(vector: Any) -> int | None:
    if isinstance(vector, str):
        return len(b64decode(vector)) // _BYTES_PER_NUMBER
    return len(items(vector)) or None
