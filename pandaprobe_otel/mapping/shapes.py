"""Shapes of spans: the names and types of a span's attributes, which determine the rows of all dialects that apply.

Emitters repeat themselves: a process makes spans of a few dozen shapes. So the tables of all dialects are searched once
per shape, and each span costs only the rows for which it has attributes.

The results for low-cardinality attributes (operation, provider, model, model parameters, tool) are cached. A program
has a few models and a few hundred tools and steps at most, so these attributes have few combinations of values. The
tables are applied once per combination, which saves a fifteenth of the cost of a model call (benchmarks/mapping). The
cache is bounded and holds only numbers and short texts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final, TypeAlias, cast

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
    Dialect,
    EventRow,
    Form,
    KindRule,
    Row,
    other_kind,
)
from pandaprobe_otel.mapping.dialects import frameworks, instrumentors, otel_genai, pandaprobe, plain, platforms
from pandaprobe_otel.mapping.dialects.otel_genai import (
    finish_reasons,
    milliseconds,
    model,
    provider,
    seconds,
    unknown_operation,
)
from pandaprobe_otel.mapping.exact_json import may_be_rounded
from pandaprobe_otel.mapping.messages import joined
from pandaprobe_otel.mapping.outcomes import LEAVING
from pandaprobe_otel.mapping.parameters import choices, simple, whole
from pandaprobe_otel.mapping.span_view import KNOWN_SHAPES, Shapes, SpanView
from pandaprobe_otel.mapping.unread_attributes import left_out
from pandaprobe_otel.mapping.usage import total
from pandaprobe_otel.mapping.values import (
    comma_separated,
    count,
    decoded,
    flat,
    is_absent,
    mapping,
    scalar,
    structure,
    text,
    texts,
    type_of,
    unquoted,
    usable,
)

DIALECTS: Final[tuple[Dialect, ...]] = (
    pandaprobe.DIALECT,
    platforms.LANGFUSE,
    otel_genai.OTEL_GENAI,
    instrumentors.OPENINFERENCE,
    platforms.LANGSMITH,
    frameworks.PYDANTIC_AI,
    instrumentors.TRACELOOP,
    otel_genai.EVENTS,
    instrumentors.VERCEL_AI,
    frameworks.GOOGLE_ADK,
    platforms.MLFLOW,
    frameworks.HAYSTACK,
    plain.DIALECT,
)
"""All dialects. If two of them can fill a field, the earlier one wins. A new dialect needs a line here."""


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


# -- cached results ---------------------------------------------------------------------------------------------------

ATTRIBUTES: Final = frozenset(
    {
        "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.system", "gen_ai.request.model",
        "gen_ai.response.model", "gen_ai.agent.name", "gen_ai.tool.name", "gen_ai.tool.type", "gen_ai.output.type",
        "openinference.span.kind", "llm.model_name", "llm.system", "llm.provider", "tool.name", "agent.name",
        "traceloop.span.kind", "llm.request.type", "gen_ai.request.temperature", "gen_ai.request.top_p",
        "gen_ai.request.top_k", "gen_ai.request.max_tokens", "gen_ai.request.frequency_penalty",
        "gen_ai.request.presence_penalty", "gen_ai.request.choice.count", "gen_ai.request.seed",
        "llm.temperature", "llm.top_p", "llm.top_k",
        "llm.frequency_penalty", "llm.presence_penalty",
    }
)  # fmt: skip
"""Attributes with few different values in one program."""

MAX_COMBINATIONS: Final = 4096
"""Bound on the combinations of all shapes together, each of which takes 1 to 3 KB."""
_MAX_TEXT: Final = 256
_NUMBERS: Final = frozenset({int, float, bool})


CachedFields: TypeAlias = tuple[str | None, Mapping[str, Any], Mapping[str, Any], Mapping[str, Any], Sequence[str]]
"""Result of the tables for the values of low-cardinality attributes: (kind, fields, metadata, parameters, unusable).

