"""Plan for one shape: the rows to look up in the tables of all dialects. Plans are kept, and found by the shape."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, TypeAlias, cast

from pandaprobe_otel.mapping.attribute_shape import Candidate, OwnTexts, Shape
from pandaprobe_otel.mapping.content import ENVELOPE_MARKS, MARKS, RESULT_MARKS
from pandaprobe_otel.mapping.dialect_table import (
    CONTENT_FIELDS,
    CONTEXT_FIELDS,
    FIRST_TOKENS,
    GROUPS,
    MERGED_FIELDS,
    NAMES,
    NUMBERS,
    OUTCOMES,
    RANKED_FIELDS,
    EventRow,
    KindRule,
    Row,
)
from pandaprobe_otel.mapping.dialects.otel_genai import (
    finish_reasons,
    milliseconds,
    model,
    provider,
    seconds,
    unknown_operation,
)
from pandaprobe_otel.mapping.exact_types import type_of
from pandaprobe_otel.mapping.kind_names import other_kind
from pandaprobe_otel.mapping.messages import joined
from pandaprobe_otel.mapping.parameters import choices, simple, whole
from pandaprobe_otel.mapping.precedence import DIALECTS
from pandaprobe_otel.mapping.span_view import KNOWN_SHAPES, Shapes, SpanView
from pandaprobe_otel.mapping.status import LEAVING
from pandaprobe_otel.mapping.table_rows import ATTRIBUTES, AnsweredRow, CachedRows, Members, Rows, Source
from pandaprobe_otel.mapping.unread_attributes import left_out
from pandaprobe_otel.mapping.usage import total
from pandaprobe_otel.mapping.values import (
    comma_separated,
    count,
    decoded,
    flat,
    mapping,
    scalar,
    structure,
    text,
    texts,
    unquoted,
    usable,
)

_FAITHFUL: Final[frozenset[Any]] = frozenset(
    {
        choices, comma_separated, count, decoded, finish_reasons, flat, mapping, milliseconds, model, other_kind,
        provider, scalar, seconds, simple, structure, text, texts, total, unknown_operation, unquoted, usable, whole,
    }
)  # fmt: skip
"""Converters that take the whole value or nothing."""

_WHOLE: Final[frozenset[Any]] = frozenset({None, decoded, joined, scalar, structure, text, usable})
"""Converters that take all of the content."""

_LATE: Final = 1 << 20
_SCALARS: Final = frozenset({str, int, bool, float})

_WITH_EVENTS: Final[Shapes] = {}
"""Shapes of views with events, in addition to `KNOWN_SHAPES`."""

_NONE: Final[dict[tuple[type[Any], ...], Any]] = {}
_MAX_SHAPES: Final = 1024
_MAX_NAMES: Final = 256
"""Largest number of attributes of a view whose shape is remembered."""


_Entry: TypeAlias = tuple[int, Row, str]
"""Rank of a row among all rows, the row, and the prefix of the names if its source is a family."""


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Row for which the shape has an attribute."""

    rank: int
    row: Row | EventRow
    source: Source
    convert: Callable[..., Any]


def _index() -> tuple[dict[str, list[_Entry]], dict[str, list[_Entry]], list[tuple[int, EventRow]]]:
    """Return all rows: by attribute name, of families by the first segment of their names, and of events."""
    exact: dict[str, list[_Entry]] = defaultdict(list)
    families: dict[str, list[_Entry]] = defaultdict(list)
    events: list[tuple[int, EventRow]] = []
    rank = 0
    for dialect in DIALECTS:
        for row in dialect.rows:
            for source in row.sources:
                rank += 1
                entry_rank = rank + (_LATE if row.late else 0)
                if source.endswith(".*"):
                    families[source.partition(".")[0]].append((entry_rank, row, source[:-1]))
                else:
                    exact[source].append((entry_rank, row, ""))
        for event_row in dialect.events:
            rank += 1
            events.append((rank + (_LATE if event_row.late else 0), event_row))
    return exact, families, events


