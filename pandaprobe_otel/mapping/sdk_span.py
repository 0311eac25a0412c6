"""Spans of OpenTelemetry's SDK: the only module that knows their private fields.

A span of the SDK consists of a dozen objects (locks, bounded lists and their contents). Thousands of spans that wait
for the rest of their traces would cost the app a tenth of its time in garbage collections
(benchmarks/delivery/compare.py) and twice the memory of their content. So only the fields of an ended span are kept,
in a tuple. The names of these fields have not changed since version 1.0. The public properties are Python calls that
copy events, links and attributes, at four times the cost (benchmarks/mapping). Only a span that the SDK did not make is
read through them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from pandaprobe_otel.mapping.attributes import ERROR, ERROR_TYPE, OPERATION_NAME, OUTCOME, PARTIAL
from pandaprobe_otel.mapping.span_view import (
    KNOWN_SHAPES,
    SpanView,
    plain_items,
    read_event,
    read_link,
)
from pandaprobe_otel.mapping.text import cut_text
from pandaprobe_otel.mapping.values import type_of

EndedSpan: TypeAlias = tuple[Any, ...]
"""Fields of an ended span, as named below. Its events, links and numbers of dropped items follow, if there are any."""

_NAMES: Final = (
    "_context",
    "_parent",
    "_name",
    "_kind",
    "_status",
    "_start_time",
    "_end_time",
    "_attributes._dict",
    "_instrumentation_scope",
    "_resource",
    "_attributes.dropped",
)
_BARE: Final = len(_NAMES)
_PARENT, _START, _ATTRIBUTES = map(_NAMES.index, ("_parent", "_start_time", "_attributes._dict"))
_EVENTS: Final = _BARE
_fields: Final[Callable[[Any], EndedSpan]] = attrgetter(*_NAMES)
_lists: Final[Callable[[Any], EndedSpan]] = attrgetter("_events._dq", "_links._dq", "_events.dropped", "_links.dropped")
_LONG: Final = 1000
_OURS: Final = "pandaprobe_otel"
_MODEL_CALLS: Final = frozenset({"chat", "generate_content", "text_completion"})
_FINISHED: Final = frozenset({"gen_ai.response.finish_reasons"})
_ANSWERED: Final = _FINISHED | {"gen_ai.output.messages"}
"""Attributes of work whose answer is complete; an app may leave its stream after the answer."""


def fields_of(span: ReadableSpan) -> EndedSpan:
    """Return the fields of a span to keep. Called by the app's threads."""
    try:
        events, links, lost_events, lost_links = _lists(span)
        if events or links or lost_events or lost_links:
            return (*_fields(span), tuple(events), tuple(links), lost_events, lost_links)
        return _fields(span)
    except AttributeError:  # not a span of this SDK
        return _public_fields(span)


def mark_outcome(span: ReadableSpan, outcome: str) -> None:
    """Set the outcome of a span of another library that has ended, unless the span shows how its work ended."""
    attributes = _unmarked(span)
    if attributes is None:
        return
    is_call = attributes.get(OPERATION_NAME) in _MODEL_CALLS
    if outcome != PARTIAL or (_FINISHED if is_call else _ANSWERED).isdisjoint(attributes):
        attributes._dict[OUTCOME] = outcome  # pyright: ignore[reportPrivateUsage]


def mark_failure(span: ReadableSpan, kind: str, message: str) -> None:
    """Set the exception that ended a span of another library, unless the span shows how its work ended."""
    attributes = _unmarked(span)
    if attributes is not None and ERROR_TYPE not in attributes:
        attributes._dict |= {ERROR_TYPE: kind, ERROR: message}  # pyright: ignore[reportPrivateUsage]


def _unmarked(span: Any) -> BoundedAttributes | None:
    attributes: BoundedAttributes | None = span._attributes
    scope = span._instrumentation_scope
    if attributes is None or OUTCOME in attributes or span._status.status_code is StatusCode.ERROR:
        return None
    return None if scope is not None and scope.name.startswith(_OURS) else attributes


def _public_fields(span: Any) -> EndedSpan:
    """Return the fields of a span that the SDK did not make, by its public properties, as objects of the SDK."""
    status, scope, resource = span.status, span.instrumentation_scope, span.resource
    if type_of(status) is not Status:
        status = Status(StatusCode[status.status_code.name], status.description)
    if type_of(scope) is not InstrumentationScope:
        scope = InstrumentationScope(getattr(scope, "name", ""), getattr(scope, "version", None))
    if type_of(resource) is not Resource:
        resource = Resource(dict(resource.attributes))
    fields = (
        _context_of(span.context) or SpanContext(0, 0, is_remote=False),
        _context_of(span.parent),
        span.name,
        span.kind,
        status,
        span.start_time,
        span.end_time,
        dict(span.attributes or {}),
        scope,
        resource,
        span.dropped_attributes,
    )
    more = (tuple(span.events), tuple(span.links), span.dropped_events, span.dropped_links)
    return (*fields, *more) if any(more) else fields


