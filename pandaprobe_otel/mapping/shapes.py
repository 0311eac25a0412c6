"""Shapes of spans: the names of a span's attributes, which determine the rows of all dialects that apply.

Emitters repeat themselves: a process makes spans of a few dozen shapes. So the tables of all dialects are searched once
per shape, and each span costs only the rows for which it has attributes.

The results for low-cardinality attributes (operation, provider, model, model parameters, tool) are cached. A program
has a few models and a few hundred tools and steps at most, so these attributes have few combinations of values. The
tables are applied once per combination, which saves an eighth of the cost of a span (benchmarks/mapping). The cache is
bounded and holds only numbers and short texts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
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
from pandaprobe_otel.mapping.parameters import choices, simple, whole
from pandaprobe_otel.mapping.span_view import KNOWN_SHAPES, SpanView
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

AnsweredRow: TypeAlias = tuple[str, Source, Callable[..., Any] | None]
"""(name, source, converter)."""

Rows: TypeAlias = tuple[AnsweredRow, ...]
"""Rows in order of precedence; the first usable value for a name wins."""

Candidate: TypeAlias = tuple[Form, Source, Callable[..., Any] | None, bool]
"""One source of content: (form, source, converter, whole); `whole` is true if the reading takes all of the source.

A plain tuple, because taking a NamedTuple apart takes four times as long, for every span.
"""

OwnTexts: TypeAlias = tuple[str, str, frozenset[str]]
"""Attributes that may have JSON text of the app's own values: (input, output, keys of objects that need a reader)."""


def fill(found: dict[str, Any], rows: Rows, view: SpanView, unusable: list[str]) -> None:
    """Set each unset name to the first usable value of its rows; add unusable attributes to `unusable`."""
    attributes = view.attributes
    for name, source, convert in rows:
        if name not in found:
            if type(source) is str:
                value = convert(attributes[source])  # type: ignore[misc]  # rows of attributes have a converter
                if value is None and _says_more(source, attributes[source]):
                    unusable.append(source)
            else:
                value = value_of(source, convert, view)
            if value is not None:
                found[name] = value


def value_of(source: Source, convert: Callable[..., Any] | None, view: SpanView) -> Any:
    """Return the converted value of a source; it may be absent."""
    if type(source) is EventRow:
        events = [event for event in view.events if event.name in source.names]
        return source.convert(events, view) if events else None
    value = view.attributes[source] if type(source) is str else _tree(view.attributes, source)
    return value if convert is None else convert(value)


def _says_more(source: str, value: Any) -> bool:
    """Return whether an unused attribute is kept; False if its name is left out, or its value is absent or default."""
    return left_out(source) is None and not is_absent(value) and not (source == _CHOICES and value == 1)


_CHOICES: Final = "gen_ai.request.choice.count"


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """Rows of the dialects' tables that apply to all spans whose attributes have the same names."""

    few_values: Callable[[Mapping[str, Any]], tuple[Any, ...]] | None
    """Function that returns the values of the low-cardinality attributes; None if there are none."""
    few_numbers: bool
    """True if some of them are numbers, so that equal values may have different types."""
    cached: tuple[Rows, Rows, Rows]
    """Fields, metadata and parameters that only low-cardinality attributes can fill; the rows below fill all others."""
    stated: tuple[str, KindRule] | None
    """The first rule for the kind, if it reads only a low-cardinality attribute."""
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
    contents: Mapping[str, tuple[Candidate, ...]]
    own_texts: Mapping[str, OwnTexts]
    """By kind, the attributes that alone hold the input and the output."""
    kind_rules: tuple[tuple[str, KindRule], ...]
    may_fail: bool
    """True if a field may show that the span did not end with success."""
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


# -- fields of a span -------------------------------------------------------------------------------------------------

