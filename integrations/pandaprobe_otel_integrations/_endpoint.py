"""The interface of an API's endpoint: it turns requests, answers and streams into span attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ._content import Content
from ._streams.body import LastEvent
from ._streams.sse import Event, Events

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
