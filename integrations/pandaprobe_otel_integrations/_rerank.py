"""`POST /rerank`, Cohere's API, which others have copied: a retrieval of the documents that best match a query."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, Final

from pandaprobe_otel_integrations._endpoint import Unstreamed
from pandaprobe_otel_integrations._json import Content, Object, integer, items, obj, objects, string

from . import _names as names
from . import _parts as parts
from ._endpoint import Answer, Attributes, Body
from ._json import to_json
from ._other_members import beside, parameters, rest, told, with_rest
from ._parts import Part

_ANSWERED: Final = frozenset({"id", "model", "object", "results"})
_RESULT: Final = frozenset({"index", "relevance_score", "document"})


class Rerank(Unstreamed):
    """Documents in order of relevance."""

    operation = "retrieval"
    read: Set[str] = frozenset({"model", "query", "documents", "top_n"})

    def request_attributes(self, body: Body) -> Attributes:
        """Return the model and the requested number of documents."""
        return {
            names.REQUEST_MODEL: string(body.get("model")),
            names.RETRIEVAL_TOP_K: integer(body.get("top_n")),
        }

    def request_content(self, body: Body) -> Content:
        """Return the query, and the documents to choose from."""
        said = [_document(one) for one in items(body.get("documents"))]
        return {
            names.RETRIEVAL_QUERY: string(body.get("query")),
            names.INPUT_MESSAGES: [{"role": "user", "parts": said}] if said else [],
            **parameters(body, self.read),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return positions and scores of the chosen documents."""
        content: Content = {}
        if with_content:
            found = [_scored(one) for one in objects(body.get("results"))]
            content = {names.RETRIEVAL_DOCUMENTS: found, **beside(body, _ANSWERED, {})}
        return Answer(attributes={names.RESPONSE_ID: string(body.get("id"))}, content=content)


def _document(document: Any) -> Part:
    if isinstance(document, str):
        return parts.text(document)
    members = obj(document)
    if (text := string(members.get("text"))) is not None:
        return with_rest(parts.text(text), members, {"text"})
    return parts.text(to_json(told(document)))


def _scored(result: Object) -> dict[str, Any]:
    found: dict[str, Any] = {"id": str(result.get("index")), "score": result.get("relevance_score")}
    document = result.get("document")
    if text := string(document) or string(obj(document).get("text")):
        found["content"] = text
    if more := {**rest(obj(document), {"text"}), **rest(result, _RESULT)}:
        found["metadata"] = more
    return found
