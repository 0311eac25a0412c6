"""The interface of an API's endpoint: it turns requests, answers and streams into span attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, NamedTuple, Protocol, cast

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._json import Content, Object, integer, number, obj, objects, string
from pandaprobe_otel_integrations._other_members import Counts, beside, parameters
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events, last_data
from pandaprobe_otel_integrations._streams.text_runs import Growth

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

    Two more methods are optional. `binary(content, content_type)` returns the answer for a body that is neither JSON
    nor events. `is_news(answer)` returns whether to record an answer.
    """

    @property
    def operation(self) -> str:
        """`gen_ai.operation.name`."""
        ...

    @property
    def last_event(self) -> LastEvent | None:
        """The event that ends a stream."""
        ...

    @property
    def growing(self) -> Growth | None:
        """Finds the text that an event of a stream continues."""
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


# -- members of JSON as attributes, by tables --------------------------------------------------------------------------

Reading = tuple[str, Callable[..., Any]]
"""An attribute, and the function that reads its value. If the function returns None, there is no attribute."""
Fields = Mapping[str | tuple[str, ...], "Reading | Fields"]
"""Readings by member. Several members give the function a value each; a table reads the members inside a member."""


class Partly(NamedTuple):
    """A reading of a part of its member, which is also kept whole with the other data."""

    attribute: str
    reader: Callable[..., Any]


_EXACT: Final[Mapping[Callable[..., Any], type[Any]]] = {string: str, integer: int, number: float}
"""Readers by the type whose non-empty values they return unchanged. They cover nearly all members."""
_FEW: Final = 5
"""Up to so many members, it is faster to look them up than to look at every member of the object."""
_Step = Callable[[Object, Attributes], None]


class _Read(Protocol):
    def __call__(self, members: Object, found: Attributes | None = None) -> Attributes: ...


class _Steps:
    """In place of a type: the reader is a list of steps."""


class Table:
    """Fields, compiled to the function `read`. `known` has the members that they record completely."""

    __slots__ = ("inner", "known", "read")

    read: _Read

    def __init__(self, fields: Fields) -> None:
        groups: list[tuple[tuple[str, ...], Reading | Fields]] = [
            ((members,) if isinstance(members, str) else members, one) for members, one in fields.items()
        ]
        self.known = frozenset(name for group, one in groups if not isinstance(one, Partly) for name in group)
        tables = {group[0]: Table(one) for group, one in groups if isinstance(one, Mapping)}
        self.inner = tuple((member, table.known) for member, table in tables.items())
        simple: dict[str, tuple[str, Callable[..., Any], type[Any] | None]] = {}
        steps: dict[str, list[_Step]] = {}
        for group, one in groups:
            first, *others = group
            if isinstance(one, Mapping):
                steps.setdefault(first, []).append(_inner(first, tables[first].read))
            elif others:
                for member in group:
                    steps.setdefault(member, []).append(_together(group, *one))
            else:
                simple[first] = (*one, _EXACT.get(one[1]))
        for member in simple.keys() & steps.keys():
            steps[member].append(_together((member,), *simple.pop(member)[:2]))
        compiled: Callable[..., _Read] = _looked_up if len(simple) + len(steps) <= _FEW else _looked_through
        self.read = compiled({**simple, **{member: ("", found, _Steps) for member, found in steps.items()}})


def _inner(member: str, read: _Read) -> _Step:
    def step(members: Object, found: Attributes) -> None:
        read(obj(members[member]), found)

    return step


def _together(group: tuple[str, ...], attribute: str, reader: Callable[..., Any]) -> _Step:
    def step(members: Object, found: Attributes) -> None:
        if attribute not in found and (kept := reader(*map(members.get, group))) is not None:
            found[attribute] = kept

    return step


def _looked_up(readings: Mapping[str, tuple[str, Any, type[Any] | None]]) -> _Read:
    rows = tuple((member, *reading) for member, reading in readings.items())

    def read(members: Object, found: Attributes | None = None) -> Attributes:
        if found is None:
            found = {}
        for member, attribute, reader, exact in rows:
            if (value := members.get(member)) is not None:
                if type(value) is exact and value:
                    found[attribute] = value
                elif exact is _Steps:
                    for step in reader:
                        step(members, found)
                elif (kept := reader(value)) is not None:
                    found[attribute] = kept
        return found

    return read


def _looked_through(readings: Mapping[str, tuple[str, Any, type[Any] | None]]) -> _Read:
    def read(members: Object, found: Attributes | None = None) -> Attributes:
        if found is None:
            found = {}
        for member, value in members.items():
            if value is not None and (reading := readings.get(member)) is not None:
                attribute, reader, exact = reading
                if type(value) is exact and value:  # without a call for each member
                    found[attribute] = value
                elif exact is _Steps:
                    for step in reader:
                        step(members, found)
                elif (kept := reader(value)) is not None:
                    found[attribute] = kept
        return found

    return read


