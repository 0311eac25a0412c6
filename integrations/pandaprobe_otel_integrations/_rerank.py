"""`POST /rerank`, which Cohere's API has and others copied: the documents that fit a query best, a retrieval."""

from __future__ import annotations

from typing import Any

from . import _names as names
from . import _parts as parts
from ._content import Content
from ._endpoint import Answer, Attributes, Body
from ._shape import Object, integer, items, obj, objects, string
from ._whole import Whole


class Rerank(Whole):
    """Documents in the order of how they fit."""

    operation = "retrieval"

    def request_attributes(self, body: Body) -> Attributes:
        """Model and how many documents are wanted."""
        return {
            names.REQUEST_MODEL: string(body.get("model")),
            names.RETRIEVAL_TOP_K: integer(body.get("top_n")),
        }

    def request_content(self, body: Body) -> Content:
        """The query, and the documents to choose from."""
        said = [parts.text(_document(one)) for one in items(body.get("documents"))]
        return {
            names.RETRIEVAL_QUERY: string(body.get("query")),
            names.INPUT_MESSAGES: [{"role": "user", "parts": said}] if said else [],
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Places and scores of the documents that were chosen."""
        content: Content = {}
        if with_content:
            content = {names.RETRIEVAL_DOCUMENTS: [_scored(one) for one in objects(body.get("results"))]}
        return Answer(attributes={names.RESPONSE_ID: string(body.get("id"))}, content=content)


def _document(document: Any) -> str:
    return document if isinstance(document, str) else string(obj(document).get("text")) or str(document)


def _scored(result: Object) -> dict[str, Any]:
    found: dict[str, Any] = {"id": str(result.get("index")), "score": result.get("relevance_score")}
    if text := string(obj(result.get("document")).get("text")):
        found["content"] = text
    return found
