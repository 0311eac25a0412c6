"""`POST /embeddings`. The vectors are never recorded."""

from __future__ import annotations

from base64 import b64decode
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body
from pandaprobe_otel_integrations._other_members import beside, parameters, told
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import integer, items, objects, string, strings
from pandaprobe_otel_integrations._unstreamed import Unstreamed

from .body_errors import failure_in
from .usage import COUNTED, usage_attributes

_READ: Final = frozenset({"model", "input", "dimensions", "encoding_format"})
_ANSWERED: Final = frozenset({"model", "object", "usage", "data", "error"})
_BYTES_PER_NUMBER: Final = 4
"""Size of a number in base64: the client asks for 32-bit floats unless the app sets another format."""


class Embeddings(Unstreamed):
    """Embeddings of one or several texts."""

    operation = "embeddings"

    def request_attributes(self, body: Body) -> Attributes:
        """Return model, dimensions and encoding."""
        return {
            names.REQUEST_MODEL: string(body.get("model")),
            names.DIMENSION_COUNT: integer(body.get("dimensions")),
            names.ENCODING_FORMATS: strings(body.get("encoding_format")),
        }

    def request_content(self, body: Body) -> Content:
        """Return the texts."""
        value = body.get("input")
        given = [value] if isinstance(value, str) or _is_tokens(value) else items(value)
        found = [_part(one) for one in given]
        return {
            names.INPUT_MESSAGES: [{"role": "user", "parts": found}] if found else [],
            **parameters(body, _READ),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return model, usage and the length of the vectors."""
        usage = usage_attributes(body.get("usage"))
        usage.pop(names.OUTPUT_TOKENS, None)
        vectors = objects(body.get("data"))
        return Answer(
            attributes={
                names.RESPONSE_MODEL: string(body.get("model")),
                names.DIMENSION_COUNT: _dimensions(vectors[0].get("embedding")) if vectors else None,
                **usage,
            },
            content=beside(body, _ANSWERED, COUNTED) if with_content else {},
            failure=failure_in(body.get("error")),
        )


def _is_tokens(value: Any) -> bool:
    return any(isinstance(one, int) for one in items(value)[:1])


def _part(given: Any) -> Part:
    if isinstance(given, str):
        return parts.text(given)
    return parts.text(f"[{len(items(given))} token ids]") if _is_tokens(given) else told(given)


def _dimensions(vector: Any) -> int | None:
    if isinstance(vector, str):
        return len(b64decode(vector)) // _BYTES_PER_NUMBER
    return len(items(vector)) or None
