"""The shape of a span - the names of its attributes - decides once which rows can say anything about it.

Emitters repeat themselves: a process makes spans of a few dozen shapes. So the tables of all dialects are searched
once per shape, and a span only costs the rows that its own attributes answer (three quarters of the time of
mapping went into looking for attributes that were not there).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pandaprobe_otel.mapping.custom import is_custom
from pandaprobe_otel.mapping.dialects import DIALECTS
from pandaprobe_otel.mapping.exact import type_of
from pandaprobe_otel.mapping.table import (
    CONTENT_FIELDS,
    CONTEXT_FIELDS,
    MERGED_FIELDS,
    RANKED_FIELDS,
    EventRow,
    Form,
    KindRule,
    Row,
)
from pandaprobe_otel.mapping.values import usable
from pandaprobe_otel.mapping.view import SpanView

Source: TypeAlias = "str | tuple[tuple[str, tuple[str, ...]], ...] | EventRow"
"""An attribute's name, or the members of a family with their paths below its prefix, or a row of events."""

_MAX_SHAPES: Final = 1024
_MAX_CACHED_KEYS: Final = 256
_LATE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Candidate:
    """One source of content and how to read it."""

    form: Form
    source: Source
    convert: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """What the tables say about spans with one set of attribute names."""

    first: tuple[tuple[str, tuple[tuple[Source, Callable[[Any], Any]], ...]], ...]
    """Fields with their sources in order of precedence."""
    merged: tuple[tuple[str, Source, Callable[[Any], Any]], ...]
    contents: Mapping[str, tuple[Candidate, ...]]
    metadata: tuple[tuple[str, str], ...]
    """(field, key in the metadata) of every `metadata.*` field in `first`."""
    events: tuple[tuple[str, EventRow], ...]
    """Fields, other than content, that come from events."""
    kind_rules: tuple[tuple[str, KindRule], ...]
    genai: bool
    """Whether an attribute shows that the span is about GenAI work."""
    custom: tuple[str, ...]
    """Names of attributes that belong to no vocabulary: what the app itself has set."""

    def read(self, view: SpanView) -> dict[str, Any]:
        """Return the value of every field, content left out."""
        attributes = view.attributes
        found: dict[str, Any] = {}
        for field, sources in self.first:
            for source, convert in sources:
                value = convert(attributes[source] if type(source) is str else _tree(attributes, source))
                if value is not None:
                    found[field] = value
                    break
        for field, source, convert in self.merged:
            value = convert(attributes[source] if type(source) is str else _tree(attributes, source))
            if value:
                _merge(found, field, value)
        for field, row in self.events:
            value = _event_value(row, view)
            if value is not None:
                found.setdefault(field, value)
        return found


def shape_of(view: SpanView) -> Shape:
    """Return the shape of the view, from the cache if one like it was seen before."""
    events = any(event.name != "exception" for event in view.events) if view.events else False
    key = (events, *view.attributes)
    shape = _SHAPES.get(key)
    if shape is None:
        shape = _compile(view.attributes, events)
        if len(key) <= _MAX_CACHED_KEYS:
            if len(_SHAPES) >= _MAX_SHAPES:
                _SHAPES.clear()
            _SHAPES[key] = shape
    return shape


_SHAPES: Final[dict[tuple[Any, ...], Shape]] = {}


def content_value(candidate: Candidate, view: SpanView) -> Any:
    """Return what a candidate holds, None if it cannot be used."""
    source = candidate.source
    if type(source) is str:
        return candidate.convert(view.attributes[source])
    if type(source) is EventRow:
        return _event_value(source, view)
    return candidate.convert(_tree(view.attributes, source))


def _event_value(row: EventRow, view: SpanView) -> Any:
    events = [event for event in view.events if event.name in row.names]
    return row.convert(events, view) if events else None


def _tree(attributes: Mapping[str, Any], members: Any) -> dict[str, Any]:
    """Return the members of a family as a tree of dicts, by the segments of their names."""
    root: dict[str, Any] = {}
    for key, path in members:
        node: dict[str, Any] = root
        for segment in path[:-1]:
            if type_of(node.get(segment)) is not dict:
                node[segment] = {}
            node = node[segment]
        node[path[-1]] = attributes[key]
    return root


def _merge(found: dict[str, Any], field: str, value: Any) -> None:
    if type_of(value) is list:
        known = found.setdefault(field, [])
        known.extend(item for item in value if item not in known)
        return
    known = found.setdefault(field, {})
    for key, item in value.items():
        known.setdefault(key, item)


# -- compiling --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entry:
    order: int
    row: Row | EventRow
    family: str = ""