def _context_of(context: Any) -> Any:
    if context is None or type_of(context) is SpanContext:
        return context
    return SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags)


_begun: Final[Callable[[Any], tuple[Any, Any, Any]]] = attrgetter("_context", "_parent", "_kind")


def begun(span: Any) -> tuple[SpanContext | None, SpanContext | None, SpanKind]:
    """Return the context, the parent and the kind of a span that has just started. Called by the app's threads."""
    try:
        return _begun(span)
    except AttributeError:
        return span.context, span.parent, span.kind


def parent_of(span: EndedSpan) -> SpanContext | None:
    """Return the context of the span's parent, or None."""
    parent: SpanContext | None = span[_PARENT]
    return parent


def is_local_root(span: EndedSpan) -> bool:
    """Return whether the span is a local root. Roots get more room, because a trace never finishes without its root."""
    parent = parent_of(span)
    return parent is None or parent.is_remote


def start_of(span: EndedSpan) -> int:
    """Return the time at which the span started, in nanoseconds since the epoch."""
    start: int | None = span[_START]
    return start or 0


# -- text -------------------------------------------------------------------------------------------------------------


def text_size(span: EndedSpan) -> int:
    """Return the characters of text in a span's attributes and events. Called by the app's threads: reads no text."""
    size = 0
    values: Any = span[_ATTRIBUTES].values()
    for value in values:
        if value.__class__ is str:
            size += len(value)
    if len(span) > _BARE:
        for event in span[_EVENTS]:
            size += _text_in(event.attributes)
    return size


def _text_in(attributes: Mapping[str, Any] | None) -> int:
    return sum([len(value) for value in (attributes or {}).values() if isinstance(value, str)])


def cut_fields(span: EndedSpan, keep: int) -> EndedSpan:
    """Return the fields with each long text cut to `keep` characters, plus a marker that states the cut."""
    cut = list(span)
    cut[_ATTRIBUTES] = _cut_attributes(span[_ATTRIBUTES], keep)
    if len(span) > _BARE:
        cut[_EVENTS] = tuple(
            Event(event.name, _cut_attributes(event.attributes, keep), event.timestamp) for event in span[_EVENTS]
        )
    return tuple(cut)


def _cut_attributes(attributes: Mapping[str, Any] | None, keep: int) -> dict[str, Any]:
    return {
        name: cut_text(value, keep) if isinstance(value, str) and len(value) > max(keep, _LONG) else value
        for name, value in (attributes or {}).items()
    }


SMALLEST_SPAN: Final = 2000
"""Bytes of an ended span without its text."""
_USUAL_ATTRIBUTES: Final = 20
"""Attributes counted in `SMALLEST_SPAN`. Each further attribute, event or link takes some hundred bytes."""
_ATTRIBUTE, _ITEM, _ELEMENT = 100, 400, 50
_TEXTS: Final = frozenset({str, bytes})
_CONTAINERS: Final = frozenset({list, tuple, dict})


def size_of(span: EndedSpan) -> int:
    """Return the approximate bytes of a span: its text, and an allowance for the objects themselves."""
    size = SMALLEST_SPAN
    own, items = span[_ATTRIBUTES], (*span[_EVENTS], *span[_EVENTS + 1]) if len(span) > _BARE else ()
    values: Any = own.values()
    if items:
        bags = [_copy_of(item.attributes) for item in items]
        size += sum([_ITEM + _ATTRIBUTE * len(bag) for bag in bags])
        values = [*values, *[value for bag in bags for value in bag.values()]]
    if len(own) > _USUAL_ATTRIBUTES:
        size += _ATTRIBUTE * (len(own) - _USUAL_ATTRIBUTES)
    for value in values:
        kind = value.__class__
        size += len(value) if kind is str or kind is bytes else _in(value) if kind in _CONTAINERS else _ELEMENT
    return size


def _copy_of(attributes: Any) -> dict[str, Any]:
    copy = getattr(attributes, "copy", None)  # the SDK's `copy` is one call in C, but `values` looks up every key
    return dict(attributes or ()) if copy is None else copy()