# -- endpoints described by tables -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The form of usage and errors in the answers of one service."""

    usage: Callable[[Any], Attributes] | None = None
    counted: Counts = field(default_factory=dict[str, Set[str] | None])
    """Counts of a usage that have attributes."""
    member: str = "usage"
    failure: Callable[[Any], Failure | None] | None = None
    """Reads the member `error`."""


class DescribedEndpoint:
    """An endpoint described by tables. If a service streams although the endpoint cannot, the last event counts.

    All members of a request and an answer without a place in a table are kept as parameters, and as other data.
    """

    operation: str
    last_event: LastEvent | None = None
    service: ClassVar[Service] = Service()
    constants: ClassVar[Attributes] = {}
    """Attributes of every request."""
    request: ClassVar[Fields] = {}
    """Attributes of a request."""
    input: ClassVar[Fields] = {}
    """Content of a request."""
    elsewhere: ClassVar[Iterable[str]] = ()
    """Members of a request that need no record."""
    response: ClassVar[Fields] = {}
    """Attributes of an answer."""
    output: ClassVar[Fields] = {}
    """Content of an answer."""
    empty: ClassVar[Iterable[str]] = ()
    """Members of an answer that carry no information, repeat the request, or are read by a method."""
    growing = cast("Growth | None", None)  # without an annotation: a property of the protocol, and no field
    """Finds the text that an event of a stream continues."""

    _request: ClassVar[Table]
    _input: ClassVar[Table]
    _response: ClassVar[Table]
    _output: ClassVar[Table]
    _inner: ClassVar[tuple[tuple[str, frozenset[str]], ...]]
    known: ClassVar[frozenset[str]]
    """Members of a request that are recorded completely."""
    answered: ClassVar[frozenset[str]]
    """Members of an answer that are recorded completely, or are empty."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._request, cls._input = Table(cls.request), Table(cls.input)
        cls._response, cls._output = Table(cls.response), Table(cls.output)
        cls.known = cls._request.known | cls._input.known | {*cls.elsewhere}
        cls._inner = cls._request.inner + cls._input.inner
        usage = {cls.service.member} if cls.service.usage is not None else set[str]()
        error = {"error"} if cls.service.failure is not None else set[str]()
        cls.answered = cls._response.known | cls._output.known | usage | error | {*cls.empty}

    def request_attributes(self, body: Body) -> Attributes:
        """Return the attributes of the table, and the constant ones."""
        return self._request.read(body, {**self.constants})

    def request_content(self, body: Body) -> Content:
        """Return the content of the table, and the other parameters."""
        found = self._input.read(body)
        if not body.keys() <= self.known or self._inner:
            found.update(self.other_parameters(body))
        return found

    def other_parameters(self, body: Body) -> Content:
        """Return the parameters without a place in a table."""
        return parameters(body, self.known, *self._inner)

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return attributes, finish reason and usage, and the content with the other data."""
        attributes = self.response_attributes(body)
        reason = self.finish_reason(body)
        if reason is not None:
            attributes[names.FINISH_REASONS] = [reason]
        return Answer(
            attributes=attributes,
            content=self.response_content(body, reason) if with_content else {},
            failure=self.failure(body),
            is_whole=self.is_whole(body),
        )

    def response_attributes(self, body: Body) -> Attributes:
        """Return the attributes of the table, and the usage."""
        found = self._response.read(body)
        service = self.service
        if service.usage is not None and (usage := body.get(service.member)):
            found.update(service.usage(usage))
        return found

    def finish_reason(self, body: Body) -> str | None:
        """Return None: most services have a finish reason only for chats."""
        return None

    def response_content(self, body: Body, reason: str | None) -> Content:
        """Return the content of the table, and the other data."""
        found = self._output.read(body)
        found.update(self.other_data(body))
        return found

    def failure(self, body: Body) -> Failure | None:
        """Return the error of an answer, as its service has it."""
        read = self.service.failure
        return read(body["error"]) if read is not None and "error" in body else None

    def is_whole(self, body: Body) -> bool:
        """Return False: a finish reason or an error shows that an answer is complete."""
        return False

    def other_data(self, body: Body) -> Content:
        """Return the members of an answer without a place in a table, and the counts without an attribute."""
        return beside(body, self.answered, self.service.counted, self.service.member)

    def merged(self, events: Events) -> Body:
        """Return the last event."""
        return obj(last_data(events))

    def is_output(self, event: Event) -> bool:
        """Return False: there is no first token."""
        return False


# -- readers of values -------------------------------------------------------------------------------------------------


def each(reader: Callable[[Object], Any]) -> Callable[[Any], list[Any]]:
    """Return a reader of a list that applies `reader` to each object in it."""
    return lambda value: [reader(one) for one in objects(value)]


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
