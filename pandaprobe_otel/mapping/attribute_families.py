"""Families of indexed or nested attributes (such as `llm.input_messages.3.message.role`), as trees of dicts."""

from __future__ import annotations

from typing import Any

from pandaprobe_otel.mapping.exact_types import type_of


def items(tree: Any) -> list[Any]:
    """Return the members of an indexed tree in numeric order; gaps and a start at 1 are allowed."""
    if type_of(tree) is not dict:
        return []
    numbered = [(int(key), item) for key, item in tree.items() if key.isascii() and key.isdigit() and len(key) < 10]
    return [item for _, item in sorted(numbered, key=lambda pair: pair[0])]


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of a tree by their dotted names below the family's prefix."""
    leaves: dict[str, Any] = {}
    for key, item in tree.items():
        if type_of(item) is dict and item:
            leaves.update(flat(item, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = item
    return leaves
