"""Values in a cassette: requests and answers of models as bytes, tool calls as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

End = Literal["read", "left", "broken"]
"""End of an answer: read to its end, left early by the app, or broken off by the network or the server."""


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request to a model service, decompressed and without secrets."""

    method: str
    uri: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """A decompressed answer.

    Attributes:
        end: The kind of end (see `End`). `error` names the exception if the answer broke off.
        fault: The injected fault that is the cause; empty for a recorded answer.
    """

    status: int
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    end: End = "read"
    error: str | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Interaction:
    """A request with its answer. A repeated request is another interaction.

    Attributes:
        call: The number of the call in its cassette, from 1, in the order of sending.
        at: The names of the spans around the call, outermost first, joined by ` > `. Spans with the same name and
            parent have an ordinal (`search (2nd)`). Empty outside of spans.
        after: Numbers of the calls that had ended before this one began, without those that precede others of them.
        task: The number of the task that made the call, in a program with concurrent tasks; 0 if it made one call after
            another, or if its tasks are unknown.
        follows: The last call before it in its task, or else in the creator of the task; 0 as for `task`.
        waited_for: In a program with concurrent tasks, the calls of the span that had ended before a span around this
            call began, if no spans below their parent ran at the same time.
        source: The place of its request, as `file:line`; empty if it was not read from a file.
    """

    call: int
    request: RecordedRequest
    answer: RecordedAnswer
    at: str = ""
    after: tuple[int, ...] = ()
    task: int = 0
    follows: int = 0
    waited_for: tuple[int, ...] = ()
    source: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call: its result as JSON, or the text and class of its exception.

    Attributes:
        call_id: The model's id of the call.
        task, follows: As in `Interaction`.
    """

    name: str
    arguments: Mapping[str, Any]
    result: Any = None
    error: str | None = None
    error_type: str | None = None
    at: str = ""
    call_id: str | None = None
    task: int = 0
    follows: int = 0


@dataclass(frozen=True, slots=True)
class Cassette:
    """A recording of one test or program.

    Attributes:
        made_from: The id of the trace that the cassette was made from; None if it was recorded.
    """

    interactions: tuple[Interaction, ...] = ()
    tools: tuple[ToolCall, ...] = ()
    made_from: str | None = None
    started_at: str | None = None
