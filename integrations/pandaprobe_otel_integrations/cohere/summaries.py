"""Summaries and classes of texts, from the first API, and parsed documents, from the second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body
from pandaprobe_otel_integrations._json import to_json
from pandaprobe_otel_integrations._other_members import beside, parameters, rest, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import Object, obj, objects, string, strings
from pandaprobe_otel_integrations._unstreamed import Unstreamed

from .chat import READ, sampling_attributes
from .usage import COUNTED, finish_reason, usage_attributes

_SUMMARIZED: Final = READ | {"text", "additional_command"}
_CLASSIFIED: Final = frozenset({"model", "inputs"})
_PARSED: Final = frozenset({"model", "document"})
_ADDRESS: Final = frozenset({"url"})
_PAGE: Final = frozenset({"markdown", "type", "index"})
_WRITTEN: Final = frozenset({"content"})
_CLASSES: Final = frozenset({"id", "input", "predictions"})
_ANSWER: Final = frozenset({"id", "finish_reason", "meta", "summary", "classifications", "pages"})


class Summarize(Unstreamed):
    """`POST /v1/summarize`."""

    operation = "text_completion"

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and parameters."""
        return sampling_attributes(body)

    def request_content(self, body: Body) -> Content:
        """Return the text to summarise, and the instructions."""
        how = string(body.get("additional_command"))
        return {
            names.INPUT_MESSAGES: _message("user", [string(body.get("text"))]),
            names.SYSTEM_INSTRUCTIONS: [parts.text(how)] if how else [],
            **parameters(body, _SUMMARIZED),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the summary and the usage."""
        return _answer(body, [string(body.get("summary"))], with_content)


class Classify(Summarize):
    """`POST /v1/classify`."""

    operation = "classification"

    def request_content(self, body: Body) -> Content:
        """Return the texts; examples are among the parameters."""
        return {
            names.INPUT_MESSAGES: _message("user", strings(body.get("inputs")) or []),
            **parameters(body, _CLASSIFIED),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the classes of each text."""
        judged = objects(body.get("classifications"))
        found = [to_json(one.get("predictions") or []) for one in judged]
        more = [rest(one, _CLASSES) for one in judged]
        return _answer({**body, "details": more if any(more) else None}, found, with_content)


class Parse(Summarize):
    """`POST /v2/parse`: a picture of a document, as text."""

    operation = "generate_content"

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
        pages = [_page(page) for page in objects(body.get("pages"))]
        return _answer(body, pages, with_content)


def _page(page: Object) -> Part:
    written = page.get("markdown")
    text = string(written) or string(obj(written).get("content"))
    if text is None:
        return parts.text(to_json(page))
    return with_rest(with_rest(parts.text(text), obj(written), _WRITTEN), page, _PAGE)


def _answer(body: Body, texts: Sequence[Part | str | None], with_content: bool) -> Answer:
    reason = finish_reason(body.get("finish_reason"))
    return Answer(
        attributes={
            names.RESPONSE_ID: string(body.get("id")),
            names.FINISH_REASONS: [reason] if reason is not None else None,
            **usage_attributes(body.get("meta")),
        },
        content={names.OUTPUT_MESSAGES: _message("assistant", texts), **beside(body, _ANSWER, COUNTED, "meta")}
        if with_content
        else {},
    )


def _message(role: str, texts: Sequence[Part | str | None]) -> list[Part]:
    found = [parts.text(text) if isinstance(text, str) else text for text in texts if text]
    return [{"role": role, "parts": found}] if found else []