_EXACT, _FAMILIES, _EVENTS = _index()
# A stable sort: rules that state the kind come first; the others stay in the order of the dialects.
_KIND_RULES: Final = sorted(
    ((rule.attribute, rule) for dialect in DIALECTS for rule in dialect.kinds if rule.attribute),
    key=lambda pair: not pair[1].states,
)
_KIND_KEYS: Final = {key for key, rule in _KIND_RULES if rule.values}
_NAMESPACES: Final = tuple(namespace for dialect in DIALECTS for namespace in dialect.namespaces)
_PLUMBING: Final = ("http.", "db.", "messaging.", "rpc.", "net.", "network.", "url.", "dns.", "faas.", "asgi.")
_OF_NO_SPANS: Final = frozenset({"logfire.span_type", "ag2.usage.kind"})
_OTHERS_WORK: Final = _OF_NO_SPANS | {"mcp.method.name"}
"""Attributes whose values decide whether a span is left out or repeats another one."""
_CONTEXT_SOURCES: Final = tuple(
    source for dialect in DIALECTS for row in dialect.rows if row.field in CONTEXT_FIELDS for source in row.sources
)
_CONTEXT_KEYS: Final = frozenset(source for source in _CONTEXT_SOURCES if not source.endswith(".*"))
_CONTEXT_FAMILIES: Final = tuple(source[:-1] for source in _CONTEXT_SOURCES if source.endswith(".*"))


def shape_of(view: SpanView) -> Shape:
    """Return the shape of the view, from the cache if it was seen before."""
    if view.shape is not None:
        known: Shape = view.shape
        return known
    events = any(event.name != "exception" for event in view.events) if view.events else False
    attributes = view.attributes
    shapes = _WITH_EVENTS if events else KNOWN_SHAPES
    names, types = (*attributes,), (*map(type_of, attributes.values()),)
    shape: Shape | None = shapes.get(names, _NONE).get(types)
    if shape is None:
        shape = _compiled({str.__str__(name): value for name, value in attributes.items()}, events)
        if len(names) <= _MAX_NAMES:
            _remember(shapes, names, types, shape)
    return shape


def _remember(shapes: Shapes, names: tuple[str, ...], types: tuple[type[Any], ...], shape: Shape) -> None:
    if sum(map(len, [*shapes.values()])) >= _MAX_SHAPES:  # a list, because another thread may add shapes
        shapes.clear()
    alike = shapes.setdefault(names, {})
    alike[types] = shape
    if shape.nested:  # the SDK has tuples where the view has lists
        alike[tuple(tuple if one is list else one for one in types)] = shape


def _compiled(attributes: Mapping[str, Any], events: bool) -> Shape:
    """Return the shape of spans with attributes of these names and types, with or without events."""
    answered = sorted(_answered(attributes, events), key=lambda ranked: ranked.rank)
    grouped: dict[str, list[AnsweredRow]] = defaultdict(list)
    contents: dict[str, list[Candidate]] = defaultdict(list)
    event_rows: list[tuple[str, EventRow]] = []
    for ranked in answered:
        field = ranked.row.field
        if field in CONTENT_FIELDS:
            convert = ranked.row.convert
            whole = isinstance(ranked.source, str) and convert in _WHOLE
            contents[field].append((ranked.row.form, ranked.source, convert, whole))
        elif isinstance(ranked.row, EventRow):
            event_rows.append((field, ranked.row))
        else:
            group, name = _group_of(field)
            ranks = field in RANKED_FIELDS
            grouped[group].append((name, ranked.source, _with_rank(ranked) if ranks else ranked.convert))
    return _shape(attributes, answered, grouped, contents, event_rows)


