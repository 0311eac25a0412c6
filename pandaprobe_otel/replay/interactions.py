"""The values that a cassette holds: requests and answers of models as bytes, calls of tools as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

End = Literal["read", "left", "broken"]
"""The end of an answer: read to its end, left early by the app, or broken off by the network or the server."""


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request to a model's service, decompressed, with its secrets taken out."""

    method: str
    uri: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """An answer, decompressed.

    Attributes:
        chunks: For each piece as it arrived: milliseconds since the one before it (the first: since the request), and
            its length in bytes. May be empty for an answer that came in one piece.
        end: How the answer ended; `error` names the exception of one that broke.
    """

    status: int
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    chunks: tuple[tuple[float, int], ...] = ()
    end: End = "read"
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Interaction:
    """One request with its answer; a request that a client repeats is another interaction.

    Attributes:
        call: The number of the call in its cassette, from 1, in the order in which requests were sent.
        at: The names of the spans around the call, outermost first, joined by ` > `; one of several of a name under
            one parent has its ordinal (`search (2nd)`). Empty outside of any span.
        after: Numbers of the calls that this one had waited for, without those that these imply.
        source: Where its request stands, as `file:line`; empty if it was not read from a file.
    """

    call: int
    request: RecordedRequest
    answer: RecordedAnswer
    at: str = ""
    after: tuple[int, ...] = ()
    source: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool: its result as JSON, or the text and the class of the exception that it raised."""

    name: str
    arguments: Mapping[str, Any]
    result: Any = None
    error: str | None = None
    error_type: str | None = None
    at: str = ""
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Cassette:
    """All that was recorded of one test or program.

    Attributes:
        made_from: The id of the trace that the cassette was made from; None if it was recorded.
        scrubbed: What was taken out, by name (`authorization`, `cookie`, `mask`), never by value.
    """

    interactions: tuple[Interaction, ...] = ()
    tools: tuple[ToolCall, ...] = ()
    client: str = ""
    made_from: str | None = None
    scrubbed: tuple[str, ...] = ()
    started_at: str | None = None