FEW_NUMBERS: Final = frozenset(
    {
        "gen_ai.request.temperature", "gen_ai.request.top_p", "gen_ai.request.top_k", "gen_ai.request.max_tokens",
        "gen_ai.request.frequency_penalty", "gen_ai.request.presence_penalty", "gen_ai.request.choice.count",
        "gen_ai.request.seed", "llm.temperature", "llm.top_p", "llm.top_k", "llm.frequency_penalty",
        "llm.presence_penalty",
    }
)  # fmt: skip
FEW: Final = FEW_NUMBERS | frozenset(
    {
        "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.system", "gen_ai.request.model",
        "gen_ai.response.model", "gen_ai.agent.name", "gen_ai.tool.name", "gen_ai.tool.type", "gen_ai.output.type",
        "openinference.span.kind", "llm.model_name", "llm.system", "llm.provider", "tool.name", "agent.name",
        "traceloop.span.kind", "llm.request.type",
    }
)  # fmt: skip
"""Low-cardinality attributes: those with few different values in one program."""

MAX_COMBINATIONS: Final = 4096
"""Bound on the combinations of all shapes together, each of which takes 1 to 3 KB."""
_MAX_TEXT: Final = 256
_NUMBERS: Final = frozenset({int, float, bool})

Fields: TypeAlias = tuple[str | None, Mapping[str, Any], Mapping[str, Any], Mapping[str, Any], Sequence[str]]
"""(kind, fields, metadata, parameters, unusable).

The kind is None if low-cardinality attributes alone do not determine it; `unusable` names the attributes that no row
could use. Must not be changed.
"""

NOTHING: Final[Fields] = (None, {}, {}, {}, ())

known: Final[dict[tuple[Shape, tuple[Any, ...], tuple[type, ...]], Fields]] = {}
"""Results of the cached rows. The types belong to the key, because 1, 1.0 and True are equal."""


def read_few(shape: Shape, view: SpanView, key: tuple[Shape, tuple[Any, ...], tuple[type, ...]]) -> Fields:
    """Return the fields that low-cardinality attributes fill, and remember them if their values are short."""
    kind = None if shape.stated is None else shape.stated[1].kind_of(view.attributes[shape.stated[0]], view)
    fields: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    unusable: list[str] = []
    for found, rows in zip((fields, metadata, parameters), shape.cached, strict=True):
        fill(found, rows, view, unusable)
    result = kind, fields, metadata, parameters, unusable
    if all(map(_is_short, key[1])) and (shape.few_numbers or {str}.issuperset(map(type_of, key[1]))):
        if len(known) >= MAX_COMBINATIONS:
            known.clear()
        known[key] = result
    return result


def read_others(shape: Shape, view: SpanView, cached: Mapping[str, Any], unusable: list[str]) -> dict[str, Any]:
    """Return all fields, except those of the groups and content; add unusable attributes to `unusable`."""
    found = {**cached}
    fill(found, shape.fields, view, unusable)
    for name, source, convert in shape.merged:
        value = value_of(source, convert, view)
        if not value:
            if type(source) is str and _says_more(source, view.attributes[source]):
                unusable.append(source)
        elif type_of(value) is list:
            some: list[Any] = found.setdefault(name, [])
            some.extend(item for item in value if item not in some)
        else:
            own = found.get(name, {})
            found[name] = {**own, **value, **own}  # the first value of a key wins
    return found


def _is_short(value: Any) -> bool:
    kind = type_of(value)
    return kind in _NUMBERS or (kind is str and len(value) <= _MAX_TEXT and not may_be_rounded(value))


# -- shapes of names --------------------------------------------------------------------------------------------------

_WHOLE: Final[frozenset[Any]] = frozenset(
    {
        None, choices, comma_separated, count, decoded, finish_reasons, flat, joined, mapping, milliseconds, model,
        other_kind, provider, scalar, seconds, simple, structure, text, texts, total, unknown_operation, unquoted,
        usable, whole,
    }
)  # fmt: skip
"""Converters that take the whole value or nothing."""

_MAX_SHAPES: Final = 1024
_MAX_NAMES: Final = 256
"""Largest number of attributes of a view whose shape is remembered."""

_Found: TypeAlias = tuple[int, Row | EventRow, Source]
"""Rank of a row among all rows, the row, and the source of it that the shape has."""

_EXACT: Final[dict[str, list[tuple[int, Row]]]] = defaultdict(list)
"""Ranks and rows by the name of an attribute."""
_FAMILIES: Final[dict[str, list[tuple[int, Row, str]]]] = defaultdict(list)
"""The same with the prefix of the names, by its first segment."""
_EVENTS: Final[list[_Found]] = []


