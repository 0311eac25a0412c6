"""An API's endpoint, described by tables: it turns requests, answers and streams into span attributes."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, NamedTuple

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._json import Content, Object, integer, items, number, obj, objects, string, strings
from pandaprobe_otel_integrations._logprobs import with_logprobs
from pandaprobe_otel_integrations._other_members import RESPONSE, Counts, parameters, rest, uncounted, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._streams.body import LastEvent
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
    """True if the answer is known to be complete."""


# -- members of JSON as attributes, by tables --------------------------------------------------------------------------

Reading = tuple[str, Callable[..., Any]]
"""An attribute, and the function that reads its value. If the function returns None, there is no attribute."""
Fields = Mapping[str | tuple[str, ...], "Reading | Fields"]
"""Readings by member. Several members give the function a value each; a table reads the members inside a member."""


class Partly(NamedTuple):
    """A reading of a part of its member, which is also kept whole with the other data."""

    attribute: str
    reader: Callable[..., Any]


def true(value: Any) -> bool | None:
    """Return True or None: False is the default, and needs no attribute."""
    return True if value is True else None


def more_than_one(value: Any) -> int | None:
    """Return a number of choices if it is above 1; None for 1, the usual number."""
    count = integer(value)
    return count if count is not None and count > 1 else None


_EXACT: Final[Mapping[Callable[..., Any], type[Any]]] = {string: str, integer: int, number: float}
"""Readers by the type whose non-empty values they return unchanged. They cover nearly all members."""


class Table:
    """Fields, sorted by the way in which they are read. `known` has the members that they record completely."""

    __slots__ = ("_groups", "_single", "inner", "known")

    def __init__(self, fields: Fields) -> None:
        self._single: dict[str, tuple[str, Callable[..., Any], type[Any] | None]] = {}
        self._groups: list[tuple[tuple[str, ...], Set[str], Reading]] = []
        self.inner: dict[str, Set[str]] = {}
        """The members with tables of their own, and the members that these record."""
        known = set[str]()
        for members, one in fields.items():
            group = (members,) if isinstance(members, str) else members
            if not isinstance(one, Partly):
                known.update(group)
            if isinstance(one, Mapping):
                table = Table(one)
                self.inner[group[0]] = table.known
                self._single[group[0]] = ("", table.read, None)
            elif len(group) > 1:
                self._groups.append((group, frozenset(group), one))
            else:
                attribute, reader = one
                self._single.update(dict.fromkeys(group, (attribute, reader, _EXACT.get(reader))))
        self.known: Set[str] = frozenset(known)

    def counts(self, *others: str) -> Counts:
        """Return the counts of a usage that this table reads, and others that need no record."""
        return {**dict.fromkeys((*self.known, *others)), **self.inner}

    def read(self, members: Object, found: Attributes | None = None) -> Attributes:
        """Add the attributes of these members to those that were found. Of two readings for one, the first counts."""
        if found is None:
            found = {}
        single = self._single
        for member, value in members.items():
            if value is not None and (reading := single.get(member)) is not None:
                attribute, reader, exact = reading
                if type(value) is exact and value:  # without a call for each member
                    found[attribute] = value
                elif not attribute:
                    reader(obj(value), found)
                elif (kept := reader(value)) is not None:
                    found[attribute] = kept
        for group, names_of_group, (attribute, reader) in self._groups:
            if attribute not in found and not names_of_group.isdisjoint(members):
                kept = reader(*map(members.get, group))
                if kept is not None:
                    found[attribute] = kept
        return found


_COMMON: Final[Mapping[str, Reading]] = {
    "model": (names.REQUEST_MODEL, string),
    "temperature": (names.TEMPERATURE, number),
    "top_p": (names.TOP_P, number),
    "top_k": (names.TOP_K, number),
    "max_tokens": (names.MAX_TOKENS, integer),
    "frequency_penalty": (names.FREQUENCY_PENALTY, number),
    "presence_penalty": (names.PRESENCE_PENALTY, number),
    "seed": (names.SEED, integer),
    "stop_sequences": (names.STOP_SEQUENCES, strings),
    "n": (names.CHOICE_COUNT, more_than_one),
    "stream": (names.STREAM, true),
}


def common(*members: str, **others: str) -> Fields:
    """Return the readings of members that most APIs have: under these names, or under others."""
    return {member: _COMMON[name] for member, name in ({name: name for name in members} | others).items()}


ANSWERED: Final[Fields] = {"id": (names.RESPONSE_ID, string), "model": (names.RESPONSE_MODEL, string)}
"""Members that most answers have."""


# -- endpoints ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The form of the usage in the answers of one service."""

    usage: Callable[[Any], Attributes] | None = None
    counted: Counts = field(default_factory=dict[str, Set[str] | None])
    """Counts of a usage that have attributes."""
    member: str = "usage"


