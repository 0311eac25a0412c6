"""The interface of an API's endpoint: it turns requests, answers and streams into span attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pandaprobe_otel_integrations._json import Content, Object, integer, number, obj, string
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events, last_data

Attributes = dict[str, Any]
"""Span attributes; a None value means that the attribute is absent."""
Body = Mapping[str, Any]
"""The JSON of a request or an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error inside a body with HTTP status 200."""

    type: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The parts of one answer. `content` is read only when content is recorded."""

    attributes: Attributes = field(default_factory=dict[str, Any])
    content: Content = field(default_factory=dict[str, Any])
    failure: Failure | None = None
    goes_on: str | None = None
    """The id with which the app later asks for work that the service continues."""
    is_whole: bool = False
    """True if the answer is known to be complete although it has no finish reason."""


class Endpoint(Protocol):
    """One kind of call of one API. Implementations keep no state and may raise: the caller guards them.

    Three more methods are optional. `binary(content, content_type)` returns the answer for a body that is neither JSON
    nor events. `is_news(answer)` returns whether to record an answer. `growing(event)` returns the place of the text
    that an event continues (`_streams.text_runs.Growing`).
    """

    @property
    def operation(self) -> str:
        """`gen_ai.operation.name`."""
        ...

    @property
    def last_event(self) -> LastEvent | None:
        """The event that ends a stream."""
        ...

    def request_attributes(self, body: Body) -> Attributes:
        """Return attributes of a request; `gen_ai.request.model` also names the span."""
        ...

    def request_content(self, body: Body) -> Content:
        """Return messages, instructions and tools of a request."""
        ...

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Read a complete answer."""
        ...

    def merged(self, events: Events) -> Body:
        """Return the events of a stream, complete or not, in the form of an answer without streaming."""
        ...

    def is_output(self, event: Event) -> bool:
        """Return whether an event carries a part of the answer. The first such event is the first token."""
        ...


# -- endpoints whose answers come in one piece -------------------------------------------------------------------------


class Unstreamed:
    """An endpoint without streaming. If a service streams anyway, the last event is the answer."""

    last_event: LastEvent | None = None

    def merged(self, events: Events) -> Body:
        """Return the last event."""
        return obj(last_data(events))

    def is_output(self, event: Event) -> bool:
        """Return False: there is no first token."""
        return False


# -- members of a JSON object as attributes, by a table ----------------------------------------------------------------

Readings = Mapping[str, tuple[str, Callable[[Any], Any]]]
"""Member to attribute, with the function that reads the value. If the function returns None, there is no attribute."""

_EXACT: Final[Mapping[Callable[[Any], Any], type[Any]]] = {string: str, integer: int, number: float}
"""Readers by the type whose non-empty values they return unchanged. They cover nearly all members."""


def read(members: Object, readings: Readings) -> Attributes:
    """Return the attributes of the members in `readings`, in the order of the members."""
    found: Attributes = {}
    for member, value in members.items():
        if value is not None and (reading := readings.get(member)) is not None:
            attribute, reader = reading
            if value and type(value) is _EXACT.get(reader):  # without a call for each member
                found[attribute] = value
            elif (told := reader(value)) is not None:
                found[attribute] = told
    return found


def true(value: Any) -> bool | None:
    """Return True or None: False is the default, and needs no attribute."""
    return True if value is True else None


def more_than_one(value: Any) -> int | None:
    """Return a number of choices if it is above 1; None for 1, the usual number."""
    count = integer(value)
    return count if count is not None and count > 1 else None


def counted(value: Any) -> int | None:
    """Return a count, unless it is zero, which means the same as its absence."""
    return integer(value) or None


def positive(value: Any) -> int | None:
    """Return a limit, unless it is zero or negative, which means no limit."""
    count = integer(value)
    return count if count is not None and count > 0 else None
