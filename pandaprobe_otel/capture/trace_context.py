"""Session, user, project, tags and metadata of the traces that start from here on.

They can be set in several ways. The first of these wins:

1. an argument of a decorator or block,
2. the innermost `with context(...)`,
3. `set_session` and `set_user`,
4. the entries `session.id` and `user.id` of W3C baggage in a request.

Tags of all levels add up. Metadata of all levels is merged, and inner values win.

The values of `context` are frozen on the OpenTelemetry context, so they follow it into tasks and, with
`context_executor`, into threads. The values of `set_session` are in a context variable.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry.baggage import set_baggage
from opentelemetry.context import Context, get_current, set_value
from opentelemetry.trace import Span, get_current_span

from pandaprobe_otel.capture.content import encode
from pandaprobe_otel.capture.executors import ContextExecutor
from pandaprobe_otel.capture.tracers import begin_first_use
from pandaprobe_otel.capture.wrapping import NO_SCOPE, Block, ContextScope, F, Scope, V, wrap
from pandaprobe_otel.config.parsers import PROJECT_RULE, is_project_name
from pandaprobe_otel.mapping import attributes as names
from pandaprobe_otel.mapping.ids import trace_uuid
from pandaprobe_otel.process.guard import failed, mistake, unless_used

if TYPE_CHECKING:
    from concurrent.futures import Executor

AttributeValue = str | tuple[str, ...]

_MOST_TAGS: Final = 1000
_MOST_METADATA: Final = 20_000
_VALUES_KEY: Final = "pandaprobe-trace-values"

current_session: Final[ContextVar[str | None]] = ContextVar("pandaprobe_session", default=None)
current_user: Final[ContextVar[str | None]] = ContextVar("pandaprobe_user", default=None)
_baggage_key: list[str] = []
"""Key of W3C baggage in contexts. Empty until `opentelemetry.baggage` is loaded: before that, there is no baggage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceValues:
    """Values for traces at one level; `over` combines them with the level around it."""

    ids: Mapping[str, str] = field(default_factory=dict[str, str])
    """Session, user and project, by the names of their attributes."""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    attributes: Mapping[str, AttributeValue] | None = None
    """The same values as span attributes, encoded once for all spans; None before `over` is called."""

    def over(self, outer: TraceValues | None) -> TraceValues:
        """Return the values that hold inside both levels, with their attributes."""
        outer = outer or TraceValues()
        ids, metadata = {**outer.ids, **self.ids}, {**outer.metadata, **self.metadata}
        tags = tuple(dict.fromkeys((*outer.tags, *self.tags)))
        attributes: dict[str, AttributeValue] = {**ids}
        if tags:
            attributes[names.TAGS] = tags
        if metadata:
            attributes[names.METADATA] = encode(metadata)
        return TraceValues(ids=ids, tags=tags, metadata=metadata, attributes=attributes)


def trace_values(
    *,
    session: object = None,
    user: object = None,
    project: object = None,
    tags: Sequence[str] | None = None,
    metadata: Mapping[str, object] | None = None,
) -> TraceValues | None:
    """Return the arguments as one level of values; None if there are none or they cannot be read."""
    given = {names.SESSION_ID: session, names.USER_ID: user, names.PROJECT: project}
    try:
        ids = {name: str(value) for name, value in given.items() if value is not None}
        if not (ids or tags or metadata):
            return None
        if not is_project_name(name := ids.get(names.PROJECT, "default")):
            mistake(
                f"context(project={name[:80]!r}) {PROJECT_RULE}; its traces are not sent. status() counts them as "
                "invalid_project."
            )
        return TraceValues(
            ids=ids,
            tags=(tags,) if isinstance(tags, str) else tuple(str(tag) for tag in islice(tags or (), _MOST_TAGS)),
            metadata=first_items(metadata),
        )
    except Exception as error:  # noqa: BLE001 - arguments of any sort arrive here; counted and logged
        failed("session, user, tags or metadata", error)
        return None