The kind is None if these attributes alone do not determine it; `unusable` names the attributes that no row could use.
Must not be changed. A plain tuple, because taking a NamedTuple apart takes four times as long, for every span.
"""

NOTHING: Final[CachedFields] = (None, {}, {}, {}, ())
"""Result for a span without low-cardinality attributes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedRows:
    """Rows of a shape that read only low-cardinality attributes, with a cache of their results."""

    values: Callable[[Mapping[str, Any]], tuple[Any, ...]] | None
    """Function that returns the values of the shape's low-cardinality attributes; None if it has none."""
    fields: Rows
    metadata: Rows
    parameters: Rows
    kind_attribute: str | None
    """Attribute that decides the kind first, by its value (see `kinds`); None if an uncached one may decide it."""
    kinds: Mapping[str, str]
    key: object = field(default_factory=object, compare=False)
    """Key of the shape's results. The shape fixes the types of values; otherwise 1, 1.0 and True would be one key."""

    def read(self, attributes: Mapping[str, Any]) -> CachedFields:
        """Return the result of the rows for these attributes, and remember it if their values are short."""
        found: dict[str, Any] = {}
        metadata: dict[str, Any] = {}
        parameters: dict[str, Any] = {}
        unusable: list[str] = []
        fill(found, self.fields, attributes, unusable)
        fill(metadata, self.metadata, attributes, unusable)
        fill(parameters, self.parameters, attributes, unusable)
        said: Any = attributes[self.kind_attribute] if self.kind_attribute is not None else None
        kind = self.kinds.get(said) or self.kinds.get(said.strip().lower()) if type_of(said) is str else None
        cached = kind, found, metadata, parameters, unusable
        values = self.values(attributes) if self.values is not None else ()
        if all(map(_is_short, values)):
            if len(known) >= MAX_COMBINATIONS:
                known.clear()
            known[self.key, values] = cached
        return cached


known: Final[dict[tuple[object, tuple[Any, ...]], CachedFields]] = {}
"""Results by the keys of shapes and by values."""


def _is_short(value: Any) -> bool:
    kind = type_of(value)
    return kind in _NUMBERS or (kind is str and len(value) <= _MAX_TEXT and not may_be_rounded(value))


Candidate: TypeAlias = tuple[Form, Source, Callable[..., Any] | None, bool]
"""One source of content: (form, source, converter, whole); `whole` is true if the reading takes all of the source.

A plain tuple, because taking a NamedTuple apart takes four times as long, for every span.
"""


OwnTexts: TypeAlias = tuple[str, str, frozenset[str]]
"""Attributes with JSON text of the app's own values: (input, output, keys of objects that need a reader)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Rows of the dialects' tables that apply to all spans whose attributes have the same names and types."""

    floats: Callable[[Mapping[str, Any]], tuple[Any, ...]] | None
    """Getter of the float values; None if there are none."""
    nested: tuple[str, ...]
    """Names of attributes whose values are neither texts nor numbers."""
    cached: CachedRows
    """Rows and rules that read only low-cardinality attributes; the fields below hold all others."""
    fields: Rows
    metadata: Rows
    """Rows by metadata key."""
    parameters: Rows
    """Rows by model parameter."""
    usage: Rows
    """Rows by counter."""
    aggregated: Rows
    """Rows of counters that the emitter marks as a sum."""
    merged: Rows
    """Rows of fields to which every source contributes."""
    events: tuple[tuple[str, EventRow], ...]
    """Fields, other than content, that come from events."""
    contents: Mapping[str, tuple[Candidate, ...]]
    own_texts: Mapping[str, OwnTexts]
    """By kind, the texts that alone hold the input and the output."""
    kind_rules: tuple[tuple[str, KindRule], ...]
    may_fail: bool
    """True if a field may show that the span did not end with success."""
    may_be_left: bool
    """True if the span may be that of a stream whose reader left it before the end."""
    tells_name: bool
    """True if a field may give the span another name."""
    times_first_token: bool
    """True if a field may give the time of the first token."""
    counts: bool
    """True if there may be token counts or costs."""
    has_context: bool
    """True if a field of the trace (session, tags, ...) may come from such a span."""
    genai: bool
    """True if an attribute shows that the span is about GenAI work."""
    plumbing: bool
    """True if an attribute belongs to HTTP, databases, messaging or similar transport."""
    is_work: bool
    """True if all such spans are about GenAI work, and none is a protocol message or a copy of another span."""
    is_span: bool
    """True if no attribute can show that the span only repeats another one (`kinds.is_dropped`)."""
    custom: tuple[str, ...]
    """Names of attributes that belong to no vocabulary, so the app itself has set them."""
    watched: tuple[str, ...]
    """Names of attributes that the rows may read only in part (see `span_content.py`)."""
    sources: tuple[Source, ...]
    """Possible sources of content, each once."""

    def read(self, view: SpanView, cached: Mapping[str, Any], unusable: list[str]) -> Mapping[str, Any]:
        """Return the values of all fields, except the groups metadata, parameters, usage and content.

        `cached` holds the fields from the cached rows. Attributes that no row could use are added to `unusable`.
        """
        found: dict[str, Any] = {**cached}
        attributes = view.attributes
        fill(found, self.fields, attributes, unusable)
        for name, source, convert in self.merged:
            value = convert(attributes[source] if type(source) is str else tree(attributes, source))
            if value:
                _merge(found, name, value)
            elif type(source) is str and left_out(source) is None and not is_absent(attributes[source]):
                unusable.append(source)
        for name, row in self.events:
            value = _event_value(row, view)
            if value is not None:
                found.setdefault(name, value)
        return found