def _shape(
    attributes: Mapping[str, Any],
    answered: Iterable[_Ranked],
    grouped: Mapping[str, list[AnsweredRow]],
    contents: Mapping[str, list[Candidate]],
    event_rows: list[tuple[str, EventRow]],
) -> Shape:
    known = {ranked.source for ranked in answered if isinstance(ranked.source, str)}
    names = {ranked.row.field for ranked in answered}

    def rows(group: str) -> Rows:
        return tuple(grouped.get(group, ()))

    kind_rules = tuple((key, rule) for key, rule in _KIND_RULES if key in attributes)
    cached_fields, fields = _split(rows("fields"))
    cached_metadata, metadata = _split(rows("metadata"))
    cached_parameters, parameters = _split(rows("parameters"))
    merged = rows("merged")
    floats = [key for key, value in attributes.items() if type_of(value) is float]
    members = {key for ranked in answered if isinstance(ranked.source, tuple) for key, _ in ranked.source}
    read = known | members | _KIND_KEYS
    unread = [key for key in attributes if key not in read and left_out(key) is None]
    genai = any(map(_shows_genai, attributes))
    plumbing = any(key.startswith(_PLUMBING) for key in attributes)
    watched = dict.fromkeys(key for key in unread if key.startswith(_NAMESPACES))
    return Shape(
        floats=_getter(floats) if floats else None,
        nested=tuple(key for key, value in attributes.items() if type_of(value) not in _SCALARS),
        cached=_cached_rows(attributes, cached_fields, cached_metadata, cached_parameters, kind_rules),
        fields=fields,
        metadata=metadata,
        parameters=parameters,
        usage=rows("usage"),
        two_sides=_two_sides(rows("usage"), attributes) if names.isdisjoint(NUMBERS) else None,
        aggregated=rows("aggregated"),
        merged=merged,
        events=tuple(event_rows),
        asks=bool(fields or merged or event_rows),
        contents={field: tuple(candidates) for field, candidates in contents.items()},
        own_texts=_own_texts(attributes, contents),
        kind_rules=kind_rules,
        may_fail=not names.isdisjoint(OUTCOMES),
        may_be_left=not LEAVING.isdisjoint(attributes),
        tells_name=not names.isdisjoint(NAMES),
        tells_only_tool=names & NAMES == {"tool_name"},
        times_first_token=not names.isdisjoint(FIRST_TOKENS),
        counts=bool(rows("usage") or rows("aggregated")) or not names.isdisjoint(NUMBERS),
        tells_metadata=len(watched) < len(unread) or "metadata" in names,
        tells_parameters=bool(parameters) or "parameters" in names,
        has_context=any(ranked.row.field in CONTEXT_FIELDS | {"metadata", "root_tags"} for ranked in answered),
        genai=genai,
        plumbing=plumbing,
        is_work=genai and not plumbing and _OTHERS_WORK.isdisjoint(attributes),
        is_span=_OF_NO_SPANS.isdisjoint(attributes),
        custom=tuple(key for key in unread if key not in watched),
        watched=(*(watched | dict.fromkeys(_left_behind(answered))),),
        sources=tuple(dict.fromkeys(source for found in contents.values() for _, source, _, _ in found)),
    )


_OWN_VALUES: Final = (
    (("TOOL",), ("tool.input", "input"), ("tool.output", "output"), ENVELOPE_MARKS | RESULT_MARKS),
    (("AGENT", "CHAIN", "OTHER"), ("input",), ("output",), MARKS),
)
"""Kinds whose spans may have the app's own values, the fields with these, and keys of objects that are none."""


def _own_texts(attributes: Mapping[str, Any], contents: Mapping[str, list[Candidate]]) -> dict[str, OwnTexts]:
    """Return, by kind, the texts that alone hold the input and the output."""
    if sum(map(len, contents.values())) != 2:
        return {}
    names = {
        field: source
        for field, ((form, source, convert, _), *_) in contents.items()
        if form == "value" and convert in (None, scalar) and isinstance(source, str)
    }
    texts: dict[str, OwnTexts] = {}
    for kinds, inputs, outputs, marks in _OWN_VALUES:
        asked, answered = ([names[field] for field in side if field in names] for side in (inputs, outputs))
        if asked and answered and all(type_of(attributes[name]) is str for name in (*asked, *answered)):
            texts |= dict.fromkeys(kinds, (asked[0], answered[0], marks))
    return texts