def _index() -> None:
    rows: list[Row | EventRow] = []
    for dialect in DIALECTS:
        rows += (*dialect.rows, *dialect.events)
    rows.sort(key=attrgetter("late"))  # stable, so the others stay in the order of the dialects
    sources = [(row, source) for row in rows for source in (row.sources if isinstance(row, Row) else ("",))]
    for rank, (row, source) in enumerate(sources):
        if isinstance(row, EventRow):
            _EVENTS.append((rank, row, row))
        elif source.endswith(".*"):
            _FAMILIES[source.partition(".")[0]].append((rank, row, source[:-1]))
        else:
            _EXACT[source].append((rank, row))


_index()

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
_CONTEXT: Final = tuple(
    source for dialect in DIALECTS for row in dialect.rows if row.field in CONTEXT_FIELDS for source in row.sources
)
_CONTEXT_FAMILIES: Final = tuple(source[:-1] for source in _CONTEXT if source.endswith(".*"))


def shape_of(view: SpanView) -> Shape:
    """Return the shape of the view, from the cache if it was seen before."""
    shape: Shape | None = view.shape
    if shape is None:
        has_events = any(event.name != "exception" for event in view.events)
        names = (*view.attributes,)
        key = (*names, "") if has_events else names  # an empty name, so that such shapes are different ones
        shape = KNOWN_SHAPES.get(key)
        if shape is None:
            # Members of an enum are equal to known names, and were not converted if a log record joins such a span.
            names = tuple(map(str.__str__, names))
            shape = _compiled(names, has_events)
            if len(names) <= _MAX_NAMES:
                if len(KNOWN_SHAPES) >= _MAX_SHAPES:
                    KNOWN_SHAPES.clear()
                KNOWN_SHAPES[(*names, "") if has_events else names] = shape
        object.__setattr__(view, "shape", shape)
    return shape


def _compiled(names: Sequence[str], has_events: bool) -> Shape:
    """Return the shape of spans with attributes of these names, with or without events."""
    answered = sorted(_answered(names, has_events), key=itemgetter(0))
    grouped: dict[str, list[AnsweredRow]] = defaultdict(list)
    contents: dict[str, list[Candidate]] = defaultdict(list)
    for rank, row, source in answered:
        field, convert = row.field, None if isinstance(row, EventRow) else row.convert
        if field in CONTENT_FIELDS:
            contents[field].append((row.form, source, convert, isinstance(source, str) and convert in _WHOLE))
            continue
        group, _, name = field.partition(".")
        if field in MERGED_FIELDS:
            group, name = "merged", field
        elif not name or group not in GROUPS:
            group, name = "fields", field
        convert = convert or usable
        grouped[group].append((name, source, _with_rank(rank, convert) if field in RANKED_FIELDS else convert))

    def rows(group: str) -> tuple[Rows, Rows]:
        """Return the rows of names that only low-cardinality attributes can fill, and all other rows."""
        found = grouped[group]
        moving = {name for name, source, _ in found if source not in FEW}
        return tuple(row for row in found if row[0] not in moving), tuple(row for row in found if row[0] in moving)

    fields, metadata, parameters = map(rows, ("fields", "metadata", "parameters"))
    kind_rules = tuple((key, rule) for key, rule in _KIND_RULES if key in names)
    few = sorted(FEW.intersection(names))
    read = {*_KIND_KEYS}
    for _, _, source in answered:
        read.update((source,) if isinstance(source, str) else () if isinstance(source, EventRow) else dict(source))
    unread = [key for key in names if key not in read and left_out(key) is None]
    watched = dict.fromkeys(key for key in unread if key.startswith(_NAMESPACES))
    genai = any(
        key.startswith(_NAMESPACES) and key not in _CONTEXT and not key.startswith(_CONTEXT_FAMILIES) for key in names
    )
    plumbing = any(key.startswith(_PLUMBING) for key in names)
    about = {row.field for _, row, _ in answered}
    return Shape(
        few_values=itemgetter(*few, *few[:1]) if few else None,  # two at least: for one name, it returns a bare value
        few_numbers=not FEW_NUMBERS.isdisjoint(names),
        cached=(fields[0], metadata[0], parameters[0]),
        stated=kind_rules[0] if kind_rules and kind_rules[0][1].decide is None and kind_rules[0][0] in FEW else None,
        fields=fields[1],
        metadata=metadata[1],
        parameters=parameters[1],
        usage=tuple(grouped["usage"]),
        aggregated=tuple(grouped["aggregated"]),
        merged=tuple(grouped["merged"]),
        contents={field: tuple(candidates) for field, candidates in contents.items()},
        own_texts=_own_texts(contents),
        kind_rules=kind_rules,
        may_fail=not about.isdisjoint(OUTCOMES),
        tells_name=not about.isdisjoint(NAMES),
        times_first_token=not about.isdisjoint(FIRST_TOKENS),
        counts=not about.isdisjoint(NUMBERS) or bool(grouped["usage"] or grouped["aggregated"]),
        has_context=not about.isdisjoint(CONTEXT_FIELDS | {"metadata", "root_tags"}),
        genai=genai,
        plumbing=plumbing,
        is_work=genai and not plumbing and _OTHERS_WORK.isdisjoint(names),
        is_span=_OF_NO_SPANS.isdisjoint(names),
        custom=tuple(key for key in unread if key not in watched),
        watched=(*(watched | dict.fromkeys(_left_behind(answered))),),
        sources=tuple(dict.fromkeys(source for found in contents.values() for _, source, _, _ in found)),
    )