def content_value(candidate: Candidate, view: SpanView) -> Any:
    """Return the value of a candidate; it may be absent."""
    _, source, convert, _ = candidate
    if type(source) is str:
        value = view.attributes[source]
    elif type(source) is EventRow:
        return _event_value(source, view)
    else:
        value = tree(view.attributes, source)
    return value if convert is None else convert(value)


def _event_value(row: EventRow, view: SpanView) -> Any:
    events = [event for event in view.events if event.name in row.names]
    return row.convert(events, view) if events else None


def _merge(found: dict[str, Any], field: str, value: Any) -> None:
    if type_of(value) is list:
        known: list[Any] = found.setdefault(field, [])
        known.extend(item for item in value if item not in known)
        return
    bag: dict[str, Any] = found.setdefault(field, {})
    for key, item in value.items():
        bag.setdefault(key, item)


_WHOLE: Final[frozenset[Any]] = frozenset(
    {
        None, choices, comma_separated, count, decoded, finish_reasons, flat, joined, mapping, milliseconds, model,
        other_kind, provider, scalar, seconds, simple, structure, text, texts, total, unknown_operation, unquoted,
        usable, whole,
    }
)  # fmt: skip
"""Converters that take the whole value or nothing."""

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
    known = {ranked.source for ranked in answered if isinstance(ranked.source, str)}
    names = {ranked.row.field for ranked in answered}

    def rows(group: str) -> Rows:
        return tuple(grouped.get(group, ()))

    kind_rules = tuple((key, rule) for key, rule in _KIND_RULES if key in attributes)
    cached_fields, fields = _split(rows("fields"))
    cached_metadata, metadata = _split(rows("metadata"))
    cached_parameters, parameters = _split(rows("parameters"))
    merged = rows("merged")
    cached = sorted(ATTRIBUTES.intersection(attributes))
    first_key, rule = kind_rules[0] if kind_rules else ("", None)
    kind_key = first_key if rule is not None and rule.decide is None and first_key in ATTRIBUTES else None
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
        cached=CachedRows(
            values=_getter(cached) if cached else None,
            fields=cached_fields,
            metadata=cached_metadata,
            parameters=cached_parameters,
            kind_attribute=kind_key,
            kinds=rule.values if rule is not None and kind_key is not None else {},
        ),
        fields=fields,
        metadata=metadata,
        parameters=parameters,
        usage=rows("usage"),
        aggregated=rows("aggregated"),
        merged=merged,
        events=tuple(event_rows),
        contents={field: tuple(candidates) for field, candidates in contents.items()},
        own_texts=_own_texts(attributes, contents),
        kind_rules=kind_rules,
        may_fail=not names.isdisjoint(OUTCOMES),
        may_be_left=not LEAVING.isdisjoint(attributes),
        tells_name=not names.isdisjoint(NAMES),
        times_first_token=not names.isdisjoint(FIRST_TOKENS),
        counts=bool(rows("usage") or rows("aggregated")) or not names.isdisjoint(NUMBERS),
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
            if loses or row.convert not in _WHOLE:
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
