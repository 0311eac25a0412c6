"""`POST /ocr`: text recognition of a document, page by page."""

from __future__ import annotations

from typing import Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body
from pandaprobe_otel_integrations._openai_protocol.body_errors import failure_in
from pandaprobe_otel_integrations._other_members import beside, parameters, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import Object, obj, objects, string
from pandaprobe_otel_integrations._unstreamed import Unstreamed

_READ: Final = frozenset({"model", "document", "document_annotation_prompt"})
_PAGE: Final = frozenset({"markdown"})
_ANSWER: Final = frozenset({"model", "pages", "document_annotation", "error"})


class Documents(Unstreamed):
    """A document. Its cost is counted in pages, which are not tokens."""

    operation = "generate_content"

    def request_attributes(self, body: Body) -> Attributes:
        """Return the model."""
        return {names.REQUEST_MODEL: string(body.get("model")), names.OUTPUT_TYPE: "text"}

    def request_content(self, body: Body) -> Content:
        """Return the document by its address, or by size and hash, and the question about it."""
        said = [*_document(obj(body.get("document")))]
        if prompt := string(body.get("document_annotation_prompt")):
            said.append(parts.text(prompt))
        return {names.INPUT_MESSAGES: [{"role": "user", "parts": said}] if said else [], **parameters(body, _READ)}

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the text of each page."""
        pages = [
            with_rest(parts.text(text), page, _PAGE)
            for page in objects(body.get("pages"))
            if (text := string(page.get("markdown")))
        ]
        if annotation := string(body.get("document_annotation")):
            pages.append(parts.text(annotation))
        message = {"role": "assistant", "parts": pages, "finish_reason": "stop"}
        return Answer(
            attributes={names.RESPONSE_MODEL: string(body.get("model"))},
            content={names.OUTPUT_MESSAGES: [message] if pages else [], **beside(body, _ANSWER, {})}
            if with_content
            else {},
            failure=failure_in(body.get("error")),
        )


def _document(document: Object) -> list[Part]:
    if file_id := string(document.get("file_id")):
        return [parts.file_reference(file_id, "document")]
    for kind, modality in (("document_url", "document"), ("image_url", "image")):
        given = document.get(kind)
        if url := string(given) or string(obj(given).get("url")):
            return [parts.media(url, modality)]
    return []