def _left_behind(answered: Iterable[_Ranked]) -> Iterable[str]:
    """Yield attributes that a row may read only in part, and attributes that lose to another one of the same field."""
    filled: set[str] = set()
    taken: set[Source] = set()
    others: list[Source] = []
    for ranked in answered:
        row, source = ranked.row, ranked.source
        if row.field in CONTENT_FIELDS:
            taken.add(source)  # its reader reports whether it took everything
        elif isinstance(row, Row):
            loses = row.field in filled and row.field not in MERGED_FIELDS
            if loses or (row.convert is not None and row.convert not in _FAITHFUL):
                others.append(source)
            else:
                filled.add(row.field)
                taken.add(source)
    for source in others:
        if source not in taken:
            keys = [source] if isinstance(source, str) else [key for key, _ in cast("Members", source)]
            yield from (key for key in keys if left_out(key) is None)


def _split(rows: Rows) -> tuple[Rows, Rows]:
    """Return the rows of names that only low-cardinality attributes can fill, and all other rows."""
    moving = {name for name, source, _ in rows if source not in ATTRIBUTES}
    cached = tuple(row for row in rows if row[0] not in moving)
    return cached, tuple(row for row in rows if row[0] in moving)


def _cached_rows(
    attributes: Mapping[str, Any],
    fields: Rows,
    metadata: Rows,
    parameters: Rows,
    kind_rules: tuple[tuple[str, KindRule], ...],
) -> CachedRows:
    names = sorted(ATTRIBUTES.intersection(attributes))
    key, rule = kind_rules[0] if kind_rules else ("", None)
    tells_kind = rule is not None and rule.decide is None and key in ATTRIBUTES
    return CachedRows(
        values=_getter(names) if names else None,
        fields=fields,
        metadata=metadata,
        parameters=parameters,
        kind_attribute=key if tells_kind else None,
        kinds=rule.values if rule is not None and tells_kind else {},
    )


def _two_sides(usage: Rows, attributes: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], tuple[int, int]] | None:
    sources = {name: source for name, source, convert in usage if convert is count and isinstance(source, str)}
    keys = [sources[side] for side in ("prompt", "completion") if side in sources]
    whole = len(usage) == len(keys) == 2 and all(type_of(attributes[key]) is int for key in keys)
    return itemgetter(*keys) if whole else None


def _getter(names: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    return itemgetter(*names, *names[:1])  # at least two, because for a single name, it would return the bare value


def _answered(attributes: Mapping[str, Any], events: bool) -> Iterable[_Ranked]:
    members: dict[int, tuple[Row, list[tuple[str, tuple[str, ...]]]]] = {}
    for key in attributes:
        for rank, row, _ in _EXACT.get(key, ()):
            yield _Ranked(rank, row, key, row.convert or usable)
        for rank, row, family in _FAMILIES.get(key.partition(".")[0], ()):
            if key.startswith(family):
                path = tuple(key[len(family) :].split("."))
                members.setdefault(rank, (row, []))[1].append((key, path))
    for rank, (row, keys) in members.items():
        yield _Ranked(rank, row, tuple(keys), row.convert or usable)
    for rank, event_row in _EVENTS if events else ():
        yield _Ranked(rank, event_row, event_row, event_row.convert)


def _group_of(field: str) -> tuple[str, str]:
    """Return (group, name) of a field: `metadata.response_id` is `response_id` in the group `metadata`."""
    if field in MERGED_FIELDS:
        return "merged", field
    group, _, name = field.partition(".")
    return (group, name) if group in GROUPS and name else ("fields", field)


def _with_rank(ranked: _Ranked) -> Callable[[Any], Any]:
    def convert(value: Any) -> tuple[int, Any] | None:
        value = ranked.convert(value)
        return None if value is None else (ranked.rank, value)

    return convert


def _shows_genai(key: str) -> bool:
    return key.startswith(_NAMESPACES) and key not in _CONTEXT_KEYS and not key.startswith(_CONTEXT_FAMILIES)
