"""Embeddings, which are never sent: a marker replaces them."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel.mapping.exact_types import type_of

_MIN_VECTOR: Final = 8
_MAX_LEVELS: Final = 64
_NUMBERS: Final = frozenset({int, float})


def is_vector(value: list[Any]) -> bool:
    """Return whether the list is an embedding: at least eight items, all of them numbers."""
    return len(value) >= _MIN_VECTOR and all(type_of(item) in _NUMBERS for item in value)


def vector_marker(value: list[Any]) -> str:
    """Return the marker that replaces an embedding."""
    return f"[vector of {len(value)} numbers]"


def without_vectors(value: Any, level: int = 0) -> Any:
    """Return the value with each list of numbers in it, however short, replaced by a marker."""
    kind = type_of(value)
    if level >= _MAX_LEVELS or kind not in (dict, list):
        return value
    if kind is dict:
        return {key: without_vectors(item, level + 1) for key, item in value.items()}
    if value and all(type_of(item) in _NUMBERS for item in value):
        return vector_marker(value)
    return [without_vectors(item, level + 1) for item in value]