def _index() -> tuple[dict[str, list[_Entry]], list[_Entry], list[_Entry]]:
    """Return the rows of all dialects by attribute name, those of families, and those of events."""
    exact: dict[str, list[_Entry]] = defaultdict(list)
    families: list[_Entry] = []
    events: list[_Entry] = []
    order = 0
    for dialect in DIALECTS:
        for row in dialect.rows:
            for source in row.sources:
                order += 1
                rank = order + (_LATE if row.late else 0)
                if source.endswith(".*"):
                    families.append(_Entry(rank, row, source[:-1]))
                else:
                    exact[source].append(_Entry(rank, row))
        for event_row in dialect.events:
            order += 1
            events.append(_Entry(order + (_LATE if event_row.late else 0), event_row))
    return exact, families, events


_EXACT, _FAMILIES, _EVENTS = _index()
_KIND_RULES: Final = sorted(
    ((rule.attribute, rule) for dialect in DIALECTS for rule in dialect.kinds if rule.attribute),
    key=lambda pair: not pair[1].states,
)
_NAMESPACES: Final = tuple(namespace for dialect in DIALECTS for namespace in dialect.namespaces)
_CONTEXT_KEYS: Final = frozenset(
    source
    for dialect in DIALECTS
    for row in dialect.rows
    if row.field in CONTEXT_FIELDS
    for source in row.sources
    if not source.endswith("*")
)
_CONTEXT_FAMILIES: Final = tuple(
    source[:-1]
    for dialect in DIALECTS
    for row in dialect.rows
    if row.field in CONTEXT_FIELDS
    for source in row.sources
    if source.endswith(".*")
)


def _compile(attributes: Mapping[str, Any], events: bool) -> Shape:
    by_field: dict[str, list[tuple[int, Form, Source, Callable[..., Any]]]] = defaultdict(list)
    members: dict[int, list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
    for key in attributes:
        for entry in _EXACT.get(key, ()):
            by_field[entry.row.field].append((entry.order, entry.row.form, key, entry.row.convert or usable))
        for index, entry in enumerate(_FAMILIES):
            if key.startswith(entry.family):
                members[index].append((key, tuple(key[len(entry.family) :].split("."))))
    for index, keys in members.items():
        entry = _FAMILIES[index]
        by_field[entry.row.field].append((entry.order, entry.row.form, tuple(keys), entry.row.convert or usable))
    for entry in _EVENTS if events else ():
        if isinstance(entry.row, EventRow):
            by_field[entry.row.field].append((entry.order, entry.row.form, entry.row, entry.row.convert))
    for candidates in by_field.values():
        candidates.sort(key=lambda candidate: candidate[0])
    return _assembled(by_field, attributes)


def _assembled(
    by_field: Mapping[str, list[tuple[int, Form, Source, Callable[..., Any]]]], attributes: Mapping[str, Any]
) -> Shape:
    known = {source for rows in by_field.values() for _, _, source, _ in rows if type(source) is str}
    first: list[tuple[str, tuple[tuple[Source, Callable[[Any], Any]], ...]]] = []
    merged: list[tuple[str, Source, Callable[[Any], Any]]] = []
    contents: dict[str, tuple[Candidate, ...]] = {}
    events: list[tuple[str, EventRow]] = []
    for field, candidates in by_field.items():
        if field in CONTENT_FIELDS:
            contents[field] = tuple(Candidate(form, source, convert) for _, form, source, convert in candidates)
        elif field in MERGED_FIELDS:
            merged.extend((field, source, convert) for _, _, source, convert in candidates)
        elif field in RANKED_FIELDS:
            first.append((field, tuple((source, _ranked(order, convert)) for order, _, source, convert in candidates)))
        else:
            events.extend((field, source) for _, _, source, _ in candidates if type(source) is EventRow)
            sources = tuple((source, convert) for _, _, source, convert in candidates if type(source) is not EventRow)
            if sources:
                first.append((field, sources))
    return Shape(
        first=tuple(first),
        merged=tuple(merged),
        contents=contents,
        metadata=tuple((field, field[9:]) for field, _ in first if field.startswith("metadata.")),
        events=tuple(events),
        kind_rules=tuple((key, rule) for key, rule in _KIND_RULES if key in attributes),
        genai=any(_shows_genai(key) for key in attributes),
        custom=tuple(key for key in attributes if is_custom(key) and key not in known),
    )


def _ranked(order: int, convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def with_rank(value: Any) -> tuple[int, Any] | None:
        value = convert(value)
        return None if value is None else (order, value)

    return with_rank


def _shows_genai(key: str) -> bool:
    return key.startswith(_NAMESPACES) and key not in _CONTEXT_KEYS and not key.startswith(_CONTEXT_FAMILIES)