def _answered(names: Iterable[str], has_events: bool) -> Iterator[_Found]:
    """Yield the rows for which there are attributes with these names."""
    families: dict[int, tuple[Row, list[tuple[str, tuple[str, ...]]]]] = {}
    for key in names:
        for rank, row in _EXACT.get(key, ()):
            yield rank, row, key
        for rank, row, prefix in _FAMILIES.get(key.partition(".")[0], ()):
            if key.startswith(prefix):
                families.setdefault(rank, (row, []))[1].append((key, (*key[len(prefix) :].split("."),)))
    for rank, (row, members) in families.items():
        yield rank, row, (*members,)
    if has_events:
        yield from _EVENTS


def _with_rank(rank: int, convert: Callable[..., Any]) -> Callable[[Any], tuple[int, Any] | None]:
    return lambda value: None if (converted := convert(value)) is None else (rank, converted)


_OWN_VALUES: Final = (
    (("TOOL",), ("tool.input", "input"), ("tool.output", "output"), ENVELOPE_MARKS | RESULT_MARKS),
    (("AGENT", "CHAIN", "OTHER"), ("input",), ("output",), MARKS),
)
"""Kinds whose spans may have the app's own values, the fields with these, and keys of objects that are none."""


def _own_texts(contents: Mapping[str, list[Candidate]]) -> dict[str, OwnTexts]:
    """Return, by kind, the attributes that alone hold the input and the output."""
    texts: dict[str, OwnTexts] = {}
    if sum(map(len, contents.values())) == 2:
        names = {
            field: source
            for field, ((form, source, convert, _), *_) in contents.items()
            if form == "value" and convert in (None, scalar) and isinstance(source, str)
        }
        for kinds, inputs, outputs, marks in _OWN_VALUES:
            asked, answered = ([names[field] for field in side if field in names] for side in (inputs, outputs))
            if asked and answered:
                texts |= dict.fromkeys(kinds, (asked[0], answered[0], marks))
    return texts


def _left_behind(answered: Iterable[_Found]) -> Iterator[str]:
    """Yield attributes that a row may read only in part, and attributes that lose to another one of the same field."""
    filled: set[str] = set()
    taken: set[Source] = set()
    others: list[Source] = []
    for _, row, source in answered:
        if row.field in CONTENT_FIELDS:
            taken.add(source)  # its reader reports whether it took everything
        elif isinstance(row, Row):
            if (row.field in filled and row.field not in MERGED_FIELDS) or row.convert not in _WHOLE:
                others.append(source)
            else:
                filled.add(row.field)
                taken.add(source)
    for source in others:
        if source not in taken:
            keys = [source] if isinstance(source, str) else [key for key, _ in cast("Members", source)]
            yield from (key for key in keys if left_out(key) is None)
