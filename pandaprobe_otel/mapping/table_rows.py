"""Table rows for which a shape of spans has attributes, and a function that fills fields from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from pandaprobe_otel.mapping.dialect_table import EventRow
from pandaprobe_otel.mapping.unread_attributes import left_out
from pandaprobe_otel.mapping.values import is_absent

Members: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]
"""Attributes of a family, each with the segments of its name after the family's prefix."""

Source: TypeAlias = str | Members | EventRow
"""Name of an attribute, members of a family, or a row of events."""

AnsweredRow: TypeAlias = tuple[str, Source, Callable[[Any], Any]]
"""(name, source, converter)."""

Rows: TypeAlias = tuple[AnsweredRow, ...]
"""Rows in order of precedence; the first usable value for a name wins."""


def fill(found: dict[str, Any], rows: Rows, attributes: Mapping[str, Any], unusable: list[str]) -> None:
    """Set each unset name to the first usable value of its rows; add unusable attributes to `unusable`."""
    for name, source, convert in rows:
        if name not in found:
            value = convert(attributes[source] if type(source) is str else tree(attributes, source))
            if value is not None:
                found[name] = value
            elif type(source) is str and _says_more(source, attributes[source]):
                unusable.append(source)


def _says_more(source: str, value: Any) -> bool:
    """Return whether an unused attribute is kept; False if its name is left out, or its value is absent or default."""
    return left_out(source) is None and not is_absent(value) and not (source == _CHOICES and value == 1)


_CHOICES: Final = "gen_ai.request.choice.count"


def tree(attributes: Mapping[str, Any], members: Any) -> dict[str, Any]:
    """Return the members of a family as a tree of dicts, by the segments of their names."""
    root: dict[str, Any] = {}
    for key, path in members:
        node: dict[str, Any] = root
        for segment in path[:-1]:
            if type(node.get(segment)) is not dict:
                node[segment] = {}
            node = node[segment]
        node[path[-1]] = attributes[key]
    return root