class Endpoint:
    """One kind of call of one API, described by tables. It keeps no state and may raise: the caller guards it.

    All members of a request and an answer without a place in a table are kept as parameters, and as other data. If a
    service streams although the endpoint cannot, the last event counts.

    Two more methods are optional. `binary(content, content_type)` returns the answer for a body that is neither JSON
    nor events. `is_news(answer)` returns whether to record an answer.
    """

    operation: str
    """`gen_ai.operation.name`."""
    last_event: LastEvent | None = None
    """The event that ends a stream."""
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
    reason: ClassVar[str] = ""
    """Member of a choice with its finish reason."""
    logprobs: ClassVar[str] = "logprobs"
    """Member of a choice with log probabilities."""
    chosen: ClassVar[Set[str]] = frozenset()
    """Members of a choice that are recorded completely, if it is a part of the answer. Others stay with the message."""
    empty: ClassVar[Iterable[str]] = ()
    """Members of an answer that carry no information, repeat the request, or are read by a method."""
    growing: ClassVar[Growth | None] = None
    """Finds the text that an event of a stream continues."""

    _request: ClassVar[Table]
    _input: ClassVar[Table]
    _response: ClassVar[Table]
    _output: ClassVar[Table]
    _inner: ClassVar[Mapping[str, Set[str]]]
    known: ClassVar[Set[str]]
    """Members of a request that are recorded completely."""
    answered: ClassVar[Set[str]]
    """Members of an answer that are recorded completely, or are empty."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._request, cls._input = Table(cls.request), Table(cls.input)
        cls._response, cls._output = Table(cls.response), Table(cls.output)
        cls.known = cls._request.known | cls._input.known | {*cls.elsewhere}
        cls._inner = cls._request.inner | cls._input.inner
        usage = {cls.service.member} if cls.service.usage is not None else set[str]()
        cls.answered = cls._response.known | cls._output.known | usage | {"error", cls.reason, *cls.empty}

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
        return parameters(body, self.known, self._inner)

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return attributes, finish reasons and usage, and the content with the other data."""
        choices = self.choices(body)
        reasons = [*map(self.finish_reason, choices)]
        attributes = self.response_attributes(body)
        if known := [*filter(None, reasons)]:
            attributes[names.FINISH_REASONS] = known
        return Answer(
            attributes=attributes,
            content=self.response_content(body, choices, reasons) if with_content else {},
            failure=self.failure(body),
            goes_on=self.goes_on(body),
            is_whole=bool(known) or self.is_whole(body),
        )

    def response_attributes(self, body: Body) -> Attributes:
        """Return the attributes of the table, and the usage."""
        found = self._response.read(body)
        service = self.service
        if service.usage is not None and (usage := body.get(service.member)):
            found.update(service.usage(usage))
        return found

    def choices(self, body: Body) -> list[Object]:
        """Return the alternatives that the request asked for. Here, there is one: the answer itself."""
        return [body]

    def finish_reason(self, choice: Object) -> str | None:
        """Return the reason in the conventions' words."""
        return finish_reason(choice.get(self.reason))

    def response_content(self, body: Body, choices: list[Object], reasons: list[str | None]) -> dict[str, Any]:
        """Return the content of the table, the messages, and the other data."""
        found = self._output.read(body) if self.output else {}
        if (messages := self.output_messages(choices, reasons)) is not None:
            found[names.OUTPUT_MESSAGES] = messages
        if other := with_logprobs(self.other_data(body), choices, self.logprobs):
            found[RESPONSE] = {"response": other}
        return found

    def output_messages(self, choices: list[Object], reasons: list[str | None]) -> list[Part] | None:
        """Return a message for each choice with parts or a reason; None if the table reads the answer."""
        found: list[Part] = []
        for choice, reason in zip(choices, reasons, strict=True):
            if (said := self.output_parts(choice)) is None:
                return None
            messages = parts.answer_message(said, reason)
            found += [with_rest(one, choice, self.chosen) for one in messages] if self.chosen else messages
        return found

    def output_parts(self, choice: Object) -> list[Part] | None:
        """Return the parts of the message; None if the table reads the answer."""
        return None

    def failure(self, body: Body) -> Failure | None:
        """Return the error of an answer with status 200."""
        return failure_in(body["error"]) if "error" in body else None

    def goes_on(self, body: Body) -> str | None:
        """Return the id with which the app later asks for work that the service continues."""
        return None

    def is_whole(self, body: Body) -> bool:
        """Return whether an answer without a finish reason says that it is complete."""
        return body.get("done") is True or str(body.get("type")).endswith((".done", ".completed"))

    def other_data(self, body: Body) -> dict[str, Any]:
        """Return the members of an answer without a place in a table, and the counts without an attribute."""
        left = rest(body, self.answered)
        service = self.service
        if (counted := body.get(service.member)) and (more := uncounted(counted, service.counted)):
            left["usage"] = more
        return left

    def merged(self, events: Iterable[Object]) -> Body:
        """Return the events of a stream as one answer; here, the last one."""
        last: Body = {}
        for event in events:
            last = event
        return last

    def is_output(self, event: Object) -> bool:
        """Return whether an event carries a part of the answer. Here, there is no first token."""
        return False


