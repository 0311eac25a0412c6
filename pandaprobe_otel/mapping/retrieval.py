"""Queries and documents of retrievers, and texts of embeddings, always without vectors."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel.mapping.clean import vector_marker
from pandaprobe_otel.mapping.content import conversation
from pandaprobe_otel.mapping.exact_types import type_of
from pandaprobe_otel.mapping.values import decoded, first_of, is_absent, number

_TEXT_KEYS: Final = ("page_content", "content", "text", "pageContent", "document")
_VECTOR_KEYS: Final = frozenset({"embedding", "embeddings", "vector", "sparse_embedding", "dense_vector", "values"})
_DOCUMENT_KEYS: Final = (
    _VECTOR_KEYS | set(_TEXT_KEYS) | {"metadata", "meta", "id", "id_", "node_id", "doc_id", "score", "type", "blob"}
)
_LIST_KEYS: Final = ("documents", "nodes", "results", "matches", "docs", "source_nodes")
_QUERY_KEYS: Final = ("query", "query_str", "query_text", "question", "input", "text", "q")
_INPUT_KEYS: Final = ("input", "inputs", "texts", "text", "documents", "contents", "values", "value")
_MIN_VECTOR: Final = 8
_MAX_LEVELS: Final = 64
_NUMBERS: Final = frozenset({int, float})


def documents(value: Any, *, own: bool) -> Any:
    """Return retrieved documents as `[{page_content, metadata, id, score}]`; other values are returned unchanged.

    A value that the app has set itself (`own`) is kept whole, with its documents converted in place.
    """
    value = decoded(value)
    if is_absent(value) and not own:
        return None
    if type_of(value) is dict:
        key = next((key for key in _LIST_KEYS if type_of(value.get(key)) is list), None)
        if key is None:
            return value
        found = [_document(item) for item in value[key]]
        return {**value, key: found} if own and len(value) > 1 else found
    if type_of(value) is not list:
        return value
    return [_document(item) for item in value]


def _document(item: Any) -> Any:
    if type_of(item) is not dict:
        return item
    outer, item = item, _inner(item)
    result: dict[str, Any] = {}
    text = next((item[key] for key in _TEXT_KEYS if not is_absent(item.get(key))), None)
    if text is not None:
        result["page_content"] = text
    metadata = decoded(item.get("metadata", item.get("meta")))
    beside = {key: found for key, found in item.items() if key not in _DOCUMENT_KEYS and found is not None}
    if metadata is None and text is not None:
        metadata, beside = beside, {}  # Haystack flattens a document's metadata into the document
    if not is_absent(metadata):
        result["metadata"] = metadata
    identity = first_of(item, "id", "id_", "node_id", "doc_id")
    if identity is not None:
        result["id"] = identity
    score = number(outer.get("score", item.get("score")))
    if score is not None:
        result["score"] = score
    if outer is item:  # in a wrapper, `beside` may contain the store's own records
        result |= {key: value for key, value in beside.items() if key not in result}
    return result


def _inner(item: Any) -> Any:
    """Return the document inside LlamaIndex's scored nodes and LangChain's constructors."""
    for key in ("node", "document", "kwargs"):
        inner = item.get(key)
        if type_of(inner) is dict and inner:
            return inner
    return item


def query_text(value: Any, *, own: bool) -> Any:
    """Return the query in a retriever's arguments. In a value of the app (`own`), it must be the only argument."""
    if type_of(value) is dict and not (own and len(value) > 1):
        for key in _QUERY_KEYS:
            if type_of(value.get(key)) is str and value[key]:
                return value[key]
    return value


def embedding_input(value: Any, *, own: bool) -> Any:
    """Return the embedded texts, or the whole value if it is the app's (`own`) and contains more than these texts."""
    beside = own and type_of(value) is dict and value.keys() - _INPUT_KEYS
    return without_vectors(value) if beside else embedding_texts(value)


def embedding_texts(value: Any) -> Any:
    """Return the embedded text, or a list of several texts, without vectors."""
    value = decoded(value)
    if is_absent(value):
        return None
    if type_of(value) is dict:
        value = next((value[key] for key in _INPUT_KEYS if not is_absent(value.get(key))), None)
        return embedding_texts(value) if value is not None else None
    if type_of(value) is not list:
        return value
    if value and all(type_of(item) is dict and "role" in item for item in value):
        value = [message.get("content") for message in conversation(value, "input").messages]
    texts = [text for text in map(_embedded_text, value) if text is not None]
    return texts or None


def _embedded_text(item: Any) -> Any:
    if type_of(item) is dict:
        return next((item[key] for key in _TEXT_KEYS if type_of(item.get(key)) is str), None)
    return item if type_of(item) is str else None


# -- vectors, which are never sent ------------------------------------------------------------------------------------


def is_vector(value: list[Any]) -> bool:
    """Return whether the list is an embedding: at least eight items, all of them numbers."""
    return len(value) >= _MIN_VECTOR and all(type_of(item) in _NUMBERS for item in value)


def _is_of_vector(item: Any) -> bool:
    """Return whether the item of a list may be one of a vector; the middle of a long one is cut."""
    return type_of(item) in _NUMBERS or (type_of(item) is str and item.startswith("…[cut "))


def without_vectors(value: Any, level: int = 0) -> Any:
    """Return the value with each list of numbers in it, however short, replaced by a marker."""
    kind = type_of(value)
    if level >= _MAX_LEVELS or kind not in (dict, list):
        return value
    if kind is dict:
        return {key: without_vectors(item, level + 1) for key, item in value.items()}
    if value and type_of(value[0]) in _NUMBERS and all(map(_is_of_vector, value)):
        return vector_marker(len(value))
    return [without_vectors(item, level + 1) for item in value]
