"""Texts that a client joins over the events of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

Path = tuple[str | int, ...]

_DELTAS: Final = frozenset(
    {
        "arguments", "completion", "content", "delta", "generation", "input", "outputText", "partial_json", "reasoning",
        "reasoning_content", "refusal", "response", "summary", "text", "thinking",
    }
)  # fmt: skip
"""Fields whose texts a client joins over the events of a stream."""


def deltas(content: Any, shared: Path = (), path: Path = ()) -> Iterator[tuple[Path, Path, str]]:
    """Yield the texts of an event that continue texts of earlier events, with their common key, and their path."""
    if isinstance(content, dict):
        mapping = cast("dict[str, Any]", content)
        index: Any = mapping.get("index", mapping.get("contentBlockIndex", mapping.get("output_index")))
        if isinstance(index, int):
            shared = (*shared, index)
        for key, value in mapping.items():
            if isinstance(value, str):
                if key in _DELTAS:
                    yield (*shared, key), (*path, key), value
            else:
                yield from deltas(value, (*shared, key), (*path, key))
    elif isinstance(content, list):
        for place, item in enumerate(cast("Sequence[Any]", content)):
            yield from deltas(item, (*shared, "[]"), (*path, place))
