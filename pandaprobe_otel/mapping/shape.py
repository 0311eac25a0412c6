"""The shape of a span - the names of its attributes - decides once which rows can say anything about it.

Emitters repeat themselves: a process makes spans of a few dozen shapes. So the tables of all dialects are searched
once per shape, and a span only costs the rows that its own attributes answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pandaprobe_otel.mapping.exact import type_of
from pandaprobe_otel.mapping.table import EventRow, Form, KindRule
from pandaprobe_otel.mapping.view import SpanView

Members: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]
"""The attributes of a family, each with the segments of its name below the family's prefix."""

Source: TypeAlias = "str | Members | EventRow"
"""An attribute's name, the members of a family, or a row of events."""

Rows: TypeAlias = tuple[tuple[str, Source, Callable[[Any], Any]], ...]
"""(name, source, converter) in order of precedence; the first usable value of a name counts."""

_MAX_SHAPES: Final = 1024
_MAX_CACHED_KEYS: Final = 256


@dataclass(frozen=True, slots=True)
class Candidate:
    """One source of content and how to read it."""

    form: Form
    source: Source
    convert: Callable[..., Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the tables say about spans with one set of attribute names."""

    fields: Rows
    metadata: Rows
    """By their keys in the metadata."""
    parameters: Rows
    """By the names of model parameters."""
    usage: Rows
    """By the names of counters."""
    aggregated: Rows
    """Counters that the emitter calls a sum."""
    merged: Rows
    """Rows of fields to which every source contributes."""
    events: tuple[tuple[str, EventRow], ...]
    """Fields, other than content, that come from events."""
    contents: Mapping[str, tuple[Candidate, ...]]
    kind_rules: tuple[tuple[str, KindRule], ...]
    has_context: bool
    """Whether a field of the trace (session, tags, ...) may come from such a span."""
    genai: bool
    """Whether an attribute shows that the span is about GenAI work."""
    custom: tuple[str, ...]
    """Names of attributes that belong to no vocabulary: what the app itself has set."""

    def read(self, view: SpanView) -> dict[str, Any]:
        """Return the value of every field but those of the groups metadata, parameters, usage and content."""
        found: dict[str, Any] = {}
        attributes = view.attributes
        fill(found, self.fields, attributes)
        for field, source, convert in self.merged:
            value = convert(attributes[source] if type(source) is str else _tree(attributes, source))
            if value:
                _merge(found, field, value)
        for field, row in self.events:
            value = _event_value(row, view)
            if value is not None:
                found.setdefault(field, value)
        return found


NO_SHAPE: Final = Shape(
    fields=(),
    metadata=(),
    parameters=(),
    usage=(),
    aggregated=(),
    merged=(),
    events=(),
    contents={},
    kind_rules=(),
    has_context=False,
    genai=False,
    custom=(),
)
"""What is said about a span whose attributes cannot be read."""


def fill(found: dict[str, Any], rows: Rows, attributes: Mapping[str, Any]) -> None:
    """Set each name that is not set yet to the first usable value of its rows."""
    for name, source, convert in rows:
        if name not in found:
            value = convert(attributes[source] if type(source) is str else _tree(attributes, source))
            if value is not None:
                found[name] = value


def shape_of(view: SpanView) -> Shape:
    """Return the shape of the view, from the cache if one like it was seen before."""
    events = any(event.name != "exception" for event in view.events) if view.events else False
    key = (events, *view.attributes)
    shape = _SHAPES.get(key)
    if shape is None:
        from pandaprobe_otel.mapping.shape_compiler import compiled  # here, since it needs the types above

        shape = compiled(view.attributes, events)
        if len(key) <= _MAX_CACHED_KEYS:
            if len(_SHAPES) >= _MAX_SHAPES:
                _SHAPES.clear()
            _SHAPES[key] = shape
    return shape


_SHAPES: Final[dict[tuple[Any, ...], Shape]] = {}


def content_value(candidate: Candidate, view: SpanView) -> Any:
    """Return what a candidate holds; the value may say nothing."""
    source, convert = candidate.source, candidate.convert
    if type(source) is str:
        value = view.attributes[source]
    elif type(source) is EventRow:
        return _event_value(source, view)
    else:
        value = _tree(view.attributes, source)
    return value if convert is None else convert(value)


def _event_value(row: EventRow, view: SpanView) -> Any:
    events = [event for event in view.events if event.name in row.names]
    return row.convert(events, view) if events else None


def _tree(attributes: Mapping[str, Any], members: Any) -> dict[str, Any]:
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


def _merge(found: dict[str, Any], field: str, value: Any) -> None:
    if type_of(value) is list:
        known: list[Any] = found.setdefault(field, [])
        known.extend(item for item in value if item not in known)
        return
    bag: dict[str, Any] = found.setdefault(field, {})
    for key, item in value.items():
        bag.setdefault(key, item)