def current_project() -> str:
    """Return the project for traces that start here; empty for that of the settings."""
    values = _values_in(get_current())
    return "" if values is None else values.ids.get(names.PROJECT, "")


def first_items(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a copy of metadata, cut to the number of items that are recorded; empty if it cannot be read."""
    try:
        return {} if metadata is None else dict(islice(metadata.items(), _MOST_METADATA))
    except Exception as error:  # noqa: BLE001 - arguments of any sort arrive here; counted and logged
        failed("metadata", error)
        return {}


def with_values(values: TraceValues, context: Context) -> Context:
    """Return the OpenTelemetry context with these values over its own."""
    return set_value(_VALUES_KEY, values.over(_values_in(context)), context)


def values_alone(context: Context) -> Context:
    """Return a context with this one's session, user, tags and metadata, but without its span, for a separate trace."""
    values = context.get(_VALUES_KEY)
    return Context() if values is None else set_value(_VALUES_KEY, values, Context())


def attributes_in(context: Context) -> Mapping[str, AttributeValue] | None:
    """Return the attributes for a span that starts in this context; None if no value is set, as usual."""
    values: Any = context.get(_VALUES_KEY)  # `cast` is a call, and this runs for each span
    session, user = current_session.get(), current_user.get()
    if not _baggage_key and "opentelemetry.baggage" in sys.modules:
        _find_baggage_key()
    baggage: Any = context.get(_baggage_key[0]) if _baggage_key else None
    if session is None and user is None and not baggage:
        return None if values is None else values.attributes
    result: dict[str, AttributeValue] = {}
    if baggage:
        result.update({key: str(baggage[key]) for key in (names.SESSION_ID, names.USER_ID) if baggage.get(key)})
    if session is not None:
        result[names.SESSION_ID] = session
    if user is not None:
        result[names.USER_ID] = user
    if values is not None and values.attributes:
        result.update(values.attributes)
    return result or None


def metadata_in(context: Context) -> Mapping[str, object]:
    """Return the metadata for traces that start in this context."""
    values = _values_in(context)
    return {} if values is None else values.metadata


def stamp(span: Span, wanted: Mapping[str, AttributeValue]) -> None:
    """Write attributes (see `attributes_in`) on a span that starts. Those that it already has were set explicitly."""
    present: Mapping[str, object] = getattr(span, "attributes", None) or {}
    for name, value in wanted.items():
        if name not in present:
            span.set_attribute(name, value)


class ContextualBlock(Block[ContextScope, V]):
    """Base of blocks whose values hold in the OpenTelemetry context of the code inside, also as decorators.

    One block may be entered many times, also by several tasks at once: each entry is kept on the context that it makes,
    not in the block.
    """

    __slots__ = ("_key",)

    def __init__(self) -> None:
        self._key = f"pandaprobe-values-{id(self)}"  # ids of freed span blocks come again

    @abstractmethod
    def applied_to(self, context: Context) -> Context:
        """Return this OpenTelemetry context with the values of the block."""

    def __call__(self, function: F) -> F:
        """Decorate a function: the values hold while it runs or, for a generator, while it is iterated."""
        return wrap(function, lambda _args, _kwargs: self._scope())

    def _scope(self) -> ContextScope:
        return ContextScope(self.applied_to(get_current()))

    def _new_scope(self) -> ContextScope:
        begin_first_use()
        scope = self._scope()
        scope.context = set_value(self._key, scope, scope.context)
        return scope

    def _innermost(self) -> Scope:
        """Return the scope in the context: none if another task or the garbage collector closes the block."""
        scope = get_current().get(self._key)
        return scope if isinstance(scope, Scope) else NO_SCOPE


class ContextBlock(ContextualBlock[None]):
    """The result of `context`, `session` and `user`: a `with` block, an `async with` block or a decorator."""

    __slots__ = ("__weakref__", "_baggage", "_unused", "_values")

    def __init__(self, values: TraceValues | None, *, baggage: bool = False) -> None:
        super().__init__()
        self._values = values
        self._baggage = baggage
        self._unused: object = unless_used(self, lambda: "session(), user() or context()")

    def __call__(self, function: F) -> F:
        """Decorate a function: the values hold while it runs or, for a generator, while it is iterated."""
        self._unused = None
        return super().__call__(function)

    def _given(self, scope: ContextScope) -> None:
        """Return None: the code inside gets nothing."""

    def applied_to(self, context: Context) -> Context:
        """Return this OpenTelemetry context with the values of the block."""
        self._unused = None
        values = self._values
        if values is None:
            return context
        try:
            context = with_values(values, context)
            if self._baggage:
                context = _with_baggage(values, context)
        except Exception as error:  # noqa: BLE001 - the block runs without the values; counted and logged
            failed("context", error)
        return context


def context(
    *,
    session: str | None = None,
    user: str | None = None,
    project: str | None = None,
    tags: Sequence[str] | None = None,
    metadata: Mapping[str, object] | None = None,
    baggage: bool = False,
) -> ContextBlock:
    """Set session, user, project, tags and metadata of each trace made inside the block or the decorated function.

    Args:
        session: Id of the conversation; PandaProbe groups traces by it. Longer ids are cut to 255 characters.
        user: Id of the end user.
        project: Name of the project that gets the traces whose roots start here, in place of `project_name`; the key
            stays the same. With a name that PandaProbe does not take, the traces are counted and not sent.
        tags: Added to the tags of the outer blocks.
        metadata: Merged over the metadata of the outer blocks; read when the block is entered.
        baggage: If true, session and user are also put into W3C baggage. Then they leave in the headers of every
            instrumented request, whoever receives it.
    """
    return ContextBlock(
        trace_values(session=session, user=user, tags=tags, metadata=metadata, project=project), baggage=baggage
    )


def session(session_id: str) -> ContextBlock:
    """Set the session of the traces made inside the block or the decorated function."""
    return ContextBlock(trace_values(session=session_id))


def user(user_id: str) -> ContextBlock:
    """Set the user of the traces made inside the block or the decorated function."""
    return ContextBlock(trace_values(user=user_id))


def set_session(session_id: str | None) -> Token[str | None]:
    """Set the session from here on in this thread or task, and on the current span. None clears it."""
    return _set(current_session, names.SESSION_ID, session_id)


def set_user(user_id: str | None) -> Token[str | None]:
    """Set the user from here on in this thread or task, and on the current span. None clears it."""
    return _set(current_user, names.USER_ID, user_id)


def current_trace_id() -> str | None:
    """Return the id under which PandaProbe shows the current trace (UUID text); None outside of a trace."""
    found = get_current_span().get_span_context()
    return trace_uuid(found.trace_id) if found.is_valid else None


def context_executor(executor: Executor) -> Executor:
    """Return an executor that runs each task in the context of its submitter.

    The returned executor and the given one share their threads; shutting one down shuts down both. A process pool
    cannot carry a context: its tasks run as they would without this function.
    """
    return ContextExecutor(executor)


def _find_baggage_key() -> None:
    """Read the key of W3C baggage, which the API hides, from a context with baggage."""
    _baggage_key.extend(set_baggage("key", "value", Context()))


def _values_in(context: Context) -> TraceValues | None:
    return cast("TraceValues | None", context.get(_VALUES_KEY))


def _with_baggage(values: TraceValues, context: Context) -> Context:
    for name in (names.SESSION_ID, names.USER_ID):
        if name in values.ids:
            context = set_baggage(name, values.ids[name], context)
    return context


def _set(variable: ContextVar[str | None], name: str, value: str | None) -> Token[str | None]:
    """Set a variable, and write its value on the current span; return what undoes the first."""
    if value is None:
        return variable.set(None)
    try:
        span = get_current_span()
        if span.is_recording():
            span.set_attribute(name, str(value))
    except Exception as error:  # noqa: BLE001 - a span class of another vendor ran; counted and logged
        failed("set_session or set_user", error)
    return variable.set(str(value))
