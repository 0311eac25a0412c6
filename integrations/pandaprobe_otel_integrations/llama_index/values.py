"""Values of LlamaIndex as plain data: the inputs and results of workflows and their steps.

LlamaIndex is not imported: a class is recognised by the names of its bases.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from inspect import isasyncgen, isawaitable, isgenerator
from typing import Any, Final

from pandaprobe_otel_integrations._shape import items, obj

from .messages import messages_of

_OF_LLAMA_INDEX: Final = ("llama_index.", "workflows")
_LEAVES: Final = (str, int, float, bool, bytes)
_MAX_DEPTH: Final = 12
"""Depth below which values are shown as text."""


def event_in(arguments: Mapping[str, Any]) -> Any:
    """Return the event that a step gets, under any argument name; several collected events as a list."""
    collected: Any = None
    for value in arguments.values():
        if "Event" in _bases(value):
            return value
        if isinstance(value, list) and value and "Event" in _bases(value[0]):
            collected = items(value)
    return collected


def names_of(event: Any) -> str | list[str]:
    """Return the classes of one event or of several."""
    return [str(type(each).__name__) for each in items(event)] if isinstance(event, list) else type(event).__name__


def fields_of(event: Any) -> Any:
    """Return the fields of an event, including undeclared ones; for several events, a list with the fields of each."""
    if isinstance(event, list):
        return [fields_of(each) for each in items(event)]
    return _plain_object(_items(event), 0)


def result_of(event: Any) -> Any:
    """Return the result of a workflow: that of a `StopEvent`, otherwise the fields of the app's own event."""
    told = fields_of(event) if "Event" in _bases(event) else plain(event)
    return told["result"] if isinstance(told, dict) and told.keys() == {"result"} else told  # pyright: ignore[reportUnknownVariableType]


def plain(value: Any, depth: int = 0) -> Any:
    """Return messages with parts, nodes as documents, models and data classes by fields, and components by name."""
    if value is None or isinstance(value, _LEAVES):
        return value
    if depth > _MAX_DEPTH:
        return str(value)
    if isinstance(value, Mapping):
        return _plain_object(obj(value).items(), depth)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each, depth + 1) for each in value]  # pyright: ignore[reportUnknownVariableType]
    bases = _bases(value)
    if "ChatMessage" in bases:
        return messages_of([value])[0]
    if "NodeWithScore" in bases or "BaseNode" in bases:
        return document(value)
    if "BaseComponent" in bases:
        return f"<{type(value).__name__}>"  # models and indexes: no data, and they contain keys
    if _model_fields(value) is not None or _is_data_class(value):
        return _plain_object(_items(value), depth)
    return value


def document(found: Any) -> dict[str, Any]:
    """Return a node from a search, with its text, its score and its metadata."""
    node = getattr(found, "node", found)
    told = {"id": node.node_id, "content": node.get_content(), "score": getattr(found, "score", None)}
    return {**told, "metadata": plain(node.metadata)} if getattr(node, "metadata", None) else told


def is_injected(value: Any) -> bool:
    """Return whether the framework passes this to a function itself: the context of the workflow."""
    return "Context" in _bases(value)


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    names = [each.name for each in fields(value)] if _is_data_class(value) else [*_model_fields(value)]
    found = ((name, getattr(value, name, None)) for name in names)
    yield from ((name, field) for name, field in found if field is not None)
    yield from (getattr(value, "_data", None) or {}).items()
    result = getattr(value, "_result", None)
    if result is not None:
        yield "result", result


def _model_fields(value: Any) -> Any:
    kind: Any = value.__class__
    return getattr(kind, "model_fields", None)


def _is_data_class(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, type)


def _plain_object(pairs: Iterable[tuple[Any, Any]], depth: int) -> dict[str, Any]:
    return {str(key): plain(value, depth + 1) for key, value in pairs if not _is_work(value)}


def _is_work(value: Any) -> bool:
    """Return whether this is an operation in progress and not data: an unread stream, a context."""
    return isgenerator(value) or isasyncgen(value) or isawaitable(value) or is_injected(value)


def _bases(value: Any) -> set[str]:
    return {base.__name__ for base in type(value).__mro__ if base.__module__.startswith(_OF_LLAMA_INDEX)}
