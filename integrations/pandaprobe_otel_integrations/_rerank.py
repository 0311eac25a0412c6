"""`POST /rerank`, Cohere's API, which others have copied: a retrieval of the documents that best match a query."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel_integrations._endpoint import Endpoint, common
from pandaprobe_otel_integrations._json import Object, integer, items, obj, objects, string, to_json

from . import _names as names
from . import _parts as parts
from ._other_members import rest, told, with_rest
from ._parts import Part

_RESULT: Final = frozenset({"index", "relevance_score", "document"})


def _documents(documents: Any) -> list[Part]:
    return parts.user_message([_document(one) for one in items(documents)])


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


def _found(results: Any) -> list[dict[str, Any]]:
    return [_scored(one) for one in objects(results)]


class Rerank(Endpoint):
    """Documents in order of relevance."""

    operation = "retrieval"
    request = {**common("model"), "top_n": (names.RETRIEVAL_TOP_K, integer)}
    input = {"query": (names.RETRIEVAL_QUERY, string), "documents": (names.INPUT_MESSAGES, _documents)}
    response = {"id": (names.RESPONSE_ID, string)}
    output = {"results": (names.RETRIEVAL_DOCUMENTS, _found)}
    empty = ("model", "object")