def _in(value: Any) -> int:
    """Return the bytes of a list or map at any depth. Clients of a gateway may put 100,000 elements into one."""
    size, pending = 0, [value]
    while pending:
        inside: Any = pending.pop()
        items: Any = inside.values() if inside.__class__ is dict else inside
        size += _ELEMENT * (1 + len(inside)) + sum([len(item) for item in items if type(item) in _TEXTS])
        pending += [item for item in items if type(item) in _CONTAINERS]
    return size


# -- reading ----------------------------------------------------------------------------------------------------------


class _OpenView:
    """View that is not frozen yet, because a frozen dataclass sets each field through the slow `object.__setattr__`."""

    __slots__ = SpanView.__slots__


def read_span(span: ReadableSpan) -> SpanView:
    """Return the view of a span, finished or still running. Reads the span once and keeps no reference to it."""
    return read_ended(fields_of(span))


def read_ended(span: EndedSpan, *, is_public: bool = False) -> SpanView:
    """Return the view of a span from its kept fields; `is_public` if these are objects of the SDK by construction."""
    is_bare = len(span) == _BARE
    try:
        view: Any = _OpenView()
        bare = span if is_bare else span[:_BARE]
        context, parent, view.name, kind, status, start, end, attributes, scope, resource, dropped = bare
        view.trace_id, view.span_id = context[0], context[1]  # a tuple, because its properties are Python calls
        if parent is None:
            view.parent_id, view.parent_is_remote = None, False
        else:
            view.parent_id, view.parent_is_remote = parent[1], parent[2]
        view.start_ns, view.end_ns = start or 0, end or None
        view.status_code, view.status_description = status._status_code._name_, status._description
        view.scope_name, view.scope_version = scope._name, scope._version or ""
        view.resource, view.otel_kind = resource._attributes, kind._name_
        if is_bare:
            view.events = view.links = events = ()
            view.dropped = {"attributes": dropped} if dropped else None
        else:
            events, links, lost_events, lost_links = span[_BARE:]
            view.events, view.links = tuple(map(read_event, events)), tuple(map(read_link, links))
            lost = {"attributes": dropped, "events": lost_events, "links": lost_links}
            view.dropped = lost if any(lost.values()) else None
        copied = attributes.copy()
        view.shape = None if events else KNOWN_SHAPES.get((*copied,))
        view.attributes = plain_items(copied, are_names_plain=view.shape is not None)
        view.__class__ = SpanView
    except (AttributeError, TypeError, ValueError):  # a part of another class
        if is_public:
            raise
        return read_ended(_public_fields(span_of(span)), is_public=True)
    return view  # type: ignore[no-any-return]


# -- for the app's functions ------------------------------------------------------------------------------------------


def span_of(fields: EndedSpan) -> ReadableSpan:
    """Rebuild the span with its own attributes, which are not copied."""
    span: Any = object.__new__(ReadableSpan)
    context, parent, name, kind, status, start, end, attributes, scope, resource, dropped, *more = fields
    events, links, lost_events, lost_links = more or ((), (), 0, 0)
    span.__dict__.update(
        _context=context,
        _parent=parent,
        _name=name,
        _kind=kind,
        _status=status,
        _start_time=start,
        _end_time=end,
        _attributes=bounded_attributes(attributes, dropped) if dropped else attributes,
        _instrumentation_scope=scope,
        _instrumentation_info=None,
        _resource=resource,
        _events=bounded_list(events, lost_events) if lost_events else events,
        _links=bounded_list(links, lost_links) if lost_links else links,
    )
    return cast("ReadableSpan", span)


def guarded(span: ReadableSpan) -> ReadableSpan:
    """Make the attributes read-only for the app's functions, because other exporters share them."""
    attributes: Any = getattr(span, "_attributes", None)
    if type(span) is ReadableSpan and type(attributes) is dict:
        ours: Any = span
        ours._attributes = MappingProxyType(cast("dict[str, Any]", attributes))
    return span


def bounded_attributes(attributes: dict[str, Any], dropped: int) -> BoundedAttributes:
    """Return the attributes with the number of dropped ones."""
    bounded: Any = BoundedAttributes(immutable=True)
    bounded._dict, bounded.dropped = attributes, dropped  # set directly: the class would refuse nested values
    return cast("BoundedAttributes", bounded)


def bounded_list(items: Sequence[Any], dropped: int) -> BoundedList[Any]:
    """Return events or links with the number of dropped ones."""
    bounded: BoundedList[Any] = BoundedList(None)
    bounded.extend(items)
    bounded.dropped = dropped
    return bounded
