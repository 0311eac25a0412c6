"""The interface of a library's folder: how its requests, answers and streams become span attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ._content import Content
from ._streams.body import LastEvent
from ._streams.sse import Event, Events

Attributes = dict[str, Any]
"""Span attributes; a None value means that there is none."""
Body = Mapping[str, Any]
"""The JSON of a request or an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error that came inside a body, under HTTP status 200."""

    type: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The parts of one answer. `content` is read only when content is recorded."""

    attributes: Attributes = field(default_factory=dict[str, Any])
    content: Content = field(default_factory=dict[str, Any])
    failure: Failure | None = None
    goes_on: str | None = None
    """The id by which the app asks for what the service goes on with."""
    is_whole: bool = False
    """True if it says that there is no more of it, where no finish reason does."""


class Endpoint(Protocol):
    """One kind of call of one API. Implementations keep no state and may raise: the caller guards them.

    Three more methods are used where an endpoint has them: `binary(content, content_type)` is the answer that a body
    stands for which is neither JSON nor events, `is_news(answer)` says whether an answer is to be recorded at all, and
    `growing(event)` is the place of the text that an event continues (`_streams.text_runs.Growing`).
    """

    @property
    def operation(self) -> str:
        """`gen_ai.operation.name`."""
        ...

    @property
    def last_event(self) -> LastEvent | None:
        """The event after which a stream has nothing more to say."""
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
        """Return the events of a stream, complete or not, as the answer that the API gives without streaming."""
        ...

    def is_output(self, event: Event) -> bool:
        """Return whether an event carries a part of the answer: the first one is the first token."""
        ...
