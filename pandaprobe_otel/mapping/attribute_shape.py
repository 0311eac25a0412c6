"""Shape of a span: the names and types of its attributes, which determine the table rows that apply to it.

Emitters repeat themselves: a process makes spans of a few dozen shapes. So the tables of all dialects are searched once
per shape, and each span costs only the rows for which it has attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pandaprobe_otel.mapping.dialect_table import EventRow, Form, KindRule
from pandaprobe_otel.mapping.exact_types import type_of
from pandaprobe_otel.mapping.span_view import SpanView
from pandaprobe_otel.mapping.table_rows import CachedRows, Rows, Source, fill, tree
from pandaprobe_otel.mapping.unread_attributes import left_out
from pandaprobe_otel.mapping.values import is_absent

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
    two_sides: Callable[[Mapping[str, Any]], tuple[int, int]] | None
    """Getter of the input and output tokens, if these are the only counts and both are integers."""
    aggregated: Rows
    """Rows of counters that the emitter marks as a sum."""
    merged: Rows
    """Rows of fields to which every source contributes."""
    events: tuple[tuple[str, EventRow], ...]
    """Fields, other than content, that come from events."""
    asks: bool
    """True if there are rows of fields, merged fields or events; otherwise there is nothing to read."""
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
    tells_only_tool: bool
    """True if the only field for another name is that of a tool."""
    times_first_token: bool
    """True if a field may give the time of the first token."""
    counts: bool
    """True if there may be token counts or costs."""
    tells_metadata: bool
    """True if a field or an attribute of the app may add to the metadata."""
    tells_parameters: bool
    """True if there are model parameters besides the cached ones."""
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
    """Names of attributes that the rows may read only in part (see `conservation.py`)."""
    sources: tuple[Source, ...]
    """Possible sources of content, each once."""

    def read(self, view: SpanView, cached: Mapping[str, Any], unusable: list[str]) -> Mapping[str, Any]:
        """Return the values of all fields, except the groups metadata, parameters, usage and content.

        `cached` holds the fields from the cached rows. Attributes that no row could use are added to `unusable`.
        """
        found: dict[str, Any] = {**cached}
        attributes = view.attributes
        fill(found, self.fields, attributes, unusable)
        for field, source, convert in self.merged:
            value = convert(attributes[source] if type(source) is str else tree(attributes, source))
            if value:
                _merge(found, field, value)
            elif type(source) is str and left_out(source) is None and not is_absent(attributes[source]):
                unusable.append(source)
        for field, row in self.events:
            value = _event_value(row, view)
            if value is not None:
                found.setdefault(field, value)
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