# -- endpoints of embeddings: the vectors are never recorded -----------------------------------------------------------

_VECTORS: Final = ("embedding", "embeddings", "values", "float", "int8", "uint8")
_BYTES_PER_NUMBER: Final = 4
"""Size of a number in base64: the clients ask for 32-bit floats unless the app sets another format."""


def dimensions(*found: Any) -> int | None:
    """Return the length of the first vector inside members of an answer, in an encoding with a number per dimension."""
    for value in found:
        size: int | None = None
        if isinstance(value, str):
            size = len(b64decode(value)) // _BYTES_PER_NUMBER
        elif vectors := items(value):
            size = len(vectors) if isinstance(vectors[0], (int, float)) else dimensions(*vectors)
        elif members := obj(value):
            size = dimensions(*map(members.get, _VECTORS))
        if size:
            return size
    return None


class EmbeddingsEndpoint(Endpoint):
    """Embeddings of one or several texts or media, which have no output tokens."""

    operation = "embeddings"

    def response_attributes(self, body: Body) -> Attributes:
        """Return the attributes of the table, and the usage of the input."""
        found = super().response_attributes(body)
        found.pop(names.OUTPUT_TOKENS, None)
        return found


# -- readers of values -------------------------------------------------------------------------------------------------


def question(*readers: Callable[[Any], Iterable[Part]]) -> Callable[..., list[Part]]:
    """Return a reader of a request of one message, whose parts each reader finds in one member."""
    return lambda *values: parts.user_message(
        [part for read, value in zip(readers, values, strict=True) for part in read(value)]
    )


def failure_in(error: Any) -> Failure | None:
    """Return the `error` of a body: a text, or an object with the names that services have for kind and message."""
    if string(error) is not None:
        return Failure(type="error", message=error)
    found = obj(error)
    if not found:
        return None
    code = found.get("code")
    kinds = (string(code), string(found.get("type")), string(found.get("status")), code)
    kind = next((str(one) for one in kinds if one is not None), "error")
    return Failure(type=kind, message=string(found.get("message")) or kind)


_REASONS: Final[Mapping[str, Iterable[str]]] = {
    "stop": ("stop", "end_turn", "stop_sequence", "complete"),
    "length": ("max_tokens", "model_context_window_exceeded", "error_limit"),
    "tool_call": ("tool_calls", "tool_use", "function_call"),
    "content_filter": (
        "refusal", "guardrail_intervened", "content_filtered", "error_toxic", "safety", "recitation", "blocklist",
        "prohibited_content", "spii", "image_safety", "image_recitation",
    ),
}  # fmt: skip
FINISH_REASONS: Final = {word: reason for reason, words in _REASONS.items() for word in words}
"""The conventions' words for those of services."""


def finish_reason(value: Any) -> str | None:
    """Return a finish reason of any service in the conventions' words; unknown ones stay, in lower case."""
    reason = (string(value) or "").lower()
    return FINISH_REASONS.get(reason, reason) or None


def inside(*members: str, reader: Callable[[Any], Any] = string) -> Callable[[Any], Any]:
    """Return a reader of a member inside a member."""

    def read(value: Any) -> Any:
        for member in members:
            value = obj(value).get(member)
        return reader(value)

    return read


def one_of(words: Mapping[str, str]) -> Callable[[Any], str | None]:
    """Return a reader of a word that has another name in the attribute."""
    return lambda value: words.get(string(value) or "")


def with_cached(found: Attributes) -> Attributes:
    """Return a usage with the cached tokens in the input, as in the conventions; some services count them apart."""
    if names.INPUT_TOKENS in found:
        found[names.INPUT_TOKENS] += found.get(names.CACHE_READ_TOKENS, 0) + found.get(names.CACHE_WRITE_TOKENS, 0)
    return found


def each(reader: Callable[[Object], Any]) -> Callable[[Any], list[Any]]:
    """Return a reader of a list that applies `reader` to each object in it."""
    return lambda value: [reader(one) for one in objects(value)]


def counted(value: Any) -> int | None:
    """Return a count, unless it is zero, which means the same as its absence."""
    return integer(value) or None


def first_integer(*values: Any) -> int | None:
    """Return the first value that is there, if it is an integer."""
    return next((integer(value) for value in values if value is not None), None)


def positive(value: Any) -> int | None:
    """Return a limit, unless it is zero or negative, which means no limit."""
    count = integer(value)
    return count if count is not None and count > 0 else None
